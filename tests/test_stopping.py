"""SIGTERM ends a worker, and its supervisor, at once where nothing can be saved by waiting: at the start, too."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream_app.kafka.lease import Lease
from stream_app.local.broker import free_port
from stream_app.local.child import Child
from stream_app.settings import PREFIX
from stream_app.worker.process import ANSWERS_S, BRIEF_S, STOP_PATIENCE_S, _patience_s
from tests.broker import wait_until
from tests.worker import ROOT

AT_ONCE_S = 5.0  # 2 s, and as much again for a machine that does other things; it was 30 s
PROGRAMS = {
    "process": ["-m", "stream_app.worker.process"],
    "supervisor": ["-m", "stream_app.cli.main", "worker", "--workers", "2"],
}


@pytest.fixture(params=["nobody listens", "it takes connections and never answers"])
def silent_broker(request: pytest.FixtureRequest) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        port = silent.getsockname()[1]
        yield f"127.0.0.1:{port if request.param.startswith('it') else free_port()}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_sigterm_ends_a_worker_that_waits_for_its_broker(silent_broker: str, program: str, tmp_path: Path) -> None:
    child = started(program, silent_broker, tmp_path)
    try:
        wait_until(lambda: "looking for the topics" in (tmp_path / "log").read_text(), 60)
        began_s = time.monotonic()
        child.send_signal(signal.SIGTERM)

        assert child.wait(AT_ONCE_S), (tmp_path / "log").read_text()
        assert child.exit_status == 0
        assert time.monotonic() - began_s < AT_ONCE_S
    finally:
        child.kill()
    assert "Traceback" not in (tmp_path / "log").read_text()


def started(program: str, broker: str, directory: Path) -> Child:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {f"{PREFIX}BROKER": broker, f"{PREFIX}METRICS_PORT": "0", f"{PREFIX}DATA_DIR": str(directory)}
    command = [sys.executable, *PROGRAMS[program]]
    return Child(command, output=directory / "log", directory=ROOT, environment=environment)


@pytest.mark.parametrize(
    ("asked_ago_s", "length_s", "is_behind", "patience_s"),
    [
        (0.0, 6.0, False, STOP_PATIENCE_S),  # the group is left in order
        (0.0, 6.0, True, STOP_PATIENCE_S),
        (ANSWERS_S + 0.5, 6.0, True, STOP_PATIENCE_S),  # it may yet be committed
        (ANSWERS_S + 0.5, 6.0, False, BRIEF_S),
        (5.0, 6.0, True, BRIEF_S),  # the lease is over: nothing may be published or committed
        (float("inf"), 6.0, False, BRIEF_S),  # never a member
    ],
)
def test_an_end_waits_for_what_can_be_saved_and_for_nothing_else(
    asked_ago_s: float, length_s: float, is_behind: bool, patience_s: float
) -> None:
    lease = Lease(length_s, lambda: 100.0)
    if asked_ago_s < float("inf"):
        lease.renew(100.0 - asked_ago_s)
    app: Any = SimpleNamespace(lease=lease, committer=SimpleNamespace(is_behind=is_behind))

    assert _patience_s(app) == patience_s
