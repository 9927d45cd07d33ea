"""A window task's own classifier in the compiled kernel: a checkpoint with the weights of a `SteelDefectLSTM`, of any
number of inputs and classes.

Shapes: W windows, T samples of a window, F numbers of a sample, K logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.arrays import Float32s
from core.engines.binding import Binding, RowTensor
from core.engines.declared.window_scoring import OpenedWindows
from core.engines.defect_net import DefectNet
from core.engines.onnx.plan import ANY, PadPlan
from core.engines.onnx.windows import Scored
from core.errors import StartupError
from core.models.content import CheckpointError, checked_content
from core.models.weights_file import CLASSES, ModelWeights, weights_in
from core.tasks.declaration import Declaration

LOGITS, ATTENTION = "logits", "attention"
TENSORS = (LOGITS, ATTENTION)


class OwnWindows:
    """A `WindowScorer` by the compiled kernel, which gives a window the same bits in every batch.

    Args:
        file: the model's, for messages.
        net: scores the windows; a calibration that it has is part of the logits.
        tensors: those that are read, for the longest window.
    """

    plan = ANY

    def __init__(self, file: str, net: DefectNet, tensors: tuple[RowTensor, ...]) -> None:
        self.file, self.tensors = file, tensors
        self._net = net
        self._order = [TENSORS.index(tensor.name) for tensor in tensors]

    def by(self, plan: PadPlan) -> OwnWindows:
        """The same: no plan changes a bit."""
        return self

    def score(self, windows: Sequence[Float32s]) -> list[Scored]:
        """Score windows, each (T, F), of any lengths; the results are in their order."""
        logits, attention = self._net.classified(windows)
        found = zip(self._calibrated(logits), attention, strict=True)
        return [tuple(each[place] for place in self._order) for each in found]

    def _calibrated(self, logits: Float32s) -> Float32s:
        if self._net.calibration is None:
            return logits
        with np.errstate(over="ignore"):  # a number too large for float32 is infinite, and so none
            return (self._net.calibration["a"] * logits.astype(np.float64) + self._net.calibration["b"]).astype(
                np.float32
            )


def open_own_windows(declaration: Declaration, model: bytes) -> OpenedWindows:
    """A window task's checkpoint, ready to score.

    Raises:
        StartupError: it cannot be used, or does not fit the declaration.
    """
    file, window = str(declaration.model.file), declaration.window
    assert window is not None
    weights = _weights(declaration, model)
    names = _names(file, declaration)
    shortest, longest = (_binding(declaration, weights, names, steps) for steps in (window.first, window.length))
    net = DefectNet.of(weights.config, weights.weights, weights.calibration, weights.input_statistics)
    scorer = OwnWindows(file, net, longest.outputs)
    return OpenedWindows(file, shortest, longest, scorer, lambda plan: scorer, proven=True)


def _weights(declaration: Declaration, model: bytes) -> ModelWeights:
    file = declaration.model.file
    try:
        weights = weights_in(file, checked_content(file, model))
    except CheckpointError as error:
        raise StartupError(" ".join(str(error).split())) from error
    if weights.kind != "defect":
        raise StartupError(
            f"{file}: holds a {CLASSES[weights.kind]}, and a window task runs a {CLASSES['defect']} or an ONNX model: "
            "train one (caststream train), or export yours (caststream task export-help torch)"
        )
    if weights.input_size != declaration.width:
        raise StartupError(
            f"{file}: its LSTM takes {weights.input_size} numbers, the task's fields give {declaration.width}: add or "
            "remove fields, or set their length"
        )
    return weights


def _names(file: str, declaration: Declaration) -> list[str]:
    """The tensors that are read; raises StartupError where the declaration has names of a graph."""
    for key, given in (("states", declaration.model.states), ("constants", declaration.model.constants)):
        if given:
            raise StartupError(f"{file}: [model] {key} is for ONNX models, and this is a checkpoint: leave it out")
    names = list(dict.fromkeys(output.tensor for output in declaration.outputs if output.tensor))
    if unknown := [name for name in names if name not in TENSORS]:
        raise StartupError(
            f"{file}: outputs name the tensor '{unknown[0]}', and a checkpoint has {' and '.join(map(repr, TENSORS))}: "
            'set tensor of the output to one of them, as odds = { tensor = "logits", apply = "softmax" }'
        )
    return names


def _binding(declaration: Declaration, weights: ModelWeights, names: Sequence[str], steps: int) -> Binding:
    shapes = {LOGITS: (weights.outputs,), ATTENTION: (steps,)}
    return Binding(
        samples=RowTensor(declaration.model.input or "x", (steps, declaration.width), 0),
        states=(),
        constants={},
        outputs=tuple(RowTensor(name, shapes[name], 0) for name in names),
        unread=(),
    )
