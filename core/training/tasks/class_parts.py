"""The sequences that a classifier learns from, that choose its best epoch and that calibrate it: each is in one part.

Shapes: S sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import Int64s
from core.errors import DataError
from core.training.tasks.labels import SequenceLabels

HELD_OUT = 0.2
"""The share of the sequences of each class, at least two: half choose the best epoch, the others calibrate."""
LEAST = 4
"""Sequences of a class."""


@dataclass(frozen=True)
class ClassParts:
    """Numbers of sequences, ascending; ``short`` had too few samples for a score, ``unknown`` no label."""

    learnt: Int64s
    chosen: Int64s
    calibrated: Int64s
    short: int
    unknown: int

    @property
    def held_out(self) -> Int64s:
        """Those that choose and those that calibrate."""
        return np.sort(np.concatenate([self.chosen, self.calibrated]))


def class_parts(labels: SequenceLabels, lengths: Int64s, first: int, seed: int, source: str) -> ClassParts:
    """Divide the sequences of each class by chance.

    Args:
        lengths: samples of each sequence, (S,).
        first: samples before a sequence has a score.
        seed: chooses.
        source: the file, for messages.

    Raises:
        DataError: a class has too few sequences.
    """
    long = lengths >= first
    known = labels.numbers >= 0
    parts: tuple[list[Int64s], list[Int64s], list[Int64s]] = ([], [], [])
    random = np.random.default_rng([seed, 12])
    for number, name in enumerate(labels.classes):
        own = random.permutation(np.flatnonzero((labels.numbers == number) & long))
        if len(own) < LEAST:
            raise DataError(
                source,
                f"the class {name!r} has {len(own)} sequences of {first:,} samples or more (window.first): at "
                f"least {LEAST} are needed, and about ten of each class for figures that mean something",
            )
        held = max(2, round(HELD_OUT * len(own)))
        for part, these in zip(parts, np.split(own, [len(own) - held, len(own) - held // 2]), strict=True):
            part.append(these)
    learnt, chosen, calibrated = (np.sort(np.concatenate(part)) for part in parts)
    return ClassParts(learnt, chosen, calibrated, int((known & ~long).sum()), int((~known).sum()))
