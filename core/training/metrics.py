"""Measures: how well scores tell classes apart, are calibrated, and how well a signal is followed.

Scores and labels are (N,); where a figure has no meaning, because one class is absent, it is None.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats, Int64s

Scores = Floats
Labels = NDArray[np.integer[Any]]


def auc_roc(scores: Scores, labels: Labels) -> float | None:
    """The chance that a positive has a higher score than a negative, ties half; None where one class is absent."""
    positive = np.asarray(labels) == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[place]  # 1-based, the mean rank among equals
    return float((ranks[positive].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def recall_at_false_alarms(scores: Scores, labels: Labels, share: float) -> float | None:
    """The largest share of positives that a threshold finds while at most ``share`` of the negatives raise an alarm."""
    found = _counts(scores, labels)
    if found is None:
        return None
    hits, alarms, positives, negatives = found
    allowed = (alarms - hits) <= share * negatives
    return float(hits[allowed].max(initial=0) / positives)


def _counts(scores: Scores, labels: Labels) -> tuple[Int64s, Int64s, int, int] | None:
    """Positives and all at or above each distinct score, from the highest down; and both classes' sizes."""
    positive = np.asarray(labels) == 1
    positives = int(positive.sum())
    if positives in (0, len(positive)):
        return None
    order = np.argsort(-np.asarray(scores), kind="stable")
    last = np.flatnonzero(np.diff(np.asarray(scores)[order], append=np.nan) != 0)  # of each run of equals
    return np.cumsum(positive[order])[last], last + 1, positives, len(positive) - positives


def f1(alarms: NDArray[np.bool_], labels: Labels) -> float | None:
    """The harmonic mean of precision and recall of alarms; None where there is neither a positive nor an alarm."""
    positive = np.asarray(labels) == 1
    total = int(alarms.sum()) + int(positive.sum())
    return float(2.0 * (alarms & positive).sum() / total) if total else None


def brier(probabilities: Scores, labels: NDArray[Any]) -> float:
    """The mean squared distance of the probabilities to the 0/1 labels."""
    return float(np.mean((np.asarray(probabilities) - labels) ** 2))


def reliability(probabilities: Scores, labels: Labels, bins: int = 10) -> list[tuple[float, float, int]]:
    """Return for each of ``bins`` intervals of the probability, if not empty: its mean, the share of positives in it,
    and the number of scores."""
    places = np.minimum((np.asarray(probabilities) * bins).astype(int), bins - 1)
    found = []
    for number in range(bins):
        inside = places == number
        if inside.any():
            found.append((float(probabilities[inside].mean()), float(labels[inside].mean()), int(inside.sum())))
    return found
