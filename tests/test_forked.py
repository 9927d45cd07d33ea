"""A forked program is as one that was started alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.broker import wait_until
from tests.forked import ForkedChild

SAYS = "tests.says"


def forked(tmp_path: Path, *arguments: str, **environment: str) -> ForkedChild:
    return ForkedChild([SAYS, *arguments], output=tmp_path / "output.txt", environment=environment)


def said(tmp_path: Path) -> str:
    return (tmp_path / "output.txt").read_text()


def test_it_has_an_environment_arguments_and_a_session_of_its_own(tmp_path: Path) -> None:
    child = forked(tmp_path, "who", NAME="value")

    assert child.wait(30)
    assert child.exit_status == 0
    assert said(tmp_path) == f"['who'] {{'NAME': 'value'}} {child.pid} {child.pid} [0, 1, 2]\n"


@pytest.mark.parametrize(("what", "status"), [("7", 7), ("word", 1), ("error", 1), ("os._exit", 3)])
def test_its_exit_status_is_the_program_s(tmp_path: Path, what: str, status: int) -> None:
    child = forked(tmp_path, "exit", what)

    assert child.wait(30)
    assert child.exit_status == status
    assert ("RuntimeError: as told" in said(tmp_path)) == (what == "error")


def test_it_takes_signals_and_says_by_which_it_ended(tmp_path: Path) -> None:
    children = [forked(tmp_path / name, "wait") for name in ("a", "b") if not (tmp_path / name).mkdir()]
    wait_until(lambda: all(said(tmp_path / name) == "waiting\n" for name in ("a", "b")), what="both to wait")

    children[0].send_signal(signal.SIGTERM)
    assert children[0].wait(30)
    assert children[1].running
    children[1].kill()

    assert [child.exit_status for child in children] == [-signal.SIGTERM, -signal.SIGKILL]


def test_its_parent_is_the_process_that_forks_which_holds_one_thread_alone(tmp_path: Path) -> None:
    child = forked(tmp_path, "wait")
    parent = psutil.Process(child.pid).parent()

    assert parent is not None
    assert (parent.ppid(), parent.num_threads()) == (os.getpid(), 1)
    child.kill()
