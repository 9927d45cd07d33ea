"""The period of a history, by its autocorrelation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.arrays import Float64s

LEAST_PERIOD = 4
CYCLES = 3
"""A period counts only where the history shows it so often."""
LEAST_CORRELATION = 0.3
HIGH = 0.9


def find_period(history: Sequence[Float64s]) -> int | None:
    """Find the samples of a season: the first high autocorrelation after one below 0; None where it is weak.

    Args:
        history: the values of each sequence, (T, F), without NaN. The longest one is looked at; fields count the same.
    """
    longest = max(history, key=len)
    most = len(longest) // CYCLES
    if most < LEAST_PERIOD:
        return None
    found = autocorrelation(longest, most)
    below = np.flatnonzero(found < 0)
    if not len(below) or below[0] >= most:
        return None
    first = max(int(below[0]), LEAST_PERIOD)
    if first > most:
        return None
    period = first + _first_peak(found[first:])
    # At the last lag the correlation may still rise: that is no period but the end of what is looked at.
    return period if found[period] >= LEAST_CORRELATION and period < most else None


def _first_peak(found: Float64s) -> int:
    """The top of the first hill that is nearly as high as the highest: later ones are multiples of the period."""
    high = float(found.max())
    if high <= 0:
        return 0
    start = int(np.argmax(found >= HIGH * high))
    down = np.flatnonzero(found[start:] < high / 2)
    return start + int(np.argmax(found[start : start + int(down[0])] if len(down) else found[start:]))


def autocorrelation(values: Float64s, most: int) -> Float64s:
    """The mean over the fields of the correlation with themselves at the lags 0 to ``most``.

    Each is that of the samples that both parts have. Fields that never change are left out.
    """
    centred = values - values.mean(axis=0)
    size = 1 << (2 * len(values) - 1).bit_length()
    powers = np.abs(np.fft.rfft(centred, size, axis=0)) ** 2
    products = np.fft.irfft(powers, size, axis=0)[: most + 1]
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(centred**2, axis=0)])
    lags = np.arange(most + 1)
    energy = np.sqrt(sums[len(values) - lags] * (sums[-1] - sums[lags]))
    moving = energy.min(axis=0) > 1e-12 * (1 + np.abs(values).max(axis=0) ** 2) * len(values)
    if not moving.any():
        return np.zeros(most + 1)
    found: Float64s = (products[:, moving] / energy[:, moving]).mean(axis=1)
    return found
