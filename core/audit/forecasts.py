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
MOST = 100.0
"""The square of a distance, in standard deviations, that counts the most."""


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
    """The ratio. Leading reads it with the averages that it is made of, (T, 1 + n) together."""
    assert output.horizon is not None
    size = judged.shape[1] // 2
    values = (np.minimum(judged[:, size:] ** 2, MOST) - 1) / 2
    kept, count, averages = np.empty((len(judged), 1 + size), np.float32), 0, np.zeros(size, np.float32)
    ratios = np.full((len(judged), 1), NONE_YET)
    for step in range(len(judged)):
        if step and np.isnan(values[step, 0]):
            ratios[step] = np.nan
        elif step:
            count = min(count + 1, output.horizon)
            before = averages.astype(np.float64)
            averages = (before + (values[step] - before) / count).astype(np.float32)
            ratios[step] = averages.astype(np.float64).mean()
        kept[step] = count, *averages
    return Applied(np.hstack([ratios, kept[:, 1:].astype(np.float64)]), kept=kept, published=ratios)


def leading(with_averages: Float64s) -> Applied:
    """The place of the largest average (T, 1), and that of the second where it is as large."""
    ratios, averages = with_averages[:, :1], with_averages[:, 1:]
    ordered = np.argsort(-averages, axis=1, kind="stable")
    found = np.where(np.isfinite(ratios), ordered[:, :1], ratios)
    if averages.shape[1] < 2:
        return Applied(found)
    best, second = (np.take_along_axis(averages, ordered[:, place : place + 1], axis=1) for place in (0, 1))
    tied = np.isfinite(ratios) & (best - second <= NEAR * np.maximum(1.0, np.abs(best)))
    return Applied(found, np.where(tied, ordered[:, 1:2], np.nan))
