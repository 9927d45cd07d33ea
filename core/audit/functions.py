"""The functions of `apply`, written a second time: over a whole run of steps, or over windows.

What a function keeps from step to step is what it has seen of the run, so nothing is carried here. Shapes: T steps of
a run from a state of zeros on, or samples of a window; N windows, n numbers of an output, F numbers of a sample.
"""

from __future__ import annotations

import math

import numpy as np

from core.arrays import Float32s, Float64s
from core.audit import forecasts
from core.audit.applied import NEAR, Applied
from core.tasks.declaration import Output

EQUAL = 1e-6
"""Relative: numbers of a window that are as close as this are equally large."""
PEAK_DIFFERENCE = 2e-6
"""Absolute: on flat sensors a norm summed in another order moves attention by up to 1.8e-6."""
NONE_YET = -1.0


def applied(output: Output, values: Float64s, samples: Float32s, scale: float = 1.0) -> Applied:
    """Compute an output of a step task.

    Args:
        output: as declared.
        values: (T, n), of what it is made of.
        samples: (T, F).
        scale: of the values.
    """
    if output.apply == "above":
        return _above(values[:, 0], output, scale)
    if output.apply == "error":
        return Applied(_distance(values, samples))
    if output.apply == "forecast_error":
        return _forecast_error(values, samples)
    if output.apply == "forecast":
        return forecasts.forecast(output, values, samples)
    return applied_alone(output, values, scale)


def applied_alone(output: Output, values: Float64s, scale: float = 1.0) -> Applied:
    """Compute an output that needs nothing but its own numbers, as steps and windows have them; by default these."""
    if output.apply == "sigmoid":
        return Applied(0.5 + 0.5 * np.tanh(0.5 * (output.scale * values + output.shift)))
    if output.apply == "softmax":
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return Applied(powers / powers.sum(axis=1, keepdims=True))
    if output.apply == "label":
        return _label(values, scale)
    return _of_forecast(output, values)


def _of_forecast(output: Output, values: Float64s) -> Applied:
    """Compute an output that is made of a forecast; by default its own numbers."""
    if output.apply == "expected":
        return forecasts.expected(values)
    if output.apply == "surprise":
        return forecasts.surprise(values)
    if output.apply == "likelihood_ratio":
        return forecasts.likelihood_ratio(output, values)
    return forecasts.leading(values) if output.apply == "leading" else Applied(values)


def above_alone(number: Float64s, output: Output, scale: float = 1.0) -> Applied:
    """Return whether a number (N,) is at the threshold or above, by itself."""
    assert output.threshold is not None
    found = np.where(np.isnan(number), np.nan, number >= output.threshold)
    tied = np.abs(number - output.threshold) <= _near(output.threshold, scale)
    return Applied(found[:, None], np.where(tied, 1 - found, np.nan)[:, None])


def first_largest(numbers: Float32s) -> float:
    """The place of the first of numbers (T,) that float32 cannot tell from the largest; NaN where one is none."""
    wide = numbers.astype(np.float64)
    if not np.isfinite(wide).all():
        return math.nan
    return float(np.flatnonzero(wide >= wide.max() - EQUAL * abs(wide.max()))[0])


def is_a_largest(numbers: Float32s, place: int) -> bool:
    """True if a number is as large as any, as far as two machines agree."""
    largest = float(numbers.max())
    return bool(numbers[place] >= largest - max(PEAK_DIFFERENCE, NEAR * abs(largest)))


def window_error(values: Float32s, window: Float32s) -> float:
    """The root mean square of the differences of a reconstruction (T, n) and the first n of each sample (T, F)."""
    by_sample = values.reshape(len(window), -1).astype(np.float64)
    return float(np.sqrt(np.mean((by_sample - window[:, : by_sample.shape[1]]) ** 2)))


def _label(values: Float64s, scale: float) -> Applied:
    ordered = np.argsort(-values, axis=1, kind="stable")
    found = ordered[:, :1].astype(np.float64)
    found[np.isnan(values).any(axis=1)] = np.nan
    if values.shape[1] < 2:
        return Applied(found)
    best, second = (np.take_along_axis(values, ordered[:, place : place + 1], axis=1) for place in (0, 1))
    tied = np.isfinite(best) & (best - second <= NEAR * np.maximum(scale, np.abs(best)))
    return Applied(found, np.where(tied, ordered[:, 1:2], np.nan))


def _above(number: Float64s, output: Output, scale: float) -> Applied:
    assert output.threshold is not None
    assert output.clear is not None
    limits = output.threshold, output.clear
    kept = _latched(number, *limits)
    others = np.full(len(number), np.nan)
    if any((np.abs(number - limit) <= _near(limit, scale)).any() for limit in limits):
        moved = ([limit + sign * _near(limit, scale) for limit in limits] for sign in (-1.0, 1.0))
        easily, hardly = (_latched(number, *each) for each in moved)
        others[easily != hardly] = 1 - kept[easily != hardly]
    unknown = np.isnan(number)
    found, as_good = (np.where(unknown, np.nan, each)[:, None] for each in (kept, others))
    states = [each[:, None].astype(np.float32) for each in (kept, others)]
    return Applied(found, as_good, states[0], states[1])


def _near(limit: float, scale: float) -> float:
    return NEAR * max(scale, abs(limit))


def _latched(number: Float64s, threshold: float, clear: float) -> Float64s:
    """1 from the threshold on until below ``clear``. A NaN changes nothing."""
    found, on = np.empty(len(number)), 0.0
    for place, value in enumerate(number.tolist()):
        if value >= threshold:
            on = 1.0
        elif value < clear:
            on = 0.0
        found[place] = on
    return found


def _forecast_error(values: Float64s, samples: Float32s) -> Applied:
    """The first step of a run has no forecast before it."""
    forecasts = values.astype(np.float32)
    found = np.vstack([[[NONE_YET]], _distance(forecasts[:-1].astype(np.float64), samples[1:])])
    return Applied(found, kept=np.hstack([np.ones((len(values), 1), np.float32), forecasts]))


def _distance(values: Float64s, samples: Float32s) -> Float64s:
    """Root mean square (T, 1) of the differences of n numbers and the first n of a sample."""
    found: Float64s = np.sqrt(np.mean((values - samples[:, : values.shape[1]]) ** 2, axis=1, keepdims=True))
    return found
