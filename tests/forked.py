"""Programs that begin with Faust loaded: forked from one process that has loaded it.

Loading takes seconds of a core, and the tests start dozens of workers. After that a forked program is like one
that was started alone: it has a session, an environment, signals and an output of its own. `test_forked.py` holds
that. The workers of supervisors and of fault schedules load everything themselves.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import random
import runpy
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from stream_app.local.child import Child

LOADED = (
    "core.engines.scorer",
    "core.engines.stepper",
    "stream_app.clients.admin",
    "stream_app.flow.commits",
    "stream_app.topics.checks",
    "stream_app.topics.ownership",
    "stream_app.topics.permissions",
    "stream_app.worker.agents",
    "stream_app.worker.build",
    "stream_app.worker.health",
)
ROOT = Path(__file__).resolve().parent.parent
DIE_WITH_PARENT = 1
HIGHEST_FILE = 1024
LOAD_S = 60.0


class ForkedChild:
    """One run of ``python -m MODULE ARGUMENTS``; the members of `Child` that tests use.

    Args:
        command: module and arguments.
        output: the file that takes what it prints, written from its start.
        environment: all of it.
    """

    def __init__(self, command: Sequence[str], *, output: Path, environment: Mapping[str, str]) -> None:
        self._ended = threading.Event()
        self.exit_status: int | None = None
        """As `subprocess.Popen.returncode`: negative for a signal, None while it runs."""
        output.write_bytes(b"")
        request = {"command": list(command), "output": str(output), "environment": dict(environment)}
        self.pid = _nursery().fork(request, self._end)

    def _end(self, status: int) -> None:
        self.exit_status = status
        self._ended.set()

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; False if it still runs after ``timeout`` seconds."""
        return self._ended.wait(timeout)

    def send_signal(self, number: signal.Signals) -> None:
        """Does nothing when it has ended."""
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.send_signal(signal.SIGKILL)
        self._ended.wait()


class _Nursery:
    """Our side: asks the process that forks, and hears from it when a child has ended."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = Child(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno())],
                output=Path(os.devnull),
                directory=ROOT,
                environment={**os.environ, "OMP_NUM_THREADS": "1"},  # with threads nothing can be forked
                keep_open=[theirs.fileno()],
            )
        self._socket, self._lines = ours, ours.makefile("r")
        self._lock = threading.Lock()
        self._forked: dict[int, Any] = {}
        self._answer = threading.Semaphore(0)
        self._pid = 0
        self._end_of: Any = None
        threading.Thread(target=self._hear, name="nursery", daemon=True).start()
        atexit.register(self._child.kill)

    def fork(self, request: dict[str, Any], end: Any) -> int:
        with self._lock:
            self._end_of = end
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            assert self._answer.acquire(timeout=LOAD_S), "the process that forks does not answer"
            return self._pid

    def _hear(self) -> None:
        for line in self._lines:
            told = json.loads(line)
            if "ended" in told:
                self._forked.pop(told["ended"])(told["status"])
            else:
                self._pid = told["started"]
                self._forked[self._pid] = self._end_of
                self._answer.release()


@cache
def _nursery() -> _Nursery:
    return _Nursery()


# The other side.


def main(descriptor: int) -> None:
    """Load, then fork for each line that comes, and tell of each end, until nobody is there to hear it."""
    for module in LOADED:
        importlib.import_module(module)
    connection = socket.socket(fileno=descriptor)
    watched = selectors.DefaultSelector()
    watched.register(connection, selectors.EVENT_READ)
    requests, children = connection.makefile("r"), {}
    while True:
        for key, _ in watched.select():
            if key.fileobj is not connection:
                _, status = os.waitpid(children.pop(key.fd), 0)
                watched.unregister(key.fd)
                os.close(key.fd)
                _tell(connection, ended=key.data, status=os.waitstatus_to_exitcode(status))
            elif line := requests.readline():
                pid = os.fork()
                if pid == 0:
                    _become(json.loads(line))
                told = os.pidfd_open(pid)
                children[told] = pid
                watched.register(told, selectors.EVENT_READ, pid)
                _tell(connection, started=pid)
            else:
                return


def _tell(connection: socket.socket, **what: int) -> None:
    connection.sendall(json.dumps(what).encode() + b"\n")


def _become(request: dict[str, Any]) -> None:
    """Be the program; does not return."""
    try:
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        os.setsid()
        os.closerange(3, HIGHEST_FILE)
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(output, number)
        os.close(output)
        os.environ.clear()
        os.environ.update(request["environment"])
        random.seed()
        module, *arguments = request["command"]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main(int(sys.argv[1]))
