"""The live view of the pumps: each one's score beside the threshold, its alarm with the leading sensor, the truth."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from core.data.pump.faults import Fault
from stream_app.demo.live_view import BAR, LiveView, bar, lag_words
from stream_app.demo.pump_watch import PumpOutput, PumpsWatched

COLUMNS = (("pump", 8), ("time", 14), ("score", BAR + 6), ("alarm, leading sensor", 26), ("truth", 42))


class PumpView(LiveView):
    """The view of pumps.

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
        super().__init__(console, metrics_url)
        self.watched, self.events, self.threshold = watched, events, threshold

    def drawing(self) -> Group:
        """The figures, and a row for each pump."""
        table = Table(box=None)
        for title, width in COLUMNS:  # fixed: the bars stay where they are while numbers grow
            table.add_column(title, width=width, no_wrap=True)
        for stream, output in sorted(self.watched.latest.items()):
            table.add_row(
                stream, day_and_time(output.timestamp_ms), self._bar(output), alarm(output), self._truth(output)
            )
        return Group(Text.assemble((self._counts(), "bold"), f"\nmetrics: {self.metrics_url}"), table)

    def line(self) -> str:
        """Counts, and the pumps under alarm."""
        return f"{self._counts()}; {self._alarms()}"

    def _counts(self) -> str:
        elapsed, sent, seen = time.monotonic() - self._started, self.watched.sent, len(self.watched.values)
        return f"{elapsed:4.0f} s  {sent:,} samples sent, {seen:,} scored{lag_words(sent, seen, elapsed)}"

    def _alarms(self) -> str:
        under = [f"{name}: {each.leading}" for name, each in sorted(self.watched.latest.items()) if each.alarm]
        return f"alarms: {', '.join(under)}" if under else "no alarm"

    def _bar(self, output: PumpOutput) -> Text:
        if output.score is None:
            return Text("no score yet", "dim")
        share = float(np.clip(output.score / (2 * self.threshold), 0, 1))
        return Text(f"{bar(share)} {output.score:.2f}", "red" if output.alarm else "green")

    def _truth(self, output: PumpOutput) -> Text:
        now = [fault for fault in self.events.get(output.stream, ()) if fault.begin <= output.step < fault.end]
        return Text(f"{now[0].cause} ({now[0].channel})", "yellow") if now else Text("")


def day_and_time(timestamp_ms: int) -> str:
    """The day and minute of a sample's time."""
    return f"{datetime.fromtimestamp(timestamp_ms / 1000, UTC):%d %b %H:%M}"


def alarm(output: PumpOutput) -> Text:
    """The sensor that leads an alarm; nothing where there is none."""
    return Text(f"! {output.leading}", "bold red") if output.alarm else Text("")
