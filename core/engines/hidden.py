"""The hidden states of all streams in host memory, and the choice between them and those on a CUDA device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.arrays import Float32s
from core.engines.bank import StateBank
from core.engines.infer import signal_net
from core.engines.own_weights import KernelStates
from core.engines.signal_net import SignalNet
from core.models.weights_file import ModelWeights
from core.step_batch import StepBatch

if TYPE_CHECKING:
    from core.engines.infer import SignalModel


def make_hidden(model: SignalModel) -> StateBank:
    """An empty bank where the model's parameters are: in host memory, or on a CUDA device."""
    if not isinstance(model, SignalNet | ModelWeights) and model.fc.weight.is_cuda:
        from core.engines.hidden_cuda import CudaHiddenStates

        return CudaHiddenStates(model)
    return HiddenStates(model)


class HiddenStates(KernelStates):
    """A `StateBank` in host memory, whose predictions are (N,).

    Args:
        model: its parameters and input statistics are taken as they are now.
    """

    def __init__(self, model: SignalModel) -> None:
        net = signal_net(model)
        super().__init__(net.kernel, net.input_size)

    def step(self, batch: StepBatch) -> Float32s:
        """Step the runs of a batch; see `StateBank.step`."""
        return super().step(batch)[:, 0]
