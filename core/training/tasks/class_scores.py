"""Logits of several classes: calibrated, and judged.

Shapes: N windows, K classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from core.arrays import Float64s, Int64s
from core.training.metrics import auc_roc

ITERATIONS = 50
RIDGE = 1e-3
"""It keeps the shift of a class with few sequences near zero."""


class Calibration(NamedTuple):
    """The softmax of ``scale`` * logits + ``shifts`` (K,) are probabilities."""

    scale: float
    shifts: Float64s

    def applied(self, logits: Float64s) -> Float64s:
        """The calibrated logits (N, K)."""
        found: Float64s = self.scale * logits + self.shifts
        return found


def calibrate(logits: Float64s, labels: Int64s, weights: Float64s) -> Calibration:
    """Fit the calibration with the lowest cross entropy, as Platt (1999) does for two classes.

    Newton's method with step halving. Targets are smoothed as his are, by one example of the class and one of all
    others, so that classes that can be told apart without an error do not send the scale to infinity.

    Args:
        logits: (N, K), finite.
        labels: (N,), from 0 to K - 1.
        weights: (N,), of each window: those of one sequence say together as much as one.
    """
    classes = logits.shape[1]
    wanted = _smoothed(labels, weights, classes)
    found = np.concatenate([[1.0], np.zeros(classes)])
    for _ in range(ITERATIONS):
        slope, curvature = _derivatives(found, logits, wanted, weights)
        step = np.linalg.solve(curvature, slope)
        before = _cost(found, logits, wanted, weights)
        while _cost(found - step, logits, wanted, weights) > before and np.abs(step).max() > 1e-12:
            step *= 0.5
        found = found - step
        if np.abs(step).max() < 1e-10:
            break
    return Calibration(float(found[0]), found[1:] - found[1:].mean())


def _smoothed(labels: Int64s, weights: Float64s, classes: int) -> Float64s:
    """The probabilities (N, K) that are aimed at."""
    counts = np.bincount(labels, weights, classes)
    high = (counts + 1) / (counts + 2)
    found = np.repeat(((1 - high) / (classes - 1))[labels][:, None], classes, axis=1)
    found[np.arange(len(labels)), labels] = high[labels]
    return found


def _derivatives(found: Float64s, logits: Float64s, wanted: Float64s, weights: Float64s) -> tuple[Float64s, Float64s]:
    """The slope (1 + K,) and the curvature of `_cost` at a scale and shifts."""
    odds = softmax(found[0] * logits + found[1:])
    off = weights[:, None] * (odds - wanted)
    slope = np.concatenate([[(off * logits).sum()], off.sum(axis=0) + RIDGE * found[1:]])
    mean = (odds * logits).sum(axis=1)
    across = weights[:, None] * odds * (logits - mean[:, None])  # (N, K)
    curvature = np.zeros((len(found), len(found)))
    curvature[0, 0] = (across * logits).sum()
    curvature[0, 1:] = curvature[1:, 0] = across.sum(axis=0)
    curvature[1:, 1:] = np.diag((weights[:, None] * odds).sum(axis=0)) - (weights[:, None] * odds).T @ odds
    return slope, curvature + np.diag([1e-10, *[RIDGE] * logits.shape[1]])


def _cost(found: Float64s, logits: Float64s, wanted: Float64s, weights: Float64s) -> float:
    losses = -(wanted * log_softmax(found[0] * logits + found[1:])).sum(axis=1)
    return float((weights * losses).sum() + 0.5 * RIDGE * (found[1:] ** 2).sum())


def log_softmax(logits: Float64s) -> Float64s:
    """The logarithms of the probabilities (N, K)."""
    moved = logits - logits.max(axis=1, keepdims=True)
    found: Float64s = moved - np.log(np.exp(moved).sum(axis=1, keepdims=True))
    return found


def softmax(logits: Float64s) -> Float64s:
    """The probabilities (N, K)."""
    return np.exp(log_softmax(logits))


def cross_entropy(logits: Float64s, labels: Int64s, weights: Float64s) -> float:
    """The mean over windows of the negative log probability of their class."""
    losses = -log_softmax(logits)[np.arange(len(labels)), labels]
    return float((weights * losses).sum() / weights.sum())


def confusion(labels: Int64s, found: Int64s, classes: int) -> Int64s:
    """The table (K, K) of windows: a row for each true class, a column for each that was found."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (labels, found), 1)
    return table


def balanced_accuracy(table: Int64s) -> float:
    """The mean over the classes that occur of the share that was found right."""
    totals = table.sum(axis=1)
    there = totals > 0
    return float((np.diag(table)[there] / totals[there]).mean())


def figures_of(probabilities: Float64s, labels: Int64s) -> dict[str, Any]:
    """Balanced accuracy, AUC of each class against all others (None where it has no meaning), and the confusion."""
    classes = probabilities.shape[1]
    table = confusion(labels, probabilities.argmax(axis=1), classes)
    return {
        "count": len(labels),
        "balanced_accuracy": balanced_accuracy(table),
        "accuracy": float(np.diag(table).sum() / table.sum()),
        "auc": [auc_roc(probabilities[:, each], (labels == each).astype(np.int64)) for each in range(classes)],
        "confusion": table.tolist(),
    }
