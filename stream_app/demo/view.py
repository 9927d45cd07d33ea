"""The demo's live view: rates, latency, one prediction beside its target, every strand's defect probability."""

from __future__ import annotations

import time

import numpy as np
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from core.arrays import Float32s
from stream_app.demo.live_view import BAR, LiveView, bar, lag_words
from stream_app.demo.watch import NOT_SEEN, Watched

BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_STEPS = 1200
SPARK_COLUMNS = 64


def sparkline(values: Float32s, low: float, high: float) -> str:
    """One character per value, blank where there is none."""
    if not len(values):
        return ""
    places = (np.clip((values - low) / max(high - low, 1e-9), 0, 1) * (len(BLOCKS) - 1)).round()
    return "".join(" " if np.isnan(place) else BLOCKS[int(place)] for place in places)


class View(LiveView):
    """The view of signals and casts.

    Args:
        console: where to draw (stderr).
        watched: what the watcher has read.
        targets: (rows, steps), the true component of every signal.
        metrics_url: shown, so that the user may look.
    """

    def __init__(self, console: Console, watched: Watched, targets: Float32s, metrics_url: str) -> None:
        super().__init__(console, metrics_url)
        self.watched = watched
        self.targets = targets
        self._last = (self._started, 0)
        self._rate = 0.0
        self._latency = "latency: measured after the first second"

    def update(self) -> None:
        """Draw what stands now; call it a few times per second."""
        self._measure()
        super().update()

    def drawing(self) -> Group:
        """The figures, one signal beside its target, and every strand's latest score."""
        return Group(self._figures(), self._signal(), self._strands())

    def _measure(self) -> None:
        now, seen = time.monotonic(), self.watched.grid.seen
        if now - self._last[0] >= 1.0:
            self._rate = (seen - self._last[1]) / (now - self._last[0])
            self._last = (now, seen)
            latencies = self.watched.latencies_ms()
            if len(latencies):
                p50, p99 = np.percentile(latencies, [50, 99])
                self._latency = f"latency p50 {p50:.0f} ms, p99 {p99:.0f} ms"

    def line(self) -> str:
        """Counts and latency."""
        return f"{self._counts()}, {self._latency}"

    def _counts(self) -> str:
        elapsed = time.monotonic() - self._started
        return (
            f"{elapsed:4.0f} s  {self.watched.sent_signals:,} samples sent, {self.watched.grid.seen:,} predicted "
            f"({self._rate:,.0f}/s), {len(self.watched.scores)} scores"
            f"{lag_words(self.watched.sent_signals, self.watched.grid.seen, elapsed)}"
        )

    def _figures(self) -> Text:
        return Text.assemble((self._counts(), "bold"), f"\n{self._latency}; metrics: {self.metrics_url}")

    def _signal(self) -> Panel | Text:
        if self.watched.grid.seen == self.targets.size:
            return Text("all signals are done; the casts still play\n", "cyan")
        grid = self.watched.grid
        seen = grid.published_ms != NOT_SEEN
        row = int(np.flatnonzero(seen.any(axis=1))[-1]) if seen.any() else 0
        end = int(np.flatnonzero(seen[row])[-1]) + 1 if seen[row].any() else 0
        steps = np.linspace(max(0, end - SPARK_STEPS), max(0, end - 1), SPARK_COLUMNS).astype(int)
        low, high = float(self.targets[row].min()), float(self.targets[row].max())
        body = Text.assemble(
            ("prediction ", "cyan"),
            (sparkline(grid.predictions[row, steps], low, high), "cyan"),
            ("\ntarget     ", "green"),
            (sparkline(self.targets[row, steps] if end else np.empty(0, np.float32), low, high), "green"),
        )
        name = next(sequence for sequence, place in grid.rows.items() if place == row)
        return Panel(body, title=f"signal {name}, the last {SPARK_STEPS / 1000:.1f} s", expand=False)

    def _strands(self) -> Table:
        table = Table(box=None)
        # Fixed widths: the bars stay where they are while numbers grow.
        for title, width in (("strand", 10), ("cast", 9), ("second", 12), ("defect probability", BAR + 5)):
            table.add_column(title, width=width, no_wrap=True)
        for stream, score in sorted(self.watched.latest_score.items()):
            if score.probability is None:
                shown = Text("too short to score", "dim")
            else:
                style = "red" if score.probability >= 0.5 else "green"
                shown = Text(f"{bar(score.probability)} {score.probability:.2f}", style)
            table.add_row(stream, score.sequence, f"{score.step}{' (final)' if score.final else ''}", shown)
        return table
