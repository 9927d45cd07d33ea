"""The hidden states of all streams on a CUDA device: records go over, predictions come back, states stay.

A chunk costs one copy there, a gather of the states, the steps, a scatter, one copy back, and one wait.
Shapes as in `core.engines.bank`.
"""

from __future__ import annotations

import numpy as np
import torch

from core.arrays import Float32s, Int64s
from core.device import CudaDevice, Device, Download, Upload
from core.engines.bank import ZEROS
from core.engines.infer import prepare, state_size
from core.engines.lstm_step import LstmStep
from core.engines.ragged import BatchPlan
from core.models.signal_lstm import SignalExtractionLSTM
from core.step_batch import StepBatch

FIRST_ROWS = 4096
BLOCK_ROWS = 16_384  # of states that cross at once: 16 MiB of pinned memory, however many streams a commit reads
WAITING_ROWS = 4096  # states written one by one that wait for a copy together
WARM_SHAPES = ((1, 8), (1, 1024), (8, 8), (8, 256), (64, 8), (64, 32))  # steps, runs: a chunk has 4,000 records


class CudaHiddenStates:
    """A `StateBank` on a CUDA device.

    Args:
        model: with its parameters there, float32. Its mode is set to eval.
        device: the boundary to the device; by default torch.cuda's.
    """

    def __init__(self, model: SignalExtractionLSTM, device: Device | None = None) -> None:
        prepare(model)
        self._features, self._width = model.input_size, state_size(model)
        self._device = device or CudaDevice(model.fc.weight.device)
        self._lstm = LstmStep(model.eval(), self._device)
        self._rows = self._device.zeros(FIRST_ROWS, self._width)
        self._waiting: dict[int, Float32s] = {}  # states that were written and are not there yet, by row
        self._writes, self._chunk, self._results = Upload(self._device), Upload(self._device), Download(self._device)

    @property
    def capacity(self) -> int:
        return len(self._rows)

    def grow(self) -> None:
        # The graphs do not know these rows, so they outlive this. While it copies, both sizes are there: 3 KiB a row.
        grown = self._device.zeros(2 * len(self._rows), self._width)
        grown[: len(self._rows)].copy_(self._rows)
        self._rows = grown

    def step(self, batch: StepBatch) -> Float32s:
        if not len(batch.samples):
            return np.empty(0, np.float32)
        plan = BatchPlan.of(batch.runs, batch.times, batch.lengths)
        ordered = np.empty_like(batch.samples)
        ordered[plan.places] = batch.samples
        starts, last = _int64(batch.starts[plan.order]), _int64(plan.rank[batch.last])
        with torch.no_grad():  # not inference_mode: a graph captured in it breaks what runs outside (pytorch#166792)
            self._run(plan, ordered, starts, _int64(batch.targets), last)
        self._device.synchronise()
        predictions: Float32s = self._results.array()[plan.places]
        return predictions

    def _run(self, plan: BatchPlan, samples: Float32s, starts: Int64s, targets: Int64s, last: Int64s) -> None:
        """Start all of a chunk's work: (N, F) by place, and rows by the plan's order of runs."""
        self._send_waiting()
        begin, take, ends, x = self._chunk.send(starts, targets, last, samples)
        states = self._lstm.states(len(starts))
        torch.index_select(self._rows, 0, begin, out=states)
        predictions, after = self._lstm.run(x, torch.from_numpy(plan.running), states)
        self._results.receive(predictions)
        self._rows.index_copy_(0, take, after.index_select(0, ends))

    def read(self, rows: Int64s) -> Float32s:
        found = np.empty((len(rows), self._width), np.float32)
        for start in range(0, len(rows), BLOCK_ROWS):
            block = found[start : start + BLOCK_ROWS]
            block[:] = self._read(_int64(rows[start : start + BLOCK_ROWS]))
        return found

    def _read(self, rows: Int64s) -> Float32s:
        """Read some rows' states with one gather and one copy, into a view that the next call overwrites."""
        with torch.no_grad():
            self._send_waiting()
            (wanted,) = self._chunk.send(rows)
            self._results.receive(self._rows.index_select(0, wanted))
        self._device.synchronise()
        return self._results.array().reshape(-1, self._width)

    def write(self, row: int, state: Float32s) -> None:
        # A copy per stream would cost its launch 100,000 times after a recovery: they go over with the next chunk.
        self._waiting[row] = np.array(state, np.float32)
        if len(self._waiting) == WAITING_ROWS:
            self._send_waiting()
            self._device.synchronise()

    def clear(self, row: int) -> None:
        self.write(row, np.zeros(self._width, np.float32))

    def _send_waiting(self) -> None:
        if self._waiting:
            rows, states = np.fromiter(self._waiting, np.int64), np.stack(list(self._waiting.values()))
            self._rows.index_copy_(0, *self._writes.send(rows, states))
            self._waiting.clear()

    def warm_up(self) -> None:
        """Capture the graphs, and run chunks of several lengths that leave no state behind."""
        with torch.no_grad():
            self._lstm.capture()
        for steps, runs in WARM_SHAPES:
            self._warm_up(steps, runs)
        self.read(np.array([ZEROS]))

    def _warm_up(self, steps: int, runs: int) -> None:
        times, numbers = np.divmod(np.arange(steps * runs), runs)
        samples = np.zeros((steps * runs, self._features), np.float32)
        nowhere = np.empty(0, np.int64)
        starts = np.full(runs, ZEROS)
        self.step(StepBatch(samples, numbers, times, np.full(runs, steps), starts, nowhere, nowhere))


def _int64(indices: Int64s) -> Int64s:
    return np.asarray(indices, np.int64)
