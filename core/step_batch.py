"""The input of one call of the signal model: a batch of ragged runs, and where their states stand."""

from __future__ import annotations

from typing import NamedTuple

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
