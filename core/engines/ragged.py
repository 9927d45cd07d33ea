"""The order in which the samples of ragged runs are stepped. Shapes: N samples, B runs, T steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import Int64s
from core.engines.bank import ZEROS
from core.step_batch import StepBatch


@dataclass(frozen=True)
class BatchPlan:
    """The order of the samples of ragged rows in a packed sequence: all rows' first samples, then all second ones,
    and so on; the longest row leads.
    """

    order: Int64s  # (B,): the rows, longest first
    rank: Int64s  # (B,): each row's place among them
    running: Int64s  # (T,): rows that have a sample at each time
    places: Int64s  # (N,): each sample's place

    @classmethod
    def of(cls, rows: Int64s, times: Int64s, lengths: Int64s) -> BatchPlan:
        """The plan of a batch.

        Args:
            rows: (N,), the row of each sample.
            times: (N,), its place in that row, from 0 without holes.
            lengths: (B,), samples of each row, >= 1; their sum is N.
        """
        if len(rows) == len(lengths):  # one sample each, as in most chunks
            alone = np.arange(len(rows))
            return cls(alone, alone, lengths.sum(keepdims=True), rows)
        order = np.argsort(-lengths, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        running = np.searchsorted(-lengths[order], -np.arange(lengths.max()), side="left")
        return cls(order, rank, running, (np.cumsum(running) - running)[times] + rank[rows])


def checked(batch: StepBatch, features: int, capacity: int) -> StepBatch:
    """A batch whose indices are int64, and all of whose rows and runs are there.

    Raises:
        ValueError: sizes do not fit each other, or samples are not runs without holes.
        IndexError: a row or run that is not there, or a target `ZEROS`.
    """
    samples, *given = batch
    runs, times, lengths, starts, targets, last = (np.ascontiguousarray(each, np.int64) for each in given)
    if samples.ndim != 2 or samples.shape[1] != features:
        raise ValueError(f"samples: {samples.shape}, where (N, {features}) is needed")
    if not _are_runs(len(samples), runs, times, lengths):
        raise ValueError("samples: runs, times and lengths do not describe runs without holes")
    if len(starts) != len(lengths) or len(targets) != len(last):
        raise ValueError(f"{len(starts)} starts of {len(lengths)} runs, {len(targets)} targets of {len(last)}")
    check_rows(last, len(lengths), "run")
    for rows in (starts, targets):
        check_rows(rows, capacity)
    if len(targets) and targets.min() == ZEROS:
        raise IndexError("row 0 stays zero")
    return StepBatch(np.asarray(samples, np.float32), runs, times, lengths, starts, targets, last)


def check_rows(rows: Int64s, capacity: int, what: str = "row") -> None:
    """Raise IndexError for a row that is not there."""
    if len(rows) and not (rows.min() >= 0 and rows.max() < capacity):
        bad = (rows < 0) | (rows >= capacity)
        raise IndexError(f"{what} {int(rows[bad][0])}: there are {capacity}")


def _are_runs(samples: int, runs: Int64s, times: Int64s, lengths: Int64s) -> bool:
    """True if every place of every run is named once."""
    if not len(runs) == len(times) == samples == lengths.sum() or (samples and lengths.min() < 1):
        return False
    if not samples:
        return True
    if runs.min() < 0 or runs.max() >= len(lengths) or times.min() < 0 or (times >= lengths[runs]).any():
        return False
    places = runs if len(lengths) == samples else (np.cumsum(lengths) - lengths)[runs] + times
    return bool(np.bincount(places).max() == 1)
