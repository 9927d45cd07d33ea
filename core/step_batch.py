"""The input of one call of a model that steps: a batch of ragged runs, and where their states stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from core.arrays import Float32s, Int64s


class StepBatch(NamedTuple):
    """B runs with N samples in all, and S rows that take a state; C-contiguous, indices int64 (int32 is converted).

    A *run* is a row of the batch: consecutive samples of a stream without a reset between.
    """

    samples: Float32s  # (N, F), of all runs, in any order
    runs: Int64s  # (N,), the run of each sample
    times: Int64s  # (N,), its place in that run, from 0 without holes
    lengths: Int64s  # (B,), samples of each run, >= 1; their sum is N
    starts: Int64s  # (B,), the row in which each run begins, as it is before the call; none but `ZEROS` twice
    targets: Int64s  # (S,), rows that take a state after the call; a row may be named again with the same run
    last: Int64s  # (S,), the run whose state after its last sample goes to that row

    @classmethod
    def of_runs(cls, runs: Sequence[Float32s], starts: Int64s, targets: Int64s) -> Self:
        """The batch of B runs, (T, F) each, of which each ends in a row of its own; ``starts`` and ``targets`` (B,)."""
        lengths = np.array([len(run) for run in runs])
        numbers = np.arange(len(runs))
        times = np.concatenate([np.arange(length) for length in lengths])
        samples = np.ascontiguousarray(np.concatenate(runs), np.float32)
        return cls(samples, np.repeat(numbers, lengths), times, lengths, starts, targets, numbers)
