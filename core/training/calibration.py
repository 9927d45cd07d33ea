"""Turn scores into probabilities, and probabilities into a decision."""

from __future__ import annotations

import numpy as np

from core.arrays import Float64s, Floats

ITERATIONS = 50


def platt(logits: Floats, targets: Floats) -> dict[str, float]:
    """Platt scaling (Platt 1999): ``a`` and ``b`` with which sigmoid(a * logit + b) has the lowest cross entropy.

    Newton's method with step halving; targets are smoothed by Platt's prior of one example in each class, so that
    classes that can be told apart without an error do not send ``a`` to infinity.

    Args:
        logits: (N,), finite.
        targets: (N,), labels 0 and 1, or probabilities.
    """
    x, y = np.asarray(logits, np.float64), np.asarray(targets, np.float64)
    positives = y.sum()
    high, low = (positives + 1.0) / (positives + 2.0), 1.0 / (len(y) - positives + 2.0)
    wanted = low + (high - low) * y
    design = np.stack([x, np.ones_like(x)], axis=1)
    fitted = np.array([1.0, 0.0])
    for _ in range(ITERATIONS):
        p = 0.5 * (1.0 + np.tanh(0.5 * design @ fitted))
        slope = design.T @ (p - wanted)
        curvature = (design * (p * (1.0 - p))[:, None]).T @ design + 1e-10 * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        before = _cross_entropy(design @ fitted, wanted)
        while _cross_entropy(design @ (fitted - step), wanted) > before and np.abs(step).max() > 1e-12:
            step *= 0.5
        fitted = fitted - step
        if np.abs(step).max() < 1e-10:
            break
    return {"a": float(fitted[0]), "b": float(fitted[1])}


def _cross_entropy(z: Float64s, wanted: Float64s) -> float:
    return float(np.sum(np.logaddexp(0.0, z) - wanted * z))


def bayes_threshold(cost_missed: float, cost_false_alarm: float) -> float:
    """The probability from which an alarm costs less than silence: p x missed > (1 - p) x false alarm."""
    return cost_false_alarm / (cost_false_alarm + cost_missed)
