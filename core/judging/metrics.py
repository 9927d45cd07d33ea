"""Figures of scores and alarms against the truth.

There is no point-adjusted F1 here. Point adjustment counts all samples of an event as found once one of them has an
alarm: with events of a few hundred samples, scores drawn at random then come out ahead of most published detectors
(Kim et al., "Towards a rigorous evaluation of time-series anomaly detection", AAAI 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float64s
from core.judging.alarms import find_alarms
from core.judging.events import Labelled, Truth
from core.judging.volume import vus_pr

DAY_S = 24 * 3600.0
EXISTENCE = 0.5  # the share of finding an event at all in range-based recall


@dataclass(frozen=True)
class DetectionFigures:
    """The figures of a detector on sequences whose truth is known. None: that has no meaning there.

    Attributes:
        range_recall: half for finding an event at all, half for the share of it under alarm; the mean over events.
        found: events with an alarm in them, of ``events``.
        delay_s: from the begin of an event to its first alarmed sample; the median over found events.
        false_alarms_per_day: alarms that touch no event, per day of normal samples and stream.
        false_share: of the normal samples, those under alarm. One alarm that does not end is worse than many.
    """

    vus_pr: float | None
    auc_pr: float | None
    range_recall: float | None
    found: int
    events: int
    delay_s: float | None
    false_alarms_per_day: float | None
    false_share: float | None = None


def figures(
    scores: Sequence[Float64s], truth: Sequence[Truth], period_s: float, threshold: float, clear: float
) -> DetectionFigures:
    """Judge scores, and the alarms that a threshold with hysteresis makes of them.

    Args:
        scores: (N,) for each sequence, NaN where there is none.
        truth: the same with 0 and 1.
        period_s: seconds from one sample to the next.
        threshold: an alarm begins at this score.
        clear: and ends below this one.
    """
    series = Labelled.of(scores, truth)
    waits = delays(scores, truth, threshold, clear)
    found = waits[~np.isnan(waits)]
    return DetectionFigures(
        vus_pr(scores, truth),
        auc_pr(scores, truth),
        range_recall(scores, truth, threshold, clear),
        len(found),
        len(series.begins),
        float(np.median(found)) * period_s if len(found) else None,
        false_alarms_per_day(scores, truth, period_s, threshold, clear),
        false_share(scores, truth, threshold, clear),
    )


def auc_pr(scores: Sequence[Float64s], truth: Sequence[Truth]) -> float | None:
    """Average precision over the samples: each threshold's precision, weighted by the recall that it adds.

    None where there are no anomalies, or nothing else.
    """
    series = Labelled.of(scores, truth)
    if not series.has_both:
        return None
    order = np.argsort(-series.scores, kind="stable")
    ordered = series.scores[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(order) - 1)  # of each run of equals
    hits = np.cumsum(series.truth[order])[last]
    return float(np.sum(np.diff(hits, prepend=0) * hits / (last + 1)) / hits[-1])


def range_recall(scores: Sequence[Float64s], truth: Sequence[Truth], threshold: float, clear: float) -> float | None:
    """Range-based recall: the mean over events of half for existence and half for the share of samples under alarm.

    Source: Tatbul et al., "Precision and recall for time series", NeurIPS 2018, with alpha = 0.5, a flat bias (every
    sample of an event counts the same) and no penalty for an event that is found in several pieces.
    """
    series = Labelled.of(scores, truth)
    if not len(series.begins):
        return None
    covered = np.concatenate([[0], np.cumsum(_alarmed(scores, threshold, clear))])
    under = (covered[series.ends] - covered[series.begins]) / series.lengths()
    return float(np.mean(EXISTENCE * (under > 0) + (1 - EXISTENCE) * under))


def delays(scores: Sequence[Float64s], truth: Sequence[Truth], threshold: float, clear: float) -> Float64s:
    """Samples from the begin of each event to the first under alarm; NaN for an event that is not found.

    It is 0 where an alarm goes on from before the event.
    """
    series = Labelled.of(scores, truth)
    alarmed = np.flatnonzero(_alarmed(scores, threshold, clear))
    first = np.append(alarmed, len(series.scores))[np.searchsorted(alarmed, series.begins)]
    found: Float64s = np.where(first < series.ends, first - series.begins, np.nan).astype(np.float64)
    return found


def false_alarms_per_day(
    scores: Sequence[Float64s], truth: Sequence[Truth], period_s: float, threshold: float, clear: float
) -> float | None:
    """Alarms that touch no event, per day of normal samples; None without a normal sample."""
    wrong, normal = 0, 0
    for one, marks in zip(scores, truth, strict=True):
        alarms = find_alarms(one, threshold, clear)
        true = np.asarray(marks) == 1
        covered = np.concatenate([[0], np.cumsum(true)])
        wrong += int((covered[alarms.ends] == covered[alarms.begins]).sum())
        normal += int((~true).sum())
    return wrong / (normal * period_s / DAY_S) if normal else None


def false_share(scores: Sequence[Float64s], truth: Sequence[Truth], threshold: float, clear: float) -> float | None:
    """The share of the normal samples that are under alarm; None without a normal sample."""
    normal = ~Labelled.of(scores, truth).truth
    return float(_alarmed(scores, threshold, clear)[normal].mean()) if normal.any() else None


def _alarmed(scores: Sequence[Float64s], threshold: float, clear: float) -> NDArray[np.bool_]:
    """Return which samples of all sequences are under alarm."""
    parts = [np.empty(0, np.int64)]
    for one in scores:
        alarms = find_alarms(one, threshold, clear)
        steps = np.zeros(len(one) + 1, np.int64)
        steps[alarms.begins] += 1
        steps[alarms.ends] -= 1
        parts.append(np.cumsum(steps)[:-1])
    return np.concatenate(parts) > 0
