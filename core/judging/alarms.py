"""Alarms with hysteresis in a whole series of scores: each begins at ``threshold`` and ends below ``clear``.

An alarm is a run of scores that never falls below ``clear`` and reaches ``threshold``: so the number of alarms is the
number of such runs whose peak is high enough. A score that is NaN changes nothing, as in the worker.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float64s, Int64s


@dataclass(frozen=True)
class Alarms:
    """The alarms of one series, in order; ``begins`` and ``ends`` are samples, half-open."""

    begins: Int64s
    ends: Int64s
    peaks: Float64s

    def __len__(self) -> int:
        return len(self.begins)


def find_alarms(scores: Float64s, threshold: float, clear: float) -> Alarms:
    """Find the alarms of one series of scores (N,), which may hold NaN; ``clear`` is at most ``threshold``."""
    known = np.flatnonzero(~np.isnan(scores))
    values = scores[known]
    starts, stops = runs_of(values >= clear)
    hits = np.flatnonzero(values >= threshold)
    runs, first = np.unique(np.searchsorted(starts, hits, side="right") - 1, return_index=True)
    peaks = np.maximum.reduceat(values[hits], first) if len(first) else np.empty(0)
    after = np.append(known, len(scores))
    return Alarms(known[hits[first]], after[stops[runs]], peaks)


def runs_of(marked: NDArray[np.bool_]) -> tuple[Int64s, Int64s]:
    """The first of each run of marked samples, and what follows its last."""
    edges = np.diff(marked.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


@dataclass(frozen=True)
class Known:
    """The scores of many sequences without their NaN, one after the other; sequences begin at ``firsts``."""

    values: Float64s
    firsts: Int64s

    @classmethod
    def of(cls, sequences: list[Float64s]) -> Known:
        """Put together the scores of sequences."""
        kept = [scores[~np.isnan(scores)] for scores in sequences]
        kept = [scores for scores in kept if len(scores)]
        counts = np.array([len(scores) for scores in kept], np.int64)
        return cls(np.concatenate([np.empty(0), *kept]), np.cumsum(counts) - counts)

    def peaks(self, clear: float) -> tuple[Int64s, Float64s]:
        """Find where each run of scores from ``clear`` on begins, and its highest score. It ends with its sequence."""
        above = self.values >= clear
        begins = above.copy()
        begins[1:] &= ~above[:-1]
        begins[self.firsts] = above[self.firsts]
        places = np.flatnonzero(begins)
        if not len(places):
            return places, np.empty(0)
        return places, np.maximum.reduceat(np.where(above, self.values, -np.inf), places)

    def count(self, threshold: float, clear: float) -> int:
        """The number of alarms."""
        return int((self.peaks(clear)[1] >= threshold).sum())
