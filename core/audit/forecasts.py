"""The scores of a forecast, written a second time: over a whole run of steps.

Minus infinity: there is no forecast yet, at the first step of a run. NaN: the forecast has a number that is none.
Shapes: T steps of a run from a state of zeros on, n numbers of a forecast, F of a sample.
"""

from __future__ import annotations

import numpy as np

from core.arrays import Float32s, Float64s
from core.audit.applied import NEAR, Applied
from core.native.fields import MAX_FLOAT32
from core.tasks.declaration import Output

NONE_YET = -np.inf
WIDEST, NARROWEST = 170.0, 1e-37
"""The largest logarithm of a variance, either way, and the least standard deviation."""
MOST = 6.0
"""The distance, in standard deviations, that counts the most."""
LEAST_VARIANCE = 0.1
"""The least variance of distances that counts."""
PARTS = (1.0, 3.0, 10.0)
"""Averages go over the horizon divided by these, and over one step at least."""


def forecast(output: Output, values: Float64s, samples: Float32s) -> Applied:
    """A forecast (T, 2n). Others read what was expected of each sample and its distance, (T, 2n) together."""
    size = len(output.names)
    now, means = samples[:, :size].astype(np.float64), values[:, :size]
    spread = np.exp(np.clip(values[:, size:], -WIDEST, WIDEST) / 2)
    spread = np.maximum(spread, np.maximum(np.array(output.least), NARROWEST))
    base = now if output.changes else np.zeros_like(now)
    judged = np.full((len(values), 2 * size), NONE_YET)
    judged[1:, :size] = base[:-1] + means[:-1]
    judged[1:, size:] = ((now[1:] - base[:-1]) - means[:-1]) / spread[:-1]
    judged[1:][~np.isfinite(values[:-1]).all(axis=1)] = np.nan
    kept = [np.ones((len(values), 1)), *([now] if output.changes else []), values]
    return Applied(judged, kept=np.hstack(kept).astype(np.float32), published=base + means)


def expected(judged: Float64s) -> Applied:
    """The forecast for each sample (T, n)."""
    found = judged[:, : judged.shape[1] // 2]
    return Applied(np.where(found.astype(np.float32) == -MAX_FLOAT32, NONE_YET, found))


def surprise(judged: Float64s) -> Applied:
    """The distance of each sample (T, 1); one that no float32 holds is the largest float32."""
    distances = judged[:, judged.shape[1] // 2 :]
    found = np.minimum(np.sqrt(np.mean(distances**2, axis=1, keepdims=True)), MAX_FLOAT32)
    return Applied(np.where(distances[:, :1] == NONE_YET, NONE_YET, found))


def likelihood_ratio(output: Output, judged: Float64s) -> Applied:
    """The largest ratio. Leading reads it with those of all numbers, (T, 1 + n) together."""
    assert output.horizon is not None
    size = judged.shape[1] // 2
    distances = np.clip(judged[:, size:], -MOST, MOST)
    values = np.tile(np.hstack([distances, distances**2 - 1]), len(PARTS))
    steps = np.repeat([max(output.horizon / part, 1.0) for part in PARTS], 2 * size)
    kept, averages = np.empty(values.shape, np.float32), np.zeros(values.shape[1], np.float32)
    ratios = np.full((len(judged), 1), NONE_YET)
    for step in range(len(judged)):
        if step and np.isnan(values[step, 0]):
            ratios[step] = np.nan
        elif step:
            before = averages.astype(np.float64)
            averages = (before + (values[step] - before) / steps).astype(np.float32)
            ratios[step] = _of_each(averages).max()
        kept[step] = averages
    return Applied(np.hstack([ratios, _of_each(kept)]), kept=kept, published=ratios)


def _of_each(averages: Float32s) -> Float64s:
    """The ratio (..., n) of each number: the mean over the spans of the divergence of N(m, v) from N(0, 1), in nats."""
    spans = averages.astype(np.float64).reshape(*averages.shape[:-1], len(PARTS), 2, -1)
    mean, squares = spans[..., 0, :], spans[..., 1, :]
    variance = np.maximum(1 + squares - mean**2, LEAST_VARIANCE)
    found: Float64s = ((mean**2 + variance - 1 - np.log(variance)) / 2).mean(axis=-2)
    return found


def leading(with_averages: Float64s) -> Applied:
    """The place of the largest ratio (T, 1), and that of the second where it is as large."""
    ratios, averages = with_averages[:, :1], with_averages[:, 1:]
    ordered = np.argsort(-averages, axis=1, kind="stable")
    found = np.where(np.isfinite(ratios), ordered[:, :1], ratios)
    if averages.shape[1] < 2:
        return Applied(found)
    best, second = (np.take_along_axis(averages, ordered[:, place : place + 1], axis=1) for place in (0, 1))
    tied = np.isfinite(ratios) & (best - second <= NEAR * np.maximum(1.0, np.abs(best)))
    return Applied(found, np.where(tied, ordered[:, 1:2], np.nan))
