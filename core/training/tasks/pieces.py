"""Which samples of a history a model learns from, and which are held out to judge it.

Of a few sequences the last part by time is held out. Of many, whole sequences are: those of other machines or days say
more than the end of one that was learnt from. Samples on the two sides of a cut are further apart than the horizon over
which a score looks back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import DataError

HELD_OUT = 0.2
"""The share of the samples, about."""
MANY = 10
"""Sequences, from which on whole ones are held out."""
LEAST_LEARNT = 200
LEAST_HELD_OUT = 50


@dataclass(frozen=True)
class TimePiece:
    """Samples ``[start, end)`` of one sequence of a history."""

    sequence: int
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Split:
    """The pieces of both parts; ``by`` says in words how they were divided."""

    learnt: list[TimePiece]
    held_out: list[TimePiece]
    by: str

    @property
    def counts(self) -> tuple[int, int]:
        """Samples of both parts."""
        return sum(map(len, self.learnt)), sum(map(len, self.held_out))


def split(lengths: Sequence[int], horizon: int, seed: int, source: str) -> Split:
    """Divide sequences of these lengths.

    Args:
        horizon: samples that a score looks back.
        seed: chooses sequences, where whole ones are held out.
        source: the file, for messages.

    Raises:
        DataError: there is too little to learn from; how much is needed.
    """
    found = _whole(lengths, seed) if len(lengths) >= MANY else _last_parts(lengths, horizon)
    learnt, held_out = found.counts
    if learnt < LEAST_LEARNT or held_out < LEAST_HELD_OUT:
        needed = round((LEAST_LEARNT + horizon) / (1 - HELD_OUT) + 1)
        raise DataError(
            source,
            f"{sum(lengths):,} samples in {len(lengths):,} sequences are too few: {max(needed, 5 * LEAST_HELD_OUT):,} "
            "in one sequence are the least, and some thousands are needed for a model that is worth its alarms",
        )
    return found


def _whole(lengths: Sequence[int], seed: int) -> Split:
    """Hold whole sequences out until their samples are enough, by chance, so that no kind of day is missed."""
    wanted = HELD_OUT * sum(lengths)
    chosen: set[int] = set()
    samples = 0
    for place in np.random.default_rng([seed, 11]).permutation(len(lengths)).tolist():
        if samples + lengths[place] / 2 > wanted and chosen:
            continue
        chosen.add(place)
        samples += lengths[place]
    pieces = [TimePiece(place, 0, length) for place, length in enumerate(lengths) if length > 1]
    return Split(
        [piece for piece in pieces if piece.sequence not in chosen],
        [piece for piece in pieces if piece.sequence in chosen],
        f"{len(chosen):,} of {len(lengths):,} sequences, chosen by chance, are held out whole",
    )


def _last_parts(lengths: Sequence[int], horizon: int) -> Split:
    learnt, held_out = [], []
    for place, length in enumerate(lengths):
        cut = round((1 - HELD_OUT) * length)
        if cut - horizon > 1:
            learnt.append(TimePiece(place, 0, cut - horizon))
        if length - cut > 1:
            held_out.append(TimePiece(place, cut, length))
    of = "the file" if len(lengths) == 1 else "each sequence"
    return Split(
        learnt,
        held_out,
        f"the last {HELD_OUT:.0%} of {of} by time are held out, behind {horizon:,} samples that are not used",
    )
