"""Truncated backpropagation over long sequences: rows of a batch play stretches of them, segment by segment.

The state is carried from one segment of a stretch to the next and cut from the graph. Rows are staggered, so that each
batch has states of every age. Shapes: B rows of a batch, L samples of a segment, N samples of all pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.arrays import Int64s

LONGEST = 32
"""Segments of a stretch: a live stream goes on for longer, and by then a state has forgotten how it began."""
MOST_SAMPLES = 2_000_000
"""The samples of one epoch: of more data each epoch takes others."""
LEAST_UPDATES = 20
SEGMENTS_A_ROW = 8


@dataclass(frozen=True)
class BatchSegment:
    """One segment of every row: the ``places`` (B, L) of its samples among the N, ``there`` (B, L) where there is one,
    and ``kept`` (B,), 0 where a stretch begins, from a state of zeros.
    """

    places: Int64s
    there: NDArray[np.bool_]
    kept: NDArray[np.float32]


class Stretches:
    """The segments of each epoch, which the seed and the epoch's number alone decide.

    Args:
        bounds: ``[start, end)`` of each piece among the N samples.
        length: L, at most.
        rows: B, at most; little data has fewer.
        seed: of the training.
    """

    def __init__(self, bounds: Sequence[tuple[int, int]], length: int, rows: int, seed: int) -> None:
        self._bounds, self._seed = bounds, seed
        samples = sum(end - start for start, end in bounds)
        self.length = min(length, max(end - start for start, end in bounds))
        segments = max(1, samples // self.length)
        self.rows = max(1, min(rows, segments // SEGMENTS_A_ROW))
        self._stretch = max(1, min(LONGEST, segments // (2 * self.rows)))
        updates = min(samples, MOST_SAMPLES) // (self.length * self.rows)
        self.updates = max(LEAST_UPDATES, updates)

    def epoch(self, number: int) -> Iterator[BatchSegment]:
        """Yield `updates` segments."""
        source = np.random.default_rng([self._seed, 7, number])
        queue = self._queue(source)
        offsets = np.arange(self.length)
        starts, ends = (np.array(each) for each in zip(*(next(queue) for _ in range(self.rows)), strict=True))
        # The first stretch of a row is played from its middle, so that ages differ.
        ages = np.arange(self.rows) * self._stretch // self.rows * self.length
        places = np.minimum(starts + ages, np.maximum(starts, ends - self.length))
        kept = np.zeros(self.rows, np.float32)
        for _ in range(self.updates):
            where = places[:, None] + offsets
            yield BatchSegment(np.minimum(where, ends[:, None] - 1), where < ends[:, None], kept.copy())
            places, kept = places + self.length, np.ones(self.rows, np.float32)
            for row in np.flatnonzero(places >= ends - 1):
                places[row], ends[row] = next(queue)
                kept[row] = 0

    def _queue(self, source: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Stretches without end: all steps once, in another order and with other cuts each time.

        A stretch ends with the sample that the next one begins with, so that the step between them is learnt too.
        """
        size = self._stretch * self.length
        while True:
            shift = int(source.integers(size))
            cuts = [
                (max(start, first), min(end, first + size + 1))
                for start, end in self._bounds
                for first in range(start - shift, end, size)
            ]
            found = [(start, end) for start, end in cuts if end - start > 1]
            for place in source.permutation(len(found)):
                yield found[place]
