"""The weights of a user's own LSTM in the compiled kernel: what a declared step task needs of them.

Shapes: F features, H hidden units, L layers, K numbers of the linear layer.
"""

from __future__ import annotations

import numpy as np

from core.engines.binding import Binding, RowTensor, State
from core.errors import StartupError
from core.models.lstm_weights import LstmWeights, read_lstm
from core.native.lstm import LstmKernel, StateRows
from core.step_batch import StepBatch
from core.tasks.declaration import Declaration

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt")
"""Endings of files that hold weights; all others are ONNX models."""
WARM_RUNS = 64


def has_own_weights(declaration: Declaration) -> bool:
    """True if the task's model is a file of weights, by its name."""
    return declaration.model.file.suffix.lower() in SUFFIXES


def open_lstm(declaration: Declaration, model: bytes) -> tuple[LstmKernel, Binding]:
    """A task's weights, ready to step, and what its names are.

    Raises:
        StartupError: they cannot be used, or do not fit the declaration.
    """
    file = str(declaration.model.file)
    _check_names(file, declaration)
    weights = read_lstm(file, model)
    if weights.features != declaration.width:
        raise StartupError(
            f"{file}: its LSTM takes {weights.features} numbers, the task's fields give {declaration.width}: add or "
            "remove fields, or set their length"
        )
    mean, std = weights.statistics or (None, None)
    kernel = LstmKernel(weights.features, weights.hidden_size, weights.layers, weights.head, mean, std)
    return kernel, _binding(declaration, weights)


def _check_names(file: str, declaration: Declaration) -> None:
    """Raise StartupError: the declaration has names of a graph, or of several tensors."""
    for key, given in (("states", declaration.model.states), ("constants", declaration.model.constants)):
        if given:
            raise StartupError(
                f"{file}: [model] {key} is for ONNX models, and these are an LSTM's weights: leave it out"
            )
    tensors = list(dict.fromkeys(output.tensor for output in declaration.outputs if output.tensor))
    if len(tensors) > 1:
        raise StartupError(
            f"{file}: outputs name the tensors {', '.join(map(repr, tensors))}, and an LSTM's weights give one, the "
            f"numbers of the linear layer: name them in one output, or set tensor = {tensors[0]!r} in each"
        )


def _binding(declaration: Declaration, weights: LstmWeights) -> Binding:
    shape = (len(weights.layers), weights.hidden_size)
    tensor = next(output.tensor for output in declaration.outputs if output.tensor)
    return Binding(
        samples=RowTensor(declaration.model.input or "x", (weights.features,), 0),
        states=tuple(State(RowTensor(f"{name}0", shape, 1), f"{name}n") for name in ("h", "c")),  # (L, B, H), as torch
        constants={},
        outputs=(RowTensor(tensor, (len(weights.head[1]),), 0),),
        unread=(),
    )


class LstmStates(StateRows):
    """A `StateBank` in host memory, whose predictions are (N, K). Rows never move, so growing costs nothing.

    Args:
        kernel: steps the rows.
        features: F.
    """

    def __init__(self, kernel: LstmKernel, features: int) -> None:
        super().__init__(kernel)
        self._features = features

    def warm_up(self) -> None:
        """Run the shape of a live chunk. Changes no row."""
        runs, none = np.arange(WARM_RUNS), np.empty(0, np.int64)
        samples, zeros = np.zeros((WARM_RUNS, self._features), np.float32), np.zeros_like(runs)
        self.step(StepBatch(samples, runs, zeros, np.ones_like(runs), zeros, none, none))
