"""A threshold for a wish: at most so many false alarms per stream and week, from the scores of held-out normal data.

What is counted are alarms with hysteresis, each once however long it lasts: neighbouring scores are not independent,
alarms nearly are. Where the data holds enough alarms for the wish, the threshold is read from it. Where it does not,
the tail of the alarms' peaks says how much higher the threshold must be; it is never below what was observed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from core.arrays import Float64s, Int64s
from core.errors import StartupError
from core.judging.alarms import Known
from core.judging.tail import LEAST_PEAKS, levels_of

WEEK_S = 7 * 24 * 3600.0
ENOUGH = 10
"""Observed alarms from which on the data decides alone: their number is then within a third of its mean, mostly."""
BLOCKS = 50
DRAWS = 200
BETWEEN = (5.0, 95.0)  # percentiles of a range
LOWEST_QUANTILE = 0.99
"""The quantile of normal scores below which a threshold would be passed all the time, whatever the wish is."""
_NORMAL_95 = 1.645
_UNSTABLE = 0.3
_LEVELS = 64

How = Literal["observed", "tail", "highest"]


@dataclass(frozen=True)
class Chosen:
    """A threshold, and what is known of it.

    Attributes:
        threshold: an alarm begins at this score.
        clear: it ends below this one, halfway to the median.
        wish_per_week: of false alarms, per stream.
        hours: of held-out scores, of all streams together.
        events: alarms that the threshold gives in them.
        how: from the observed alarms; from the tail of their peaks; or above the highest score.
        range: 90 % of thresholds of data drawn again, block by block.
        rate_range: alarms per stream and week that ``events`` in ``hours`` are compatible with (90 %).
        doubts: sentences for a person.
    """

    threshold: float
    clear: float
    wish_per_week: float
    hours: float
    events: int
    how: How
    range: tuple[float, float]
    rate_range: tuple[float, float]
    doubts: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Say in sentences what was chosen and what it rests on."""
        low, high = self.rate_range
        why = {
            "observed": "read from the alarms in these hours",
            "tail": "estimated from the tail of the peaks: so few alarms were not observed often enough",
            "highest": "above the highest score of these hours",
        }
        return [
            f"threshold {self.threshold:.4g} (between {self.range[0]:.4g} and {self.range[1]:.4g}), clear "
            f"{self.clear:.4g}: for a wish of {self.wish_per_week:g} per stream and week; {why[self.how]}",
            f"observed: {self.events} alarm{'' if self.events == 1 else 's'} in {self.hours:,.0f} hours of held-out "
            f"normal data, so between {low:.2g} and {high:.2g} per stream and week",
            *self.doubts,
        ]


def choose(scores: Sequence[Float64s], period_s: float, wish_per_week: float) -> Chosen:
    """Choose the threshold for a wished rate of false alarms.

    Args:
        scores: of held-out normal data, an array (N,) for each sequence; NaN where there is none yet.
        period_s: seconds from one sample to the next.
        wish_per_week: alarms per stream and week, above 0.

    Raises:
        StartupError: there is no score at all, or an argument is not above 0.
    """
    if not (period_s > 0 and wish_per_week > 0):
        raise StartupError(
            f"a threshold needs a period and a wish above 0; these are {period_s:g} s and {wish_per_week:g} per week"
        )
    held = _HeldOut(Known.of([np.where(np.isfinite(one), one, np.nan) for one in scores]), period_s)
    if not len(held.known.values):
        raise StartupError("no threshold can be chosen: the held-out normal data has no score; hold out more of it")
    return _chosen(held, wish_per_week)


def needed_hours(wish_per_week: float) -> float:
    """The hours of held-out scores, of all streams together, in which a threshold for a wish is observed."""
    return ENOUGH / wish_per_week * WEEK_S / 3600


def rate_curve(scores: Sequence[Float64s], period_s: float, levels: int = _LEVELS) -> tuple[Float64s, Float64s]:
    """Thresholds from low to high, and the alarms per stream and week that each gives; empty without a score."""
    held = _HeldOut(Known.of(list(scores)), period_s)
    if not len(held.known.values):
        return np.empty(0), np.empty(0)
    thresholds = held.levels(levels)[::-1]
    return thresholds, np.array([held.count(level) for level in thresholds]) / held.weeks


