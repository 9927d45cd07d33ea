"""Child processes: stopped in order, ended by force, and gone when we are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from stream_app.local.child import Child
from tests.broker import wait_until

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


def start(command: list[str], tmp_path: Path) -> Child:
    output = tmp_path / "output.txt"
    child = Child(command, output=output)
    wait_until(lambda: output.read_text() == "up\n")
    return child


def test_a_child_runs_in_its_own_session_until_it_is_stopped(tmp_path: Path) -> None:
    child = start(SLEEPER, tmp_path)

    assert child.running
    assert child.exit_status is None
    assert os.getsid(child.pid) != os.getsid(0)
    child.stop(timeout=30)
    assert (child.running, child.exit_status) == (False, -signal.SIGTERM)
    child.stop(timeout=30)  # nothing left to do


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    child = start(STUBBORN, tmp_path)

    child.stop(timeout=0.05)

    assert child.exit_status == -signal.SIGKILL


def test_a_child_that_ends_by_itself_tells_its_status(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "raise SystemExit(7)"], output=tmp_path / "output.txt")

    assert child.wait(30)
    assert child.exit_status == 7


def test_a_program_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Child(SLEEPER, output=tmp_path / "missing" / "output.txt")


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    children: list[Child] = []
    thread = threading.Thread(target=lambda: children.append(start(SLEEPER, tmp_path)))
    thread.start()
    thread.join()

    assert not children[0].wait(0.2)
    children[0].kill()


def test_a_child_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from stream_app.local.child import Child\n"
        f"print(Child({STUBBORN!r}, output=Path(sys.argv[1])).pid, flush=True); time.sleep(600)"
    )
    output = tmp_path / "output.txt"
    parent = subprocess.Popen([sys.executable, "-c", code, str(output)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    wait_until(lambda: output.exists() and output.read_text() == "up\n")

    parent.kill()
    parent.communicate()

    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, what="the child's end")
