"""The live view of the pumps: each one's score beside the threshold, its alarm with the leading sensor, the truth."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from core.data.pump.faults import Fault
from stream_app.demo.pump_watch import PumpOutput, PumpsWatched
from stream_app.demo.view import BAR, LINE_S, lag_words

COLUMNS = (("pump", 8), ("time", 14), ("score", BAR + 6), ("alarm, leading sensor", 26), ("truth", 42))


class PumpView:
    """Draws while the demo runs: live on a terminal, else a line every few seconds.

    Args:
        console: where to draw (stderr).
        watched: what the watcher has read.
        events: the faults of each stream.
        threshold: of the alarm; it stands in the middle of the bars.
        metrics_url: shown, so that the user may look.
    """

    def __init__(
        self,
        console: Console,
        watched: PumpsWatched,
        events: Mapping[str, Sequence[Fault]],
        threshold: float,
        metrics_url: str,
    ) -> None:
        self.console, self.watched, self.events = console, watched, events
        self.threshold, self.metrics_url = threshold, metrics_url
        self._started = time.monotonic()
        self._next_line = self._started + LINE_S
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None

    def __enter__(self) -> PumpView:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self) -> None:
        """Draw what stands now; call it a few times per second."""
        if self._live:
            self._live.update(self.drawing())
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_S
            self.console.print(f"{self._line()}; {self._alarms()}", highlight=False, soft_wrap=True)

    def drawing(self) -> Group:
        """The figures, and a row for each pump."""
        table = Table(box=None)
        for title, width in COLUMNS:  # fixed: the bars stay where they are while numbers grow
            table.add_column(title, width=width, no_wrap=True)
        for stream, output in sorted(self.watched.latest.items()):
            table.add_row(
                stream, day_and_time(output.timestamp_ms), self._bar(output), alarm(output), self._truth(output)
            )
        return Group(Text.assemble((self._line(), "bold"), f"\nmetrics: {self.metrics_url}"), table)

    def _line(self) -> str:
        elapsed, sent, seen = time.monotonic() - self._started, self.watched.sent, len(self.watched.values)
        return f"{elapsed:4.0f} s  {sent:,} samples sent, {seen:,} scored{lag_words(sent, seen, elapsed)}"

    def _alarms(self) -> str:
        under = [f"{name}: {each.leading}" for name, each in sorted(self.watched.latest.items()) if each.alarm]
        return f"alarms: {', '.join(under)}" if under else "no alarm"

    def _bar(self, output: PumpOutput) -> Text:
        if output.score is None:
            return Text("no score yet", "dim")
        filled = round(float(np.clip(output.score / (2 * self.threshold), 0, 1)) * BAR)
        return Text(f"{'█' * filled}{'░' * (BAR - filled)} {output.score:.2f}", "red" if output.alarm else "green")

    def _truth(self, output: PumpOutput) -> Text:
        now = [fault for fault in self.events.get(output.stream, ()) if fault.begin <= output.step < fault.end]
        return Text(f"{now[0].cause} ({now[0].channel})", "yellow") if now else Text("")


def day_and_time(timestamp_ms: int) -> str:
    """The day and minute of a sample's time."""
    return f"{datetime.fromtimestamp(timestamp_ms / 1000, UTC):%d %b %H:%M}"


def alarm(output: PumpOutput) -> Text:
    """The sensor that leads an alarm; nothing where there is none."""
    return Text(f"! {output.leading}", "bold red") if output.alarm else Text("")
