"""The functions of `apply`, for all rows of a step at once.

They compute in float64, number after number: numpy's own sums along an axis add in an order that depends on how many
rows there are. Shapes: B rows, n numbers of an output, F numbers of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.arrays import Float32s, Float64s, Int64s
from core.tasks.declaration import Output

PEAK_TOLERANCE = 1e-6
"""Relative: numbers that float32 leaves open between two machines are equally large."""
NO_DISTANCE = -1.0
"""The distance where there is no forecast yet."""


def alone(values: Float64s, output: Output) -> Float64s:
    """The numbers of an output that needs nothing but its own values (B, n); by default these."""
    if output.apply == "sigmoid":
        return sigmoid(values, output)
    if output.apply == "softmax":
        return softmax(values)
    return largest(values) if output.apply == "label" else values


def sigmoid(values: Float64s, output: Output) -> Float64s:
    """Return 1 / (1 + exp(-(scale * x + shift))) of values (B, n)."""
    with np.errstate(over="ignore"):  # exp(709) and more: the result is 0
        found: Float64s = 1.0 / (1.0 + np.exp(-(output.scale * values + output.shift)))
    return found


def softmax(values: Float64s) -> Float64s:
    """Return exp(x) over the sum of all exp(x) of a row, of values (B, n)."""
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    total = np.zeros(len(values))
    for column in powers.T:
        total += column
    found: Float64s = powers / total[:, None]
    return found


def largest(values: Float64s) -> Float64s:
    """The place (B, 1) of the largest number of a row; NaN where one is NaN."""
    found: Float64s = values.argmax(axis=1, keepdims=True).astype(np.float64)
    found[np.isnan(values).any(axis=1)] = np.nan
    return found


def above(values: Float64s, output: Output, before: Float32s) -> tuple[Float64s, Float32s]:
    """Return whether a number is above, with hysteresis, as 0 and 1 (B, 1), and the same to be kept.

    ``before`` is what was kept of the step before. A number that is NaN changes nothing, and gives NaN.
    """
    assert output.threshold is not None
    assert output.clear is not None
    number = values[:, :1]
    now = np.where(number >= output.threshold, 1.0, np.where(number >= output.clear, before, 0.0))
    unknown = np.isnan(number)
    return np.where(unknown, np.nan, now), np.where(unknown, before, now).astype(np.float32)


def distance(values: Float64s, samples: Float32s) -> Float64s:
    """Return the root mean square (B, 1) of the distance of n numbers to the first n of a sample."""
    total = np.zeros(len(values))
    for column in range(values.shape[1]):
        total += (values[:, column] - samples[:, column]) ** 2
    found: Float64s = np.sqrt(total / values.shape[1])[:, None]
    return found


def forecast_distance(values: Float64s, samples: Float32s, before: Float32s) -> tuple[Float64s, Float32s]:
    """Return the distance (B, 1) of the last step's forecast to this sample, `NO_DISTANCE` without one; and what is
    to be kept: 1, and this step's forecast.
    """
    found = distance(before[:, 1:].astype(np.float64), samples)
    found[before[:, 0] == 0] = NO_DISTANCE
    return found, np.hstack([np.ones((len(values), 1)), values]).astype(np.float32)


def first_largest(numbers: Float32s | Float64s) -> float:
    """The place of the first of numbers (T,) that is as large as any; NaN where one is no number."""
    wide = numbers.astype(np.float64)
    if not np.isfinite(wide).all():
        return np.nan
    highest = wide.max()
    return float(np.argmax(wide >= highest - PEAK_TOLERANCE * abs(highest)))


def at_steps(places: Float64s, steps: Sequence[Int64s]) -> Float64s:
    """Return the steps (N, 1) of places (N, 1) in windows, whose samples have ``steps``, (T,) each."""
    found = [
        np.nan if np.isnan(place) else float(each[int(place)]) for (place,), each in zip(places, steps, strict=True)
    ]
    return np.array(found).reshape(-1, 1)


def window_distance(values: Float32s, window: Float32s) -> float:
    """Return the root mean square of the distance of a reconstruction (T, n) to the first n of each sample (T, F)."""
    of_samples = values.reshape(len(window), -1).astype(np.float64)
    apart = of_samples - window[:, : of_samples.shape[1]]
    return float(np.sqrt(np.cumsum(apart**2)[-1] / apart.size))  # cumsum adds one after the other
