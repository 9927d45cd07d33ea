"""Judge whether series of a long run are flat. Pure: numbers in, verdicts out.

Growth alone is judged: what falls is as good as flat. Shapes: N looks, in the order of their times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

WARM_UP = 0.1
"""Share of a run, its beginning, that is not judged: buffers and pools are being filled."""
FEWEST_LOOKS = 8
MEMORY_SHARE, MEMORY_BYTES = 0.05, 20 * 2**20
LATENCY_SHARE, LATENCY_MS = 0.25, 5.0
TASKS_SHARE, TASKS = 0.1, 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """The values of a series at the beginning and the end, and whether it is flat."""

    name: str
    flat: bool
    first: float
    last: float
    allowed: float
    per_hour: float | None = None
    """The fitted slope, where one was fitted; of a short run it says little."""

    @property
    def line(self) -> str:
        """For a person."""
        slope = "" if self.per_hour is None else f", {self.per_hour:+,.4g} per hour"
        return (
            f"{'flat' if self.flat else 'NOT FLAT'}: {self.name}: {self.first:,.4g} -> {self.last:,.4g}{slope}, "
            f"allowed {self.allowed:,.4g}"
        )


def after_warm_up(times_s: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    """Both without the warm-up.

    Raises:
        ValueError: there are too few looks to be judged.
    """
    times, found = np.asarray(times_s, float), np.asarray(values, float)
    kept = times >= times[0] + WARM_UP * (times[-1] - times[0]) if len(times) else np.zeros(0, bool)
    if kept.sum() < FEWEST_LOOKS:
        raise ValueError(f"{int(kept.sum())} looks after the warm-up are too few to be judged, {FEWEST_LOOKS} are not")
    return times[kept], found[kept]


def slope(times_s: ArrayLike, values: ArrayLike) -> float:
    """Return the slope per second, by least squares."""
    times, found = np.asarray(times_s, float), np.asarray(values, float)
    away = times - times.mean()
    return float(away @ (found - found.mean()) / (away @ away))


def quarters(values: Floats) -> tuple[float, float]:
    """The medians of the first and of the last quarter: a single odd look moves neither."""
    size = max(1, len(values) // 4)
    return float(np.median(values[:size])), float(np.median(values[-size:]))


def memory(times_s: ArrayLike, rss_bytes: ArrayLike, name: str = "resident memory, bytes") -> Verdict:
    """Grown by less than 5 % or 20 MiB over the run: by the fitted line, and from its first to its last quarter."""
    times, values = after_warm_up(times_s, rss_bytes)
    first, last = quarters(values)
    per_s = slope(times, values)
    allowed = first + max(MEMORY_SHARE * first, MEMORY_BYTES)
    end = max(last, first + per_s * float(times[-1] - times[0]))
    return Verdict(name, end < allowed, first, end, allowed, 3600 * per_s)


def counted(name: str, times_s: ArrayLike, counts: ArrayLike, share: float = 0.0, more: float = 0.0) -> Verdict:
    """Judge counts that must not grow: file descriptors and threads; with ``share`` or ``more`` of slack, asyncio's
    tasks.
    """
    times, values = after_warm_up(times_s, counts)
    first, last = quarters(values)
    allowed = first + max(share * first, more)
    return Verdict(name, last <= allowed, first, last, allowed, 3600 * slope(times, values))


def latency(times_s: ArrayLike, p99_ms: ArrayLike, name: str = "latency p99, ms") -> Verdict:
    """The last quarter's against the first one's: 25 % and 5 ms more are within what a busy machine does."""
    _, values = after_warm_up(times_s, p99_ms)
    first, last = quarters(values)
    allowed = (1 + LATENCY_SHARE) * first + LATENCY_MS
    return Verdict(name, last <= allowed, first, last, allowed)


def bounded(times_s: ArrayLike, rss_bytes: ArrayLike, share: float, name: str) -> Verdict:
    """Never more than ``share`` above what it was after the warm-up: for a load that is no steady one."""
    _, values = after_warm_up(times_s, rss_bytes)
    first, most = float(values[0]), float(values.max())
    allowed = (1 + share) * first
    return Verdict(name, most <= allowed, first, most, allowed)


def quantile(bounds: Sequence[float], counts: ArrayLike, share: float) -> float | None:
    """A quantile of what a histogram has counted, within a bucket by a straight line, as Prometheus does it.

    Args:
        bounds: upper bounds of the buckets, ascending; the last one may be infinite.
        counts: in each bucket, not summed up.

    Returns:
        None where nothing was counted; the last finite bound for what lies above it.
    """
    sums = np.cumsum(np.asarray(counts, float))
    if not len(sums) or sums[-1] <= 0:
        return None
    wanted = share * sums[-1]
    place = int(np.searchsorted(sums, wanted))
    below, low = (float(sums[place - 1]), float(bounds[place - 1])) if place else (0.0, 0.0)
    if not np.isfinite(bounds[place]):
        return low
    return low + (float(bounds[place]) - low) * float((wanted - below) / (sums[place] - below))
