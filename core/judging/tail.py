"""The tail of a distribution beyond what was observed: peaks over a level, by the generalised Pareto distribution.

Sources: Pickands, "Statistical inference using extreme order statistics", Annals of Statistics 3 (1975), for the
distribution; Zhang and Stephens, "A new and efficient estimation method for the generalized Pareto distribution",
Technometrics 51 (2009), for its fit: a mean over the likelihood of one parameter. It has no iteration that can fail.
"""

from __future__ import annotations

import numpy as np

from core.arrays import Float64s

SIZES = (25, 50, 100, 200)
"""Numbers of the highest peaks that a tail is fitted to; the answers are compared."""
LEAST_PEAKS = SIZES[0] + 1
SHAPES = (-0.5, 0.7)
"""The shapes that a fit may give: beyond them so few peaks say more of chance than of the tail."""


def fit_pareto(excesses: Float64s) -> tuple[float, float] | None:
    """Fit the generalised Pareto distribution to what exceeds a level.

    Args:
        excesses: (n,), from 0 on.

    Returns:
        Shape (above 0: a heavy tail) and scale; None where there is no fit: ties, no spread.
    """
    ordered = np.sort(excesses)
    quarter = ordered[int(len(ordered) / 4 + 0.5) - 1]
    if not 0 < quarter < ordered[-1] < np.inf:
        return None
    tries = 20 + int(len(ordered) ** 0.5)
    rates = (1 - np.sqrt(tries / (np.arange(tries) + 0.5))) / (3 * quarter) + 1 / ordered[-1]
    rates = rates[rates != 0]
    shapes = np.log1p(-rates[:, None] * ordered).mean(axis=1)
    likelihood = len(ordered) * (np.log(-rates / shapes) - shapes - 1)
    weights = np.exp(likelihood - likelihood.max())
    rate = float((rates * weights).sum() / weights.sum())
    shape = float(np.log1p(-rate * ordered).mean())
    if not SHAPES[0] <= shape <= SHAPES[1]:  # the nearest allowed shape, with the same mean
        shape = float(np.clip(shape, *SHAPES))
        return shape, float(ordered.mean()) * (1 - shape)
    return shape, -shape / rate if rate else float(ordered.mean())


def level_of(peaks: Float64s, size: int, expected: float) -> float | None:
    """The level that ``expected`` peaks exceed on average, from a fit to the ``size`` highest.

    Args:
        peaks: (n,), from the highest down, n above ``size``.
        expected: below ``size``.
    """
    fitted = fit_pareto(peaks[:size] - peaks[size])
    if fitted is None:
        return None
    shape, scale = fitted
    ratio = np.log(size / expected)
    return float(peaks[size] + scale * (ratio if abs(shape) < 1e-9 else np.expm1(shape * ratio) / shape))


def levels_of(peaks: Float64s, expected: float) -> Float64s:
    """The same from fits to several numbers of peaks: empty where no fit is possible."""
    sizes = [size for size in SIZES if max(expected, 0) < size < len(peaks)]
    found = [level_of(peaks, size, expected) for size in sizes]
    return np.array([level for level in found if level is not None])
