"""The models of the two tasks that ship, as an audit runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.arrays import Float32s
from core.engines.infer import advance_sequences, attended, prepare, state_size
from core.models.weights_file import weights_of

if TYPE_CHECKING:
    from core.engines.infer import DefectModel, SignalModel


class SignalSteps:
    """The model of the signal task as a `StepsModel`."""

    tensors: Mapping[str, slice] = {"prediction": slice(0, 1)}

    def __init__(self, model: Any) -> None:
        self._model: SignalModel = model
        self.fingerprint = weights_of(model).fingerprint
        self.state_size = state_size(model)

    def advance(self, runs: Sequence[Float32s], before: Float32s | None) -> tuple[list[Float32s], Float32s]:
        prepare(self._model)
        found, after = advance_sequences(self._model, runs, before)
        return [predictions[:, None] for predictions in found], after


class DefectWindows:
    """The model of the casting task as a `WindowsModel`."""

    tensors: Mapping[str, int] = {"probability": 1}

    def __init__(self, model: Any) -> None:
        self._model: DefectModel = model
        self.fingerprint = weights_of(model).fingerprint

    def score(self, windows: Sequence[Float32s]) -> list[Mapping[str, Float32s]]:
        prepare(self._model)
        return [
            {"probability": np.array([probability]), "attention": attention}
            for probability, attention in zip(*attended(self._model, windows), strict=True)
        ]
