"""`caststream worker` as an operator runs it: a supervisor with its processes, and what they say."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from stream_app.local.broker import free_port
from stream_app.local.child import Child
from stream_app.settings import PREFIX
from tests.broker import wait_until
from tests.cases.case import expect
from tests.cases.room import COMMAND
from tests.worker import ROOT

READY_S = 240.0


class Service:
    """A context manager: started, and stopped at its end.

    Args:
        folder: for its log.
        workers: processes.
        settings: by name.
    """

    def __init__(self, folder: Path, workers: int = 1, **settings: Any) -> None:
        first = int(settings.get("metrics_port") or free_port())
        self.ports = [first + index for index in range(workers)]
        settings |= {"metrics_port": self.ports[0], "data_dir": folder}
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environment |= {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items()}
        environment["PYTHONPATH"] = str(ROOT)
        self._log = folder / "service.log"
        command = [*COMMAND, "worker", "--workers", str(workers)]
        self.supervisor = Child(command, output=self._log, directory=folder, environment=environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.supervisor.stop(60)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def said(self) -> str:
        """The last lines."""
        return " / ".join(self.log.strip().splitlines()[-3:])

    @property
    def why_ended(self) -> str:
        """The lines that say why processes ended, and each line before one of them."""
        lines = self.log.splitlines()
        ends = [number for number, line in enumerate(lines) if "ended with status" in line]
        return " / ".join(lines[at] for end in ends for at in (end - 1, end) if at >= 0) or self.said

    def get(self, path: str, index: int = 0) -> tuple[int, str]:
        """Status and text; status 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[index]}{path}", timeout=10) as found:
                return found.status, found.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def is_ready(self, index: int = 0) -> bool:
        return self.get("/readyz", index)[0] == 200

    def wait_ready(self) -> None:
        """All of its processes."""
        indices = range(len(self.ports))
        try:
            wait_until(lambda: not self.supervisor.running or all(map(self.is_ready, indices)), READY_S, "readiness")
        except AssertionError:
            expect(False, f"not ready: {self.said}")
        expect(self.supervisor.running, f"ended with status {self.supervisor.exit_status}: {self.said}")

    def wait_said(self, words: str, times: int = 1) -> None:
        """Until the log has these words so often."""
        wait_until(lambda: self.log.count(words) >= times or not self.supervisor.running, READY_S, words)
        expect(self.supervisor.running, f"ended with status {self.supervisor.exit_status}: {self.said}")

    def metrics(self, name: str, index: int = 0) -> list[str]:
        """The lines of a metric."""
        return [line for line in self.get("/metrics", index)[1].splitlines() if line.startswith(name)]

    def processes(self) -> list[int]:
        """The pids of its worker processes."""
        return sorted(child.pid for child in psutil.Process(self.supervisor.pid).children())

    def crash_one(self) -> None:
        """kill -9 of the first process."""
        os.kill(self.processes()[0], signal.SIGKILL)
