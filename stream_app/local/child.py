"""A child process that never outlives us: stopped in order, ended by force, or killed by the kernel when we die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

# The child asks the kernel to be killed when its parent dies, then becomes the program. Done between fork and exec by a
# program of its own, as Python code there (preexec_fn) can deadlock where other threads run.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
prctl = getattr(ctypes.CDLL(None), "prctl", None)
if prctl is not None:
    prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Child:
    """One run of a program in a session of its own: Ctrl-C in the terminal reaches only us, and we stop it in order.

    Args:
        command: the program's absolute path and its arguments.
        output: the file that takes what it prints, written from its start.
        directory: its working directory.
        environment: all of it.
        keep_open: file descriptors that it inherits.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        output: Path,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        self._command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
        self._output = output
        self._directory = directory
        self._environment = environment
        self._keep_open = keep_open
        self._ended = threading.Event()
        self._started = threading.Event()
        self._failure: OSError | None = None
        # The kernel ties the death signal to the thread that forked, so that thread stays and waits for the child.
        threading.Thread(target=self._keep, name=f"keeper of {Path(command[0]).name}", daemon=True).start()
        self._started.wait()
        if self._failure:
            raise self._failure

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    @property
    def exit_status(self) -> int | None:
        """The exit status as of `subprocess.Popen.returncode`: negative for a signal, None while it runs."""
        return self._process.returncode if self._ended.is_set() else None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; False if it still runs after ``timeout`` seconds."""
        return self._ended.wait(timeout)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; do nothing if the child has ended."""
        if self.running:
            self._process.send_signal(number)

    def stop(self, timeout: float) -> None:
        """SIGTERM, and SIGKILL after ``timeout`` seconds or when we are interrupted."""
        try:
            self.send_signal(signal.SIGTERM)
            self.wait(timeout)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.send_signal(signal.SIGKILL)
        self._ended.wait()

    def _keep(self) -> None:
        try:
            with self._output.open("wb") as output:
                self._process = subprocess.Popen(
                    self._command,
                    cwd=self._directory,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=self._keep_open,
                )
        except OSError as error:
            self._failure = error
            return
        finally:
            self._started.set()
        self._process.wait()
        self._ended.set()
