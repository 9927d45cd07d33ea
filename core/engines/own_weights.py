"""The weights of a user's own LSTM or GRU in the compiled kernel: what a declared step task needs of them.

Shapes: F features, H hidden units, L layers, K numbers of the linear layer.
"""

from __future__ import annotations

import numpy as np

from core.engines.binding import Binding, RowTensor, State
from core.errors import StartupError
from core.models.recurrent_weights import Cell, RecurrentWeights, read_recurrent
from core.native.lstm import GruKernel, LstmKernel, StateRows, StepKernel
from core.step_batch import StepBatch
from core.tasks.declaration import Declaration
from core.tasks.reading import SHIPPED, shipped

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt")
"""Endings of files that hold weights; all others are ONNX models."""
GRAPH_SUFFIX = ".onnx"
WARM_RUNS = 64
_KERNELS: dict[Cell, type[StepKernel]] = {"LSTM": LstmKernel, "GRU": GruKernel}
_STATES: dict[Cell, str] = {"LSTM": "hc", "GRU": "h"}


def has_own_weights(declaration: Declaration) -> bool:
    """True if the task's model is a file of weights, by its name."""
    return declaration.model.file.suffix.lower() in SUFFIXES


def is_like_shipped(declaration: Declaration) -> bool:
    """True if the task is one that ships with the package, or has casting's fields and outputs and weights for them."""
    if declaration.name in SHIPPED or declaration.window is None:
        return declaration.name in SHIPPED
    like = shipped("casting")
    is_graph = declaration.model.file.suffix.lower() == GRAPH_SUFFIX
    return not is_graph and (declaration.fields, declaration.outputs) == (like.fields, like.outputs)


def open_weights(declaration: Declaration, model: bytes) -> tuple[StepKernel, Binding]:
    """A task's weights, ready to step, and what its names are.

    Raises:
        StartupError: they cannot be used, or do not fit the declaration.
    """
    file = str(declaration.model.file)
    weights = read_recurrent(file, model)
    _check_names(file, declaration, weights.cell)
    if weights.features != declaration.width:
        raise StartupError(
            f"{file}: its {weights.cell} takes {weights.features} numbers, the task's fields give {declaration.width}: "
            "add or remove fields, or set their length"
        )
    mean, std = weights.statistics or (None, None)
    kind = _KERNELS[weights.cell]
    kernel = kind(weights.features, weights.hidden_size, weights.layers, weights.head, mean, std)
    return kernel, _binding(declaration, weights)


def _check_names(file: str, declaration: Declaration, cell: Cell) -> None:
    """Raise StartupError: the declaration has names of a graph, or of several tensors."""
    for key, given in (("states", declaration.model.states), ("constants", declaration.model.constants)):
        if given:
            raise StartupError(
                f"{file}: [model] {key} is for ONNX models, and these are the weights of one {cell}: leave it out"
            )
    tensors = list(dict.fromkeys(output.tensor for output in declaration.outputs if output.tensor))
    if len(tensors) > 1:
        raise StartupError(
            f"{file}: outputs name the tensors {', '.join(map(repr, tensors))}, and the weights of one {cell} give "
            f"one, the numbers of the linear layer: name them in one output, or set tensor = {tensors[0]!r} in each"
        )


def _binding(declaration: Declaration, weights: RecurrentWeights) -> Binding:
    shape = (len(weights.layers), weights.hidden_size)
    tensor = next(output.tensor for output in declaration.outputs if output.tensor)
    return Binding(
        samples=RowTensor(declaration.model.input or "x", (weights.features,), 0),
        states=tuple(State(RowTensor(f"{name}0", shape, 1), f"{name}n") for name in _STATES[weights.cell]),  # (L, B, H)
        constants={},
        outputs=(RowTensor(tensor, (len(weights.head[1]),), 0),),
        unread=(),
    )


class KernelStates(StateRows):
    """A `StateBank` in host memory, whose predictions are (N, K). Rows never move, so growing costs nothing.

    Args:
        kernel: steps the rows.
        features: F.
    """

    def __init__(self, kernel: StepKernel, features: int) -> None:
        super().__init__(kernel)
        self._features = features

    def warm_up(self) -> None:
        """Run the shape of a live chunk. Changes no row."""
        runs, none = np.arange(WARM_RUNS), np.empty(0, np.int64)
        samples, zeros = np.zeros((WARM_RUNS, self._features), np.float32), np.zeros_like(runs)
        self.step(StepBatch(samples, runs, zeros, np.ones_like(runs), zeros, none, none))
