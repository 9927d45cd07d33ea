"""The progress of a replay on stderr: a bar on a terminal, a line every few seconds anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from replay.player import OnStatus, Status

LINE_EVERY_S = 5.0
# A pace that is kept is late by a few milliseconds at times; this much is worth a word.
BEHIND_S = 1.0


@contextmanager
def display(stream: TextIO, now_s: Callable[[], float] = time.monotonic) -> Iterator[OnStatus]:
    """Give a function for ``replay``'s ``on_progress``, which shows the progress on ``stream``."""
    if not stream.isatty():
        yield _Lines(stream, now_s)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream), transient=True) as bars:
        yield _Bar(bars, now_s)


class _Rate:
    """Records per second between two looks; None at the first of a phase."""

    def __init__(self) -> None:
        self._phase = ""
        self._done, self._at_s = 0, 0.0
        self._rate: float | None = None

    def of(self, status: Status, now_s: float) -> float | None:
        if status.phase != self._phase:
            self._phase, self._rate = status.phase, None
        elif now_s > self._at_s:
            self._rate = (status.done - self._done) / (now_s - self._at_s)
        self._done, self._at_s = status.done, now_s
        return self._rate


class _Bar:
    def __init__(self, bars: Progress, now_s: Callable[[], float]) -> None:
        self._bars = bars
        self._now_s = now_s
        self._rate = _Rate()
        self._task = bars.add_task("", text="")
        self._phase = ""

    def __call__(self, status: Status) -> None:
        if status.phase != self._phase:
            self._phase = status.phase
            self._bars.reset(self._task, total=status.total, description=_TITLES[status.phase])
        text = _text(status, self._rate.of(status, self._now_s()))
        self._bars.update(self._task, completed=status.done, total=status.total, text=text)


class _Lines:
    def __init__(self, stream: TextIO, now_s: Callable[[], float]) -> None:
        self._stream = stream
        self._now_s = now_s
        self._rate = _Rate()
        self._told_s, self._phase = 0.0, ""

    def __call__(self, status: Status) -> None:
        now_s = self._now_s()
        if status.phase == self._phase and now_s - self._told_s < LINE_EVERY_S:
            return
        self._told_s, self._phase = now_s, status.phase
        self._stream.write(f"{_TITLES[status.phase]}: {_text(status, self._rate.of(status, now_s))}\n")
        self._stream.flush()


_TITLES = {"check": "checking the file", "send": "sending"}


def _text(status: Status, rate: float | None) -> str:
    what = "values" if status.phase == "check" else "records"
    of = f" of {status.total:,}" if status.total is not None else ""
    pace = f", {rate:,.0f} per s" if rate is not None else ""
    behind = f", {status.behind_s:.0f} s behind" if status.behind_s >= BEHIND_S else ""
    return f"{status.done:,}{of} {what}{pace}{behind}"
