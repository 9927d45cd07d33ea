"""The hidden states of all streams in host memory, and the choice between them and those on a CUDA device."""

from __future__ import annotations

import numpy as np

from core.engines.bank import StateBank
from core.engines.infer import make_kernel, prepare
from core.models.signal_lstm import SignalExtractionLSTM
from core.native.lstm import StateRows
from core.step_batch import StepBatch

WARM_RUNS = 64


def make_hidden(model: SignalExtractionLSTM) -> StateBank:
    """An empty bank where the model's parameters are: in host memory, or on a CUDA device."""
    if model.fc.weight.is_cuda:
        from core.engines.hidden_cuda import CudaHiddenStates

        return CudaHiddenStates(model)
    return HiddenStates(model)


class HiddenStates(StateRows):
    """A `StateBank` in host memory. Rows never move, so growing costs nothing.

    Args:
        model: its parameters and input statistics are taken as they are now.
    """

    def __init__(self, model: SignalExtractionLSTM) -> None:
        super().__init__(make_kernel(model))
        self._model = model

    def warm_up(self) -> None:
        """Run the shape of a live chunk. Changes no row."""
        prepare(self._model)
        runs, none = np.arange(WARM_RUNS), np.empty(0, np.int64)
        samples, zeros = np.zeros((WARM_RUNS, self._model.input_size), np.float32), np.zeros_like(runs)
        self.step(StepBatch(samples, runs, zeros, np.ones_like(runs), zeros, none, none))
