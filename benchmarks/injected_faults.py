"""Faults put into recordings that have no truth: of one field for a while, as sensors and processes have them."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

KINDS = ("spike", "offset", "drift", "noise", "stuck")
SEVERITY = (1.0, 12.0)
"""In standard deviations of the change from one sample to the next; drawn evenly on a logarithmic scale."""
SHARE, FEWEST = 0.05, 5
SHORTEST, LONGEST = 8, 60


def inject(values: NDArray[np.float64], seed: int) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Put faults into about `SHARE` of the samples of (T, F).

    Returns:
        The values with faults, and the truth, (T,) of 0 and 1. Outside of the truth nothing has changed.
    """
    source = np.random.default_rng([seed, 21])
    changed, truth = values.copy(), np.zeros(len(values), np.int8)
    longest = min(LONGEST, max(SHORTEST, len(values) // 60))
    spread = np.maximum(np.diff(values, axis=0).std(axis=0), 1e-9)
    kinds: list[str] = []
    for begin in _begins(source, len(values), longest):
        kinds = kinds or list(source.permutation(KINDS))
        kind, field = kinds.pop(), int(source.integers(values.shape[1]))
        steps = 1 if kind == "spike" else int(source.integers(SHORTEST, longest + 1))
        size = spread[field] * float(np.exp(source.uniform(*np.log(SEVERITY))))
        span = slice(begin, begin + steps)
        changed[span, field] = _faulty(source, kind, values[begin - 1 : begin + steps, field], size)
        truth[span] = 1
    return changed, truth


def _begins(source: Generator, samples: int, longest: int) -> list[int]:
    """Begins in order, with room for the longest fault and as much again between two of them."""
    count = max(FEWEST, round(SHARE * samples / (0.5 * (SHORTEST + longest) * 0.8)))
    room = samples // count
    return [place * room + 1 + int(source.integers(max(1, room - 2 * longest))) for place in range(count)]


def _faulty(source: Generator, kind: str, values: NDArray[np.float64], size: float) -> NDArray[np.float64]:
    """The faulty values in place of all but the first, which is the last good one."""
    good, sign = values[1:], source.choice([-1.0, 1.0])
    if kind == "stuck":
        return np.full(len(good), values[0])
    if kind == "noise":
        return good + size * source.standard_normal(len(good))
    return good + sign * size * (np.arange(1, len(good) + 1) / len(good) if kind == "drift" else 1.0)
