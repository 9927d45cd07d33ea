"""The likelihood ratio of a whole series of distances, as a task's ``likelihood_ratio`` makes it step by step.

Shapes: T samples of one sequence, F numbers of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.arrays import Float64s

SPANS, MOST_DISTANCE, LEAST_VARIANCE = (30, 10, 3), 6.0, 0.1
_BLOCK = 256


def likelihood_ratios(distances: Float64s, spans: Sequence[int] = SPANS) -> Float64s:
    """The likelihood ratio (T,) of distances (T, F): of all numbers the largest mean over the spans."""
    held = np.clip(distances, -MOST_DISTANCE, MOST_DISTANCE)
    ratios = np.zeros(distances.shape)
    for steps in spans:
        mean = moving_average(held, 1 / steps)
        variance = np.maximum(1 + moving_average(held**2 - 1, 1 / steps) - mean**2, LEAST_VARIANCE)
        ratios += (mean**2 + variance - 1 - np.log(variance)) / 2
    return np.asarray(ratios.max(axis=1) / len(spans), np.float64)


def moving_average(values: Float64s, share: float) -> Float64s:
    """Return z_t = share x_t + (1 - share) z_{t-1} from z = 0 on, (T, F): blocks at once, their ends one by one."""
    samples, width = values.shape
    padded = np.zeros((-(-samples // _BLOCK) * _BLOCK, width))
    padded[:samples] = values
    steps = np.arange(_BLOCK)
    weights = np.tril((1 - share) ** np.abs(steps[:, None] - steps)) * share
    blocks = weights @ padded.reshape(-1, _BLOCK, width)
    before, fading = np.zeros(width), ((1 - share) ** (steps + 1))[:, None]
    for block in blocks:
        block += fading * before
        before = block[-1]
    found: Float64s = blocks.reshape(-1, width)[:samples]
    return found
