"""VUS-PR: the volume under the surface of precision and recall, over all thresholds and all lengths of a buffer.

Source: Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin, "Volume under the surface: a new accuracy evaluation
measure for time-series anomaly detection", PVLDB 15(11), 2022. For a buffer of length l, samples up to l/2 before and
after an event have a label of sqrt(1 - distance / l), in place of 0: an alarm a little early or late is not wrong. With
these labels

- precision is the sum of the labels of the samples with an alarm, divided by their number;
- recall is that sum divided by the mean of the true samples' number and the sum of all labels, at most 1; times the
  share of the events that have an alarm in them or in their buffer;
- the area is the sum of the recall that each threshold adds, times its precision, over all distinct scores.

VUS-PR is the mean of the areas over the lengths. The authors' program takes 250 thresholds; here it is all of them.
Only samples with a label above 0 change recall, so the work grows with the anomalies, not with the series.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.arrays import Float64s, Int64s
from core.judging.events import Labelled, Truth

MOST_BUFFER = 100
MOST_LENGTHS = 51
"""Buffers up to 50 have every length from 0 on; of longer ones so many lengths at even distances."""


def vus_pr(scores: Sequence[Float64s], truth: Sequence[Truth], buffer: int | None = None) -> float | None:
    """Find the volume under the surface of precision and recall.

    Args:
        scores: (N,) for each sequence; NaN where there is none, which counts as the lowest.
        truth: the same with 0 and 1.
        buffer: the largest length; by default the median length of the events, at most 100.

    Returns:
        0 to 1; None where there are no anomalies, or nothing else.
    """
    series = Labelled.of(scores, truth)
    if not series.has_both:
        return None
    most = buffer_of(series) if buffer is None else buffer
    lengths = np.unique(np.linspace(0, most, min(most + 1, MOST_LENGTHS)).astype(int))
    surface = _Surface(series)
    return float(np.mean([surface.area(int(length)) for length in lengths]))


def buffer_of(series: Labelled) -> int:
    """The median length of the events, at most `MOST_BUFFER`."""
    return int(min(np.median(series.lengths()), MOST_BUFFER))


class _Surface:
    def __init__(self, series: Labelled) -> None:
        self._series = series
        self._ordered = np.sort(series.scores)
        self._true = int(series.truth.sum())

    def area(self, length: int) -> float:
        """The area under precision and recall for one length of the buffer."""
        places, labels, highest = self._extended(length)
        scores = self._series.scores[places]
        levels, groups = np.unique(-scores, return_inverse=True)  # from the highest score down
        levels = -levels
        hits = np.cumsum(np.bincount(groups, labels))
        alarms = len(self._ordered) - np.searchsorted(self._ordered, levels, side="left")
        possible = (self._true + labels.sum()) / 2
        found = np.searchsorted(np.sort(-highest), -levels, side="right") / len(highest)
        recall = np.minimum(hits / possible, 1) * found
        return float(np.sum(np.diff(recall, prepend=0) * hits / alarms))

    def _extended(self, length: int) -> tuple[Int64s, Float64s, Float64s]:
        """Samples with a label above 0, their labels, and the highest score of each event with its buffer."""
        series, half = self._series, length // 2
        firsts = np.maximum(series.begins - half, series.bounds[series.owners])
        stops = np.minimum(series.ends + half, series.bounds[series.owners + 1])
        sizes = stops - firsts
        starts = np.cumsum(sizes) - sizes
        events = np.repeat(np.arange(len(sizes)), sizes)
        places = np.arange(sizes.sum()) - starts[events] + firsts[events]
        highest = np.maximum.reduceat(series.scores[places], starts)
        away = np.maximum(np.maximum(series.begins[events] - places, places - (series.ends[events] - 1)), 0)
        labels = np.sqrt(1 - away / length) if length else np.ones(len(places))
        return *_highest_of_each(places, labels), highest


def _highest_of_each(places: Int64s, labels: Float64s) -> tuple[Int64s, Float64s]:
    """Each place once, where buffers overlap with the larger label."""
    order = np.lexsort((-labels, places))
    places, labels = places[order], labels[order]
    first = np.diff(places, prepend=-1) != 0
    return places[first], labels[first]
