"""A history and its split -> the arrays that a net learns from and is judged on.

Shapes: N samples of all pieces, F numbers of a sample, C chunks of the held-out part, T samples of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.arrays import Float32s
from core.training.tasks.doubts import gaps_after
from core.training.tasks.history import History, Marks
from core.training.tasks.pieces import Split, TimePiece
from core.training.tasks.statistics import FieldStatistics, statistics_of

CHUNK = 512
"""Samples of the held-out part that are judged in one row, behind `WARM` that only move the state."""
WARM = 128
MOST_JUDGED = 200_000
"""Samples of the held-out part after each epoch, evenly spread: the threshold is chosen on all of them later."""


@dataclass(frozen=True)
class Learnt:
    """The N samples of the pieces that are learnt from, one piece behind the other.

    ``values`` (N, F) are standardised; ``usable`` (N,) says whether the step to the next sample may be learnt from;
    ``bounds`` are the pieces' places.
    """

    values: Tensor
    usable: Marks
    bounds: list[tuple[int, int]]


@dataclass(frozen=True)
class Judged:
    """Chunks of the held-out part as rows (C, T, F), standardised; ``places`` are theirs in the history.

    ``counts`` (C, T) says which steps to the next sample are judged: not those that warm the state up, nor those that
    are not normal.
    """

    values: Tensor
    counts: Marks
    places: list[TimePiece]

    def rows(self) -> Iterator[tuple[TimePiece, Marks, int]]:
        """Each chunk with its row of ``counts``, and the place there at which it begins behind what warms it up."""
        for place, counts in zip(self.places, self.counts, strict=True):
            yield place, counts, min(place.start, WARM)


def prepare_statistics(history: History, parts: Split, names: Sequence[str]) -> FieldStatistics:
    """The statistics of the part that is learnt from, without samples that are not normal.

    Those right behind an anomaly are: their values are normal, only the model's state and the score are not.
    """
    pieces = [_values(history, piece)[~_marked(history, piece)] for piece in parts.learnt]
    return statistics_of(names, [piece for piece in pieces if len(piece)])


def learnt(history: History, parts: Split, statistics: FieldStatistics) -> Learnt:
    """The arrays of the part that is learnt from."""
    ends = np.cumsum([len(piece) for piece in parts.learnt]).tolist()
    values = np.concatenate([statistics.standardised(_values(history, piece)) for piece in parts.learnt])
    usable = np.concatenate([_usable(history, piece) for piece in parts.learnt])
    bounds = [(end - len(piece), end) for end, piece in zip(ends, parts.learnt, strict=True)]
    return Learnt(torch.from_numpy(values), usable, bounds)


def judged(history: History, parts: Split, statistics: FieldStatistics) -> Judged:
    """The arrays of the held-out part."""
    chunks = [chunk for piece in parts.held_out for chunk in _chunks(piece)]
    stride = max(1, -(-len(chunks) * CHUNK // MOST_JUDGED))
    places = chunks[::stride]
    values = np.zeros((len(places), WARM + CHUNK + 1, statistics.mean.size), np.float32)
    counts = np.zeros(values.shape[:2], bool)
    for row, place in enumerate(places):
        first = max(0, place.start - WARM)
        whole = TimePiece(place.sequence, first, place.end)
        values[row, : len(whole)] = statistics.standardised(_values(history, whole))
        counts[row, place.start - first : len(whole)] = _usable(history, place)
    return Judged(torch.from_numpy(values), counts, places)


def _chunks(piece: TimePiece) -> list[TimePiece]:
    """A piece in parts; each ends with the sample that the next one begins with, so that no step is lost."""
    starts = range(piece.start, piece.end - 1, CHUNK)
    return [TimePiece(piece.sequence, start, min(start + CHUNK + 1, piece.end)) for start in starts]


def _values(history: History, piece: TimePiece) -> Float32s:
    return history.sequences[piece.sequence].values[piece.start : piece.end]


def _marked(history: History, piece: TimePiece) -> Marks:
    return history.sequences[piece.sequence].marked[piece.start : piece.end]


def _usable(history: History, piece: TimePiece) -> Marks:
    """True where the step from each sample of a piece to the next may be learnt from; never the last one's."""
    sequence = history.sequences[piece.sequence]
    times = None if sequence.times_ms is None else sequence.times_ms[piece.start : piece.end]
    behind = sequence.disturbed[piece.start : piece.end]
    found = ~gaps_after(times, history.period_ms, len(piece)) & ~behind
    found[:-1] &= ~behind[1:]
    found[-1:] = False
    return found