class _HeldOut:
    def __init__(self, known: Known, period_s: float) -> None:
        self.known = known
        self.weeks = len(known.values) * period_s / WEEK_S
        self.hours = self.weeks * WEEK_S / 3600
        if len(known.values):
            self.median, self.highest = float(np.median(known.values)), float(known.values.max())

    def clear(self, threshold: float) -> float:
        return (threshold + self.median) / 2

    def peaks(self, threshold: float) -> Float64s:
        """The peaks that a threshold judges, from the highest down."""
        return np.sort(self.known.peaks(self.clear(threshold))[1])[::-1]

    def count(self, threshold: float) -> int:
        return self.known.count(threshold, self.clear(threshold))

    def levels(self, count: int) -> Float64s:
        """Distinct scores from the highest down to the median, denser to the top."""
        size = len(self.known.values)
        places = np.unique(np.geomspace(1, max(size // 2, 1), count).astype(np.int64)) - 1
        found: Float64s = np.unique(np.sort(self.known.values)[::-1][places])[::-1]
        return found

    def observed(self, allowed: float) -> float:
        """The threshold above which at most ``allowed`` alarms were observed; just above the highest for none."""
        low = high = float(np.nextafter(self.highest, np.inf))
        for level in self.levels(_LEVELS):
            low = float(level)
            if self.count(low) > allowed:
                break
            high = low
        else:
            return high
        return self._between(*self._narrowed(low, high, allowed), allowed)

    def _narrowed(self, low: float, high: float, allowed: float) -> tuple[float, float]:
        while high - low > 1e-9 * (self.highest - self.median) and low < (middle := (low + high) / 2) < high:
            low, high = (low, middle) if self.count(middle) <= allowed else (middle, high)
        return low, high

    def _between(self, low: float, high: float, allowed: float) -> float:
        """Halfway between the peaks that are next to the threshold."""
        peaks = self.peaks(high)
        reached, missed = peaks[peaks >= high], peaks[peaks < high]
        if not len(reached) or not len(missed):
            return high
        middle = float(reached[-1] + missed[0]) / 2
        return middle if middle > low and self.count(middle) <= allowed else high


def _chosen(held: _HeldOut, wish: float) -> Chosen:
    allowed = wish * held.weeks
    threshold, how, doubts = _threshold(held, allowed)
    lowest = float(np.quantile(held.known.values, LOWEST_QUANTILE))
    if threshold < lowest:
        threshold = lowest
        doubts.append(
            f"the wish allows more alarms than one score in {1 / (1 - LOWEST_QUANTILE):.0f} can make: the threshold "
            "stays at the score that normal samples pass in 1 % of the time"
        )
    clear = held.clear(threshold)
    events = held.count(threshold)
    few, many = poisson_range(events)
    return Chosen(
        threshold,
        clear,
        wish,
        held.hours,
        events,
        how,
        _range(held, threshold, allowed),
        (few / held.weeks, many / held.weeks),
        (*doubts, *_of_one_sequence(held, threshold, clear)),
    )


def _threshold(held: _HeldOut, allowed: float) -> tuple[float, How, list[str]]:
    observed = held.observed(allowed)
    if allowed >= ENOUGH:
        return observed, "observed", []
    tail = _tail(held, observed, allowed)
    if tail is None:
        if allowed >= 1:
            return observed, "observed", [f"at most {int(allowed)} alarms were observed. {_needed(held, allowed)}"]
        return _above(held), "highest", [f"{_little(held)}. {_needed(held, allowed)}"]
    threshold, spread = tail
    doubts = []
    if spread > _UNSTABLE:
        doubts.append("the tail of the scores is uncertain: fits to different numbers of peaks disagree")
    if allowed < 1:
        doubts.append(
            f"the wish is one alarm in {held.hours / allowed:,.0f} hours, and there are {held.hours:,.0f}: the "
            f"threshold lies beyond what was observed. {_needed(held, allowed)}"
        )
    if threshold > observed:
        return threshold, "tail", doubts
    return observed, "observed" if allowed >= 1 else "highest", doubts


def _needed(held: _HeldOut, allowed: float) -> str:
    """Say how much held-out data the wish needs."""
    hours = needed_hours(allowed / held.weeks)
    return f"Hold out {hours:,.0f} hours of normal data, of all streams together, for a threshold that is observed"


def _tail(held: _HeldOut, start: float, allowed: float) -> tuple[float, float] | None:
    """The threshold by the tail, and how far fits disagree (as a share of its distance to the median).

    The peaks depend on where alarms clear, and that on the threshold: a few rounds settle both.
    """
    threshold = start
    for _ in range(12):
        levels = _levels(held, threshold, allowed)
        if not len(levels):
            return None
        found = float(np.median(levels))
        if abs(found - threshold) < 1e-3 * (held.highest - held.median):
            break
        threshold = (threshold + found) / 2
    return found, float(np.ptp(levels)) / max(found - held.median, 1e-300)


def _levels(held: _HeldOut, threshold: float, allowed: float) -> Float64s:
    """The levels by fits to the peaks of runs above the clear level; where these are few, above one half as high."""
    levels = levels_of(held.peaks(threshold), allowed)
    return levels if len(levels) else levels_of(held.peaks(held.clear(threshold)), allowed)


def _above(held: _HeldOut) -> float:
    """A tenth of the way from the median beyond the highest score; at least the next number."""
    return max(held.highest + (held.highest - held.median) / 10, float(np.nextafter(held.highest, np.inf)))


def _little(held: _HeldOut) -> str:
    if held.highest == held.median:
        return "the held-out scores do not rise above their median: nothing is known of how high normal ones come"
    return f"fewer than {LEAST_PEAKS} peaks were held out: the threshold is a guess"


def _range(held: _HeldOut, threshold: float, allowed: float) -> tuple[float, float]:
    """Thresholds of data drawn again from blocks of time, with the clear level that was chosen."""
    places, peaks = held.known.peaks(held.clear(threshold))
    blocks = places * BLOCKS // len(held.known.values)
    order = np.argsort(-peaks)
    peaks, blocks = peaks[order], blocks[order]
    draw = np.random.default_rng(0)
    found = [threshold]
    for _ in range(DRAWS if len(peaks) else 0):
        times: Int64s = draw.multinomial(BLOCKS, np.full(BLOCKS, 1 / BLOCKS))
        found.append(_level(np.repeat(peaks, times[blocks]), allowed, threshold))
    low, high = np.percentile(found, BETWEEN)
    return float(min(low, threshold)), float(max(high, threshold))


def _level(peaks: Float64s, allowed: float, otherwise: float) -> float:
    """The threshold of given peaks, from the highest down."""
    whole = int(allowed)
    if whole >= len(peaks):
        return otherwise
    observed = float(peaks[0] if whole == 0 else (peaks[whole - 1] + peaks[whole]) / 2)
    if allowed >= ENOUGH:
        return observed
    levels = levels_of(peaks, allowed)
    return max(observed, float(np.median(levels))) if len(levels) else max(observed, otherwise)


def _of_one_sequence(held: _HeldOut, threshold: float, clear: float) -> list[str]:
    """Say that most alarms are of one sequence: then it is not as normal as the others."""
    places, peaks = held.known.peaks(clear)
    owners = np.searchsorted(held.known.firsts, places[peaks >= threshold], side="right")
    if len(held.known.firsts) < 4 or len(owners) < 4:
        return []
    most = int(np.bincount(owners).max())
    if most <= len(owners) / 2:
        return []
    number = int(np.bincount(owners).argmax())
    return [f"{most} of {len(owners)} alarms are of the held-out sequence number {number}: look whether it is normal"]


def poisson_range(events: int) -> tuple[float, float]:
    """The means between which a number of independent events lets them lie (90 %), after Wilson and Hilferty."""
    low = events * (1 - 1 / (9 * events) - _NORMAL_95 / (3 * events**0.5)) ** 3 if events else 0.0
    more = events + 1
    return max(low, 0.0), more * (1 - 1 / (9 * more) + _NORMAL_95 / (3 * more**0.5)) ** 3
