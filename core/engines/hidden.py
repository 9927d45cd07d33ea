"""The hidden states of all streams in host memory, and the choice between them and those on a CUDA device."""

from __future__ import annotations

from core.arrays import Float32s
from core.engines.bank import StateBank
from core.engines.infer import make_kernel, prepare
from core.engines.own_weights import LstmStates
from core.models.signal_lstm import SignalExtractionLSTM
from core.step_batch import StepBatch


def make_hidden(model: SignalExtractionLSTM) -> StateBank:
    """An empty bank where the model's parameters are: in host memory, or on a CUDA device."""
    if model.fc.weight.is_cuda:
        from core.engines.hidden_cuda import CudaHiddenStates

        return CudaHiddenStates(model)
    return HiddenStates(model)


class HiddenStates(LstmStates):
    """A `StateBank` in host memory, whose predictions are (N,).

    Args:
        model: its parameters and input statistics are taken as they are now.
    """

    def __init__(self, model: SignalExtractionLSTM) -> None:
        super().__init__(make_kernel(model), model.input_size)
        self._model = model

    def step(self, batch: StepBatch) -> Float32s:
        """Step the runs of a batch; see `StateBank.step`."""
        return super().step(batch)[:, 0]

    def warm_up(self) -> None:
        """Set torch up, and run the shape of a live chunk. Changes no row."""
        prepare(self._model)
        super().warm_up()
