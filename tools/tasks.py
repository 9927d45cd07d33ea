"""Programs that run side by side, with a sign of life while they do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SIGN_OF_LIFE_S = 8.0
LOOK_S = 0.1
LAST_LINES = 20


def say(line: str) -> None:
    """A line for the person who waits."""
    print(line, file=sys.stderr, flush=True)


@dataclass
class Task:
    """One program; what it prints goes into a file."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] | None = None
    began_s: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def last_lines(self, count: int) -> list[str]:
        lines = self.log.read_text("utf-8", errors="replace").splitlines()
        return [line for line in lines if line.strip()][-count:]

    def doing(self) -> str:
        """Its name, and the last thing that it said."""
        last = " ".join(self.last_lines(1)).strip()[:70]
        return f"{self.name} ({last})" if last else self.name


class FailedError(Exception):
    """A program ended with an error; the text is its last lines."""

    def __init__(self, task: Task) -> None:
        super().__init__(
            "\n".join([*task.last_lines(LAST_LINES), f"set-up: {task.name} failed; all of it: {task.log}"])
        )
        self.name = task.name


def run_together(tasks: Sequence[Task]) -> None:
    """Run programs at the same time, to their ends.

    Raises:
        FailedError: one has failed; the others are stopped then.
    """
    waiting = list(tasks)
    for task in waiting:
        task.start()
    told_s = time.monotonic()
    try:
        while waiting:
            for task in [task for task in waiting if not task.running]:
                waiting.remove(task)
                if task.process.returncode:
                    raise FailedError(task)
                say(f"  {time.monotonic() - task.began_s:4.0f} s  {task.name}: done")
                told_s = time.monotonic()
            if waiting and time.monotonic() - told_s > SIGN_OF_LIFE_S:
                told_s = time.monotonic()
                say(f"  {told_s - waiting[0].began_s:4.0f} s  {'; '.join(task.doing() for task in waiting)}")
            time.sleep(LOOK_S)
    finally:
        _stop(waiting)


def _stop(tasks: Sequence[Task]) -> None:
    for task in tasks:
        task.process.terminate()
    for task in tasks:
        task.process.wait()
