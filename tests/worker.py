"""A real worker process for tests: started on a free metrics port, ready when it says so, killed at the latest when
pytest ends.
"""

from __future__ import annotations

import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stream_app.local.broker import LocalBroker, free_port
from stream_app.local.child import Child
from stream_app.settings import PREFIX, Settings, load_settings
from stream_app.topics.administration import create_topics
from tests.broker import wait_until
from tests.forked import ForkedChild

READY_S = 90.0
END_S = 60.0

ROOT = Path(__file__).resolve().parent.parent

_started: dict[WorkerProcess, None] = {}


class WorkerProcess:
    """One worker process, as the supervisor runs it; `start` again after its end goes on with the same settings.

    Args:
        settings: with ``metrics_port`` 0 a free port is taken; ``self.settings`` has it.
        directory: for its logs.
    """

    program = "stream_app.worker.process"
    forked = True
    """Begins with Faust loaded (`tests.forked`); else the interpreter loads them, as in a plant."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self.settings = settings if settings.metrics_port else settings.replace(metrics_port=free_port())
        self._directory = directory
        self._child: Child | ForkedChild | None = None
        self._logs: list[Path] = []

    def start(self, ready: bool = True, **changes: Any) -> Self:
        """Start it, by default until it is ready; ``changes`` are changed settings."""
        child = self.launch(**changes)
        if ready:
            wait_until(self.ready_or_ended, READY_S, "the worker's readiness")
            assert self.running, f"the worker ended with status {child.exit_status}:\n{self.log}"
        return self

    def launch(self, **changes: Any) -> Child | ForkedChild:
        """Start it and wait for nothing."""
        self.settings = self.settings.replace(**changes)
        self._logs.append(self._directory / f"worker-{self.settings.app_id}-{len(self._logs)}.log")
        to, environment = self._logs[-1], self._environment()
        self._child = (
            ForkedChild([self.program], output=to, environment=environment)
            if self.forked
            else Child([sys.executable, "-m", self.program], output=to, directory=ROOT, environment=environment)
        )
        _started[self] = None
        return self._child

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        return {**inherited, **self.settings.environment()}

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def log(self) -> str:
        """What it has printed since its last start."""
        return self._logs[-1].read_text(errors="replace") if self._logs else ""

    @property
    def logs(self) -> list[str]:
        """What it has printed since each of its starts; without those that somebody has removed meanwhile."""
        return [path.read_text(errors="replace") for path in self._logs if path.exists()]

    @property
    def errors(self) -> list[str]:
        """The log's lines of level ERROR, and what stands below them.

        Without aiokafka's complaint about a group's coordinator, which is new on a fresh broker: it asks again.
        """
        lines = [line for line in self.log.splitlines() if "Group Coordinator Request failed" not in line]
        first = next((number for number, line in enumerate(lines) if " ERROR " in line), len(lines))
        return [line for line in lines[first:] if " INFO " not in line and " WARNING " not in line]

    def sigkill(self) -> None:
        """End it as a crash does."""
        assert self._child is not None
        self._child.kill()

    def sigterm(self) -> int:
        """End it in order; its exit status."""
        assert self._child is not None
        self._child.send_signal(signal.SIGTERM)
        return self.wait()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Inside it stands still; shorter than the session's timeout, nobody minds."""
        assert self._child is not None
        self._child.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._child.send_signal(signal.SIGCONT)

    def wait(self) -> int:
        """Wait for its end; its exit status."""
        assert self._child is not None
        assert self._child.wait(END_S), f"the worker still runs:\n{self.log}"
        status = self._child.exit_status
        assert status is not None
        return status

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an HTTP request to it."""
        url = f"http://{self.settings.metrics_host}:{self.settings.metrics_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name with (at least) these labels; 0 where there is none yet."""
        lines = self.get("/metrics")[1].splitlines()
        families = text_string_to_metric_families("\n".join(line for line in lines if line.startswith(name)))
        samples = (sample for family in families for sample in family.samples if sample.name == name)
        return sum((sample.value for sample in samples if labels.items() <= sample.labels.items()), 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.sigkill()

    def ready_or_ended(self) -> bool:
        """Whether it can say that it is ready, or never will."""
        try:
            return not self.running or self.get("/readyz")[0] == 200
        except OSError:
            return False


@contextmanager
def own_worker(
    broker: LocalBroker,
    directory: Path,
    name: str,
    prepare: Callable[[Settings], None] = lambda settings: None,
    **changes: Any,
) -> Iterator[WorkerProcess]:
    """A worker for a whole module, on topics of its own, ended in order: its exit status must be 0.

    Args:
        name: application id and topic prefix.
        prepare: called with the settings when the topics are there, before the worker starts.
        changes: of the default settings.
    """
    with pytest.MonkeyPatch.context() as patch:
        for variable in _ours():
            patch.delenv(variable)
        # A session that a busy machine does not end: a rebalance may repeat outputs, and these tests count them.
        names = {"app_id": name, "topic_prefix": f"{name}-"}
        given = {**names, "data_dir": directory, "metrics_port": 0, "session_timeout": 30, **changes}
        settings = load_settings(broker=broker.address, **given)
    create_topics(settings)
    prepare(settings)
    with WorkerProcess(settings, directory) as worker:
        yield worker.start()
        assert worker.sigterm() == 0, worker.log


def logs() -> Iterator[tuple[str, str]]:
    """(title, log) of each worker that ran since the last `forget_ended`."""
    for worker in _started:
        for number, log in enumerate(worker.logs, 1):
            yield f"worker {worker.settings.app_id}, start {number}", log


def forget_ended() -> None:
    """Between two tests: the logs of ended workers are no longer of interest."""
    for worker in [worker for worker in _started if not worker.running]:
        del _started[worker]


def _ours() -> list[str]:
    return [variable for variable in os.environ if variable.startswith(PREFIX)]
