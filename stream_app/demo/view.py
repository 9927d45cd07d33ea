"""The demo's live view: rates, latency, one prediction beside its target, every strand's defect probability."""

from __future__ import annotations

import time

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from core.arrays import Float32s
from stream_app.demo.watch import NOT_SEEN, Watched

BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_STEPS = 1200
SPARK_COLUMNS = 64
BAR = 24
LINE_S = 5.0
BEHIND_S = 2.0
"""From here on the view says that the machine is busy."""


def sparkline(values: Float32s, low: float, high: float) -> str:
    """One character per value, blank where there is none."""
    if not len(values):
        return ""
    places = (np.clip((values - low) / max(high - low, 1e-9), 0, 1) * (len(BLOCKS) - 1)).round()
    return "".join(" " if np.isnan(place) else BLOCKS[int(place)] for place in places)


def lag_words(sent: int, seen: int, seconds: float) -> str:
    """Say how far the predictions that were read are behind the samples, where it is seconds; else nothing."""
    behind_s = (sent - seen) * seconds / sent if sent else 0.0
    return f"; this machine is busy: predictions come {behind_s:.0f} s late" if behind_s >= BEHIND_S else ""


class View:
    """Draws while the demo runs: live on a terminal, else a line every few seconds.

    Args:
        console: where to draw (stderr).
        watched: what the watcher has read.
        targets: (rows, steps), the true component of every signal.
        metrics_url: shown, so that the user may look.
    """

    def __init__(self, console: Console, watched: Watched, targets: Float32s, metrics_url: str) -> None:
        self.console = console
        self.watched = watched
        self.targets = targets
        self.metrics_url = metrics_url
        self._started = time.monotonic()
        self._last = (self._started, 0)
        self._rate = 0.0
        self._next_line = self._started + LINE_S
        self._latency = "latency: measured after the first second"
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None

    def __enter__(self) -> View:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self) -> None:
        """Draw what stands now; call it a few times per second."""
        self._measure()
        if self._live:
            self._live.update(self.drawing())
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_S
            self.console.print(f"{self._line()}, {self._latency}", highlight=False, soft_wrap=True)

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

    def _line(self) -> str:
        elapsed = time.monotonic() - self._started
        return (
            f"{elapsed:4.0f} s  {self.watched.sent_signals:,} samples sent, {self.watched.grid.seen:,} predicted "
            f"({self._rate:,.0f}/s), {len(self.watched.scores)} scores"
            f"{lag_words(self.watched.sent_signals, self.watched.grid.seen, elapsed)}"
        )

    def _figures(self) -> Text:
        return Text.assemble((self._line(), "bold"), f"\n{self._latency}; metrics: {self.metrics_url}")

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
                bar = Text("too short to score", "dim")
            else:
                filled = round(score.probability * BAR)
                style = "red" if score.probability >= 0.5 else "green"
                bar = Text(f"{'█' * filled}{'░' * (BAR - filled)} {score.probability:.2f}", style)
            table.add_row(stream, score.sequence, f"{score.step}{' (final)' if score.final else ''}", bar)
        return table
