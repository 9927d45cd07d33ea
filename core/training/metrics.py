"""How well scores tell two classes apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def auc_roc(scores: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float | None:
    """The chance that a positive has a higher score than a negative, ties half; None where one class is absent."""
    positive = np.asarray(labels) == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[place]  # 1-based, the mean rank among equals
    return float((ranks[positive].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def brier(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """The mean squared distance of the probabilities to the 0/1 labels."""
    return float(np.mean((np.asarray(probabilities) - labels) ** 2))
