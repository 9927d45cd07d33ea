"""Targets of samples, as they are known, learnt from and judged.

A target may be known at some samples alone, as a value of a laboratory is. Shapes: N samples of all pieces, T of one
sequence, F numbers of a sample, K targets, C chunks of the held-out part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.arrays import Float32s, Float64s
from core.errors import DataError
from core.training.tasks.data import CHUNK, MOST_JUDGED, WARM
from core.training.tasks.history import History, Marks, Recorded
from core.training.tasks.pieces import Split, TimePiece
from core.training.tasks.statistics import FieldStatistics

LEAST_KNOWN = 20
"""Values of a target in each part."""


@dataclass(frozen=True)
class TargetStatistics:
    """Mean and standard deviation of each target in the part that is learnt from, (K,) each."""

    names: tuple[str, ...]
    mean: Float64s
    std: Float64s

    def standardised(self, targets: Float64s) -> Float32s:
        """Targets (T, K) as the net gives them."""
        return np.asarray((targets - self.mean) / self.std, np.float32)


@dataclass(frozen=True)
class TargetRows:
    """Samples ``values`` (..., F) and ``targets`` (..., K), standardised; ``known`` (..., K) where a target counts.

    Of what is learnt from, (N, ...): one piece behind the other, within ``bounds``. Of what is judged, (C, T, ...).
    """

    values: Tensor
    targets: Tensor
    known: Tensor
    bounds: list[tuple[int, int]]


def targets_of(sequence: Recorded, names: Sequence[str]) -> Float64s:
    """The targets (T, K) of a sequence, NaN where one is unknown."""
    return np.stack([sequence.extra[name] for name in names], axis=1).astype(np.float64)


def target_statistics(history: History, parts: Split, names: Sequence[str]) -> TargetStatistics:
    """The statistics of the part that is learnt from.

    Raises:
        DataError: a target is known at too few samples, or is always the same.
    """
    found = []
    for pieces, part in ((parts.learnt, "the part that is learnt from"), (parts.held_out, "the held-out part")):
        known = np.concatenate([_targets(history, piece, names)[~_marked(history, piece)] for piece in pieces])
        for place, name in enumerate(names):
            count = int((~np.isnan(known[:, place])).sum())
            if count < LEAST_KNOWN:
                raise DataError(
                    history.source, f"{part} has {count} values of the target: at least {LEAST_KNOWN} are needed", name
                )
        found.append(known)
    mean, std = np.nanmean(found[0], axis=0), np.nanstd(found[0], axis=0)
    for name, each, width in zip(names, mean, std, strict=True):
        if width <= 1e-9 * abs(each) or width == 0:
            raise DataError(history.source, f"is always {each:g}: there is nothing to learn", name)
    return TargetStatistics(tuple(names), mean, std)


def learnt_rows(history: History, parts: Split, statistics: FieldStatistics, targets: TargetStatistics) -> TargetRows:
    """The part that is learnt from."""
    pieces = parts.learnt
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    rows = [_rows(history, piece, statistics, targets) for piece in pieces]
    values, wanted, known = (torch.from_numpy(np.concatenate(each)) for each in zip(*rows, strict=True))
    return TargetRows(values, wanted, known, [(end - len(piece), end) for end, piece in zip(ends, pieces, strict=True)])


def judged_rows(history: History, parts: Split, statistics: FieldStatistics, targets: TargetStatistics) -> TargetRows:
    """The held-out part in chunks, each behind some samples that only move the state."""
    chunks = [
        TimePiece(piece.sequence, start, min(start + CHUNK, piece.end))
        for piece in parts.held_out
        for start in range(piece.start, piece.end, CHUNK)
    ]
    chunks = chunks[:: max(1, -(-len(chunks) * CHUNK // MOST_JUDGED))]
    shape, outputs = (len(chunks), WARM + CHUNK), len(targets.names)
    values = np.zeros((*shape, statistics.mean.size), np.float32)
    wanted, known = (np.zeros((*shape, outputs), np.float32) for _ in range(2))
    for row, chunk in enumerate(chunks):
        first = max(0, chunk.start - WARM)
        found = _rows(history, TimePiece(chunk.sequence, first, chunk.end), statistics, targets)
        for array, part in zip((values, wanted, known), found, strict=True):
            array[row, : len(part)] = part
        known[row, : chunk.start - first] = 0
    return TargetRows(torch.from_numpy(values), torch.from_numpy(wanted), torch.from_numpy(known), [])


def _rows(
    history: History, piece: TimePiece, statistics: FieldStatistics, targets: TargetStatistics
) -> tuple[Float32s, Float32s, Float32s]:
    """The samples of a piece, their targets (0 where unknown), and 1 where a target counts."""
    wanted = _targets(history, piece, targets.names)
    known = ~np.isnan(wanted) & ~_marked(history, piece)[:, None]
    values = history.sequences[piece.sequence].values[piece.start : piece.end]
    standardised = np.where(known, targets.standardised(wanted), 0).astype(np.float32)
    return statistics.standardised(values), standardised, known.astype(np.float32)


def _targets(history: History, piece: TimePiece, names: Sequence[str]) -> Float64s:
    return targets_of(history.sequences[piece.sequence], names)[piece.start : piece.end]


def _marked(history: History, piece: TimePiece) -> Marks:
    return history.sequences[piece.sequence].marked[piece.start : piece.end]


def last_known(targets: Float64s) -> Float64s:
    """The value (T, K) of each target that was known last before each sample; NaN before the first one."""
    found = np.full_like(targets, np.nan)
    for column, known in zip(found.T, targets.T, strict=True):
        there = np.where(~np.isnan(known), np.arange(len(known)), -1)
        before = np.concatenate([[-1], np.maximum.accumulate(there)[:-1]])
        column[before >= 0] = known[before[before >= 0]]
    return found


def target_figures(
    predicted: Float64s, targets: Float64s, last: Float64s, statistics: TargetStatistics
) -> list[dict[str, Any]]:
    """The errors of each target, in its own unit, beside those of its mean and of its last known value.

    Args:
        predicted, targets, last: (N, K), NaN where unknown.
        statistics: of the part that was learnt from.
    """
    found = []
    for place, name in enumerate(statistics.names):
        known = ~np.isnan(targets[:, place])
        wanted, guess = targets[known, place], predicted[known, place]
        before = last[known, place]
        both = ~np.isnan(before)
        squared = float(((wanted - wanted.mean()) ** 2).mean())
        found.append(
            {
                "target": name,
                "count": int(known.sum()),
                "rmse": _rms(guess - wanted),
                "mae": float(np.abs(guess - wanted).mean()),
                "r2": 1 - _rms(guess - wanted) ** 2 / squared if squared else None,
                "mean_rmse": _rms(statistics.mean[place] - wanted),
                "last_rmse": _rms(before[both] - wanted[both]) if both.any() else None,
                "std": float(np.sqrt(squared)),
            }
        )
    return found


def _rms(errors: Float64s) -> float:
    return float(np.sqrt((errors**2).mean()))
