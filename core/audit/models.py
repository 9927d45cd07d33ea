"""Models as an audit runs them: over whole runs, and over windows.

Shapes: B runs of T steps each, W windows, F numbers of a sample, K of the model, S of a state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from core.arrays import Float32s
from core.engines.bank import ZEROS, StateBank
from core.step_batch import StepBatch

if TYPE_CHECKING:
    from core.engines.declared.window_scoring import WindowScorer


class StepsModel(Protocol):
    """A model that steps runs."""

    fingerprint: str
    state_size: int
    tensors: Mapping[str, slice]
    """The place of each tensor among the K."""

    def advance(self, runs: Sequence[Float32s], before: Float32s | None) -> tuple[list[Float32s], Float32s]:
        """Step runs, each (T, F), T >= 1 and of any length.

        Args:
            runs: B of them.
            before: (B, S); None is zeros.

        Returns:
            The numbers, (T, K) each, and the states after (B, S).
        """


class BankSteps:
    """The model of a declared task as a `StepsModel`.

    Args:
        bank: steps the model alone, without what a task computes of its numbers; its rows are nobody else's.
        tensors: where each tensor stands among the K.
        state_size: S.
        name: the fingerprint.
    """

    def __init__(self, bank: StateBank, tensors: Mapping[str, slice], state_size: int, name: str) -> None:
        self._bank = bank
        self.tensors, self.state_size, self.fingerprint = tensors, state_size, name

    def advance(self, runs: Sequence[Float32s], before: Float32s | None) -> tuple[list[Float32s], Float32s]:
        while self._bank.capacity <= len(runs):
            self._bank.grow()
        rows = np.arange(1, len(runs) + 1)
        if before is not None:
            for row, state in zip(rows.tolist(), before, strict=True):
                self._bank.write(row, state)
        starts = np.full_like(rows, ZEROS) if before is None else rows
        numbers = self._bank.step(StepBatch.of_runs(runs, starts, rows)).reshape(sum(map(len, runs)), -1)
        ends = np.cumsum([len(run) for run in runs])
        return np.split(numbers, ends[:-1]), self._bank.read(rows)


class WindowsModel(Protocol):
    """A model that looks at windows."""

    fingerprint: str
    tensors: Mapping[str, int]
    """The size of each tensor that has the same for every window."""

    def score(self, windows: Sequence[Float32s]) -> list[Mapping[str, Float32s]]:
        """The tensors of each window (T, F), by name; windows may have any lengths."""


class ScoredWindowsModel:
    """The model of a declared window task as a `WindowsModel`.

    Args:
        windows: scores them.
        name: the fingerprint.
    """

    def __init__(self, windows: WindowScorer, name: str) -> None:
        self._windows, self.fingerprint = windows, name
        self.tensors: Mapping[str, int] = {tensor.name: tensor.size for tensor in windows.tensors}

    def score(self, windows: Sequence[Float32s]) -> list[Mapping[str, Float32s]]:
        return [dict(zip(self.tensors, found, strict=True)) for found in self._windows.score(windows)]
