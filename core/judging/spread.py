"""The spread of numbers, by which distances are divided."""

from __future__ import annotations

import numpy as np

from core.arrays import Float64s


def spread_of(values: Float64s) -> Float64s:
    """The standard deviation of each number; 1 where it does not change, or there are no values."""
    if not len(values):
        return np.ones(values.shape[1])
    found: Float64s = values.std(axis=0)
    return np.where(found > 1e-12 * (1 + np.abs(values).max(axis=0)), found, 1.0)
