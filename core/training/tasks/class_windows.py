"""The windows of labelled sequences: some by chance to learn from, and all that a worker would score.

Shapes: W windows, T samples of one, F numbers of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.arrays import Float32s, Float64s, Int64s
from core.engines.results import WindowRules
from core.offline.predict import scores_due

RUNNING_SHARE = 0.5
"""Windows that end before their sequence does; the others are its last."""
MOST_LOOKS = 50
"""Windows of one sequence in an epoch."""
MOST_JUDGED = 2000
"""Windows that each epoch is judged on, evenly spread."""


@dataclass(frozen=True)
class WindowCut:
    """Windows ``[starts, ends)`` of ``sequences`` with their ``labels``; ``final`` ones end a sequence; all (W,)."""

    sequences: Int64s
    starts: Int64s
    ends: Int64s
    labels: Int64s
    final: Int64s

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def weights(self) -> Float64s:
        """The weight of each window: those of one sequence have together the weight of one."""
        _, place, counts = np.unique(self.sequences, return_inverse=True, return_counts=True)
        found: Float64s = 1.0 / counts[place]
        return found

    def some(self, chosen: Int64s) -> WindowCut:
        """Return some of the windows."""
        return WindowCut(
            *(each[chosen] for each in (self.sequences, self.starts, self.ends, self.labels, self.final)),
        )

    def of(self, values: Sequence[Float32s]) -> list[Float32s]:
        """Their samples, (T, F) each."""
        return [
            values[sequence][start:end]
            for sequence, start, end in zip(self.sequences, self.starts, self.ends, strict=True)
        ]


def looks(lengths: Int64s, rules: WindowRules) -> Int64s:
    """The number of windows of each sequence that an epoch takes."""
    return np.clip(-(-lengths // rules.window_length), 1, MOST_LOOKS)


def by_chance(
    sequences: Int64s, lengths: Int64s, labels: Int64s, rules: WindowRules, random: np.random.Generator
) -> WindowCut:
    """Windows to learn from; arguments but ``rules`` and ``random`` are of each sequence, (S,)."""
    counts = looks(lengths, rules)
    own, long, of = (np.repeat(each, counts) for each in (sequences, lengths, labels))
    running = random.random(len(own)) < RUNNING_SHARE
    ends = np.where(running, random.integers(rules.window_min, long + 1), long)
    return WindowCut(own, np.maximum(0, ends - rules.window_length), ends, of, (ends == long).astype(np.int64))


def all_due(sequences: Int64s, lengths: Int64s, labels: Int64s, rules: WindowRules) -> WindowCut:
    """Every window that a worker scores; arguments as `by_chance` has them."""
    due = [
        (sequence, score.start, score.end, label, score.final)
        for sequence, length, label in zip(sequences.tolist(), lengths.tolist(), labels.tolist(), strict=True)
        for score in scores_due(sequence, length, rules)
    ]
    return WindowCut(*(np.array(column, np.int64) for column in zip(*due, strict=True)))


def spread(cut: WindowCut) -> WindowCut:
    """At most `MOST_JUDGED` windows: every sequence's last one, and others evenly spread."""
    stride = math.ceil(len(cut) / MOST_JUDGED)
    return cut.some(np.flatnonzero((np.arange(len(cut)) % stride == 0) | (cut.final == 1)))


def padded(windows: Sequence[Float32s]) -> tuple[Tensor, list[int]]:
    """Windows as one batch (W, T, F), zeros behind the shorter ones, and their lengths."""
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(each) for each in windows], batch_first=True), [
        len(window) for window in windows
    ]
