"""A linear forecast to compare with: if its score is as good as that of a network, no network is needed.

It is a vector autoregression, each number forecast from the last ``order`` samples of all of them, fitted by ridge
regression. Shapes: T samples of one sequence, F numbers of each; all values are without NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from core.arrays import Float64s
from core.judging.ratios import likelihood_ratios
from core.judging.spread import spread_of

ORDERS = (1, 2, 4, 8)
LEARNT = 0.8
"""The share of each sequence that weights are fitted to while the order is looked for; the rest judges them."""
RIDGE = 1e-4
"""The penalty on weights, for each row, in standardised numbers: it decides only between fields that say the same."""
LEAST_ROWS = 10
"""Rows for each weight of a number: with fewer an order is not tried."""
_BLOCK = 16_384


@dataclass(frozen=True)
class LinearForecast:
    """A fitted forecast.

    Attributes:
        order: samples that it looks back.
        mean, scale: (F,) of the history; weights are of standardised numbers.
        weights: (order * F, F), the newest sample first.
        deviations: (F,) of its errors on samples that it was not fitted to, in standardised numbers.
    """

    order: int
    mean: Float64s
    scale: Float64s
    weights: Float64s
    deviations: Float64s

    def score(self, values: Float64s) -> Float64s:
        """The likelihood ratio (T,) of its errors, as that of a task; NaN for the first ``order`` samples."""
        found = np.full(len(values), np.nan)
        if len(values) > self.order:
            errors = _errors((values - self.mean) / self.scale, self.order, self.weights)
            found[self.order :] = likelihood_ratios(errors / self.deviations)
        return found


def fit_linear(history: Sequence[Float64s]) -> LinearForecast | None:
    """Fit it with the order whose errors on held-out samples are the least; None where the history is too short.

    Args:
        history: the values of each sequence, (T, F).
    """
    known = np.concatenate(list(history))
    if not len(known):
        return None
    mean, scale = known.mean(axis=0), spread_of(known)
    parts = [(one - mean) / scale for one in history]
    cuts = [int(len(one) * LEARNT) for one in parts]
    learnt = [one[:cut] for one, cut in zip(parts, cuts, strict=True)]
    tried = [(order, _held_out(parts, cuts, order, _fit(learnt, order))) for order in _possible(learnt)]
    if not tried:
        return None
    order, errors = min(tried, key=lambda one: _loss(one[1]))
    return LinearForecast(order, mean, scale, _fit(parts, order), spread_of(errors))


def _possible(learnt: Sequence[Float64s]) -> Iterator[int]:
    width = learnt[0].shape[1]
    for order in ORDERS:
        rows = sum(max(0, len(one) - order) for one in learnt)
        if rows >= LEAST_ROWS * order * width:
            yield order


def _fit(parts: Sequence[Float64s], order: int) -> Float64s:
    width = parts[0].shape[1]
    squares, products, rows = np.zeros((order * width,) * 2), np.zeros((order * width, width)), 0
    for one in parts:
        for before, now in _pairs(one, order):
            squares += before.T @ before
            products += before.T @ now
            rows += len(now)
    return np.asarray(np.linalg.solve(squares + RIDGE * rows * np.eye(len(squares)), products), np.float64)


def _held_out(parts: Sequence[Float64s], cuts: Sequence[int], order: int, weights: Float64s) -> Float64s:
    """The errors on the samples behind each cut."""
    ends = [one[max(cut - order, 0) :] for one, cut in zip(parts, cuts, strict=True)]
    return np.concatenate([_errors(one, order, weights) for one in ends])


def _errors(values: Float64s, order: int, weights: Float64s) -> Float64s:
    """The distance of each sample from its forecast, from the ``order``-th sample on."""
    found = [now - before @ weights for before, now in _pairs(values, order)]
    return np.concatenate([np.empty((0, values.shape[1])), *found])


def _pairs(values: Float64s, order: int) -> Iterator[tuple[Float64s, Float64s]]:
    """Blocks of rows: the last ``order`` samples side by side, the newest first, and the sample that follows."""
    for start in range(order, len(values), _BLOCK):
        stop = min(start + _BLOCK, len(values))
        yield np.hstack([values[start - lag : stop - lag] for lag in range(1, order + 1)]), values[start:stop]


def _loss(errors: Float64s) -> float:
    """The mean logarithm of the squares, so that every number counts the same; a constant one decides nothing."""
    return float(np.log((errors**2).mean(axis=0) + 1e-12).mean())
