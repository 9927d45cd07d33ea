"""The part that is learnt from, number by number of a sample: where each lies, how it changes, how fine it is.

Shapes: T samples of a piece, F numbers of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.arrays import Float32s, Float64s
from core.tasks.declaration import Declaration

TAIL = 0.001
"""The share of the values on either side: what lies beyond them by more than the width between them is an outlier, and
counts as that limit. Otherwise one spike of a broken sensor would decide how a field is scaled."""
LEAST_SHARE = 1e-3
"""The share of its spread: a forecast is never surer of a field."""
STEP_SHARE, STEP_MOST = 0.5, 0.25
"""The least standard deviation is half of a sensor's resolution, as that says nothing of what lies within a step, but
no more than a quarter of its spread: a switch has a resolution as wide as all of its values."""
SAME = 1e-6
"""The share of the width of all values: numbers that are nearer are one."""
STILL = 1e-3
"""The share of the value of a field that never changes: its least standard deviation."""


@dataclass(frozen=True)
class FieldStatistics:
    """The statistics of each of the F numbers, all (F,) in float64.

    ``mean`` and ``std`` standardise it, ``change`` is the standard deviation of its steps, ``resolution`` the smallest
    step between two of its values, ``least`` the least standard deviation of a forecast. ``low`` and ``high`` are its
    smallest and largest value.
    """

    names: tuple[str, ...]
    mean: Float64s
    std: Float64s
    change: Float64s
    resolution: Float64s
    least: Float64s
    low: Float64s
    high: Float64s
    distinct: tuple[int, ...]

    @property
    def constant(self) -> tuple[str, ...]:
        """Those that have one value."""
        return tuple(name for name, count in zip(self.names, self.distinct, strict=True) if count == 1)

    @property
    def two_valued(self) -> tuple[str, ...]:
        """Those that have two."""
        return tuple(name for name, count in zip(self.names, self.distinct, strict=True) if count == 2)

    def standardised(self, values: Float32s) -> Float32s:
        """Values (T, F) as the compiled kernel gives them to the first layer."""
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return np.asarray((values - mean) / std, np.float32)


def names_of(declaration: Declaration) -> list[str]:
    """The names of the numbers that a model reads of a sample; those of an overlap come first."""
    return [
        f"{field.name}[{place - field.overlap}]" if field.width > 1 else field.name
        for field in declaration.fields
        for place in range(field.width)
    ]


def statistics_of(names: Sequence[str], pieces: Sequence[Float32s]) -> FieldStatistics:
    """The statistics of pieces (T, F); a step from one piece to the next does not count."""
    columns = [_column([piece[:, place].astype(np.float64) for piece in pieces]) for place in range(pieces[0].shape[1])]
    *numbers, distinct = (np.array(each) for each in zip(*columns, strict=True))
    mean, std, change, resolution, least, low, high = (each.astype(np.float64) for each in numbers)
    counts = tuple(map(int, distinct))
    return FieldStatistics(tuple(names), mean, std, change, resolution, least, low, high, counts)


def _column(pieces: Sequence[Float64s]) -> tuple[float, ...]:
    values = np.concatenate(pieces)
    low, high = float(values.min()), float(values.max())
    distinct = _distinct(values)
    inner = _without_outliers(values)
    mean, std = float(inner.mean()), float(inner.std())
    if len(distinct) == 1:
        least = STILL * max(abs(low), STILL)
        return low, 1.0, least, 0.0, least, low, high, 1
    resolution = float(np.diff(distinct).min())
    least = max(LEAST_SHARE * std, min(STEP_SHARE * resolution, STEP_MOST * std))
    steps = np.concatenate([np.diff(piece) for piece in pieces])
    change = float(np.sqrt((_without_outliers(steps) ** 2).mean())) if len(steps) else std
    return mean, std, max(change, least), resolution, least, low, high, len(distinct)


def _without_outliers(values: Float64s) -> Float64s:
    lower, upper = np.quantile(values, (TAIL, 1 - TAIL))
    width = upper - lower
    if width == 0:  # nearly all are one value: what differs is all there is
        return values
    found: Float64s = np.clip(values, lower - width, upper + width)
    return found


def _distinct(values: Float64s) -> Float64s:
    found = np.unique(values)
    apart = np.diff(found) > SAME * (found[-1] - found[0])
    kept: Float64s = found[np.concatenate([[True], apart])]
    return kept
