"""A bank of states whose predictions are a task's outputs: what an output keeps is one more state.

Shapes: N samples, B runs, K numbers of the model, M of all outputs, A numbers kept from step to step.
"""

from __future__ import annotations

import numpy as np

from core.arrays import Float32s, Int64s
from core.engines.bank import StateBank
from core.engines.declared.outputs import StepOutputs
from core.engines.ragged import BatchPlan
from core.step_batch import StepBatch


class AppliedStates:
    """A `StateBank` whose predictions are (N, M). A state is that of the model, then what the outputs keep.

    Args:
        bank: an empty one, of the model; its predictions are (N, K).
        outputs: of the task.
        size: numbers of a state in ``bank``.
    """

    def __init__(self, bank: StateBank, outputs: StepOutputs, size: int) -> None:
        self._bank, self._outputs, self._size = bank, outputs, size
        self._kept = np.zeros((bank.capacity, outputs.kept), np.float32)

    @property
    def capacity(self) -> int:
        return self._bank.capacity

    def grow(self) -> None:
        self._bank.grow()
        if len(self._kept) < self._bank.capacity:
            grown = np.zeros((max(2 * len(self._kept), self._bank.capacity), self._outputs.kept), np.float32)
            grown[: len(self._kept)] = self._kept
            self._kept = grown

    def step(self, batch: StepBatch) -> Float32s:
        """Step the runs of a batch; see `StateBank.step`. The predictions are (N, M)."""
        numbers = self._bank.step(batch)
        if self._outputs.kept:
            return self._step_kept(batch, numbers)
        return self._outputs.step(batch.samples, numbers, np.empty((len(numbers), 0), np.float32))[0]

    def _step_kept(self, batch: StepBatch, numbers: Float32s) -> Float32s:
        runs, times, lengths, starts, targets, last = (np.asarray(each, np.int64) for each in batch[1:])
        plan = BatchPlan.of(runs, times, lengths)
        samples, given = np.empty_like(batch.samples), np.empty_like(numbers)
        samples[plan.places], given[plan.places] = batch.samples, numbers
        found = np.empty((len(numbers), self._outputs.width), np.float32)
        kept = self._kept[starts[plan.order]]
        begin = 0
        for rows in plan.running.tolist():
            now = slice(begin, begin + rows)
            found[now], kept[:rows] = self._outputs.step(samples[now], given[now], kept[:rows])
            begin += rows
        self._kept[targets] = kept[plan.rank[last]]
        return found[plan.places]

    def read(self, rows: Int64s) -> Float32s:
        return np.hstack([self._bank.read(rows), self._kept[rows]])

    def write(self, row: int, state: Float32s) -> None:
        self._bank.write(row, state[: self._size])
        self._kept[row] = state[self._size :]

    def clear(self, row: int) -> None:
        self._bank.clear(row)
        self._kept[row] = 0

    def warm_up(self) -> None:
        """Run the shapes of live chunks. Changes no row."""
        self._bank.warm_up()
