"""The name of a model in every output: a hash of everything that decides its predictions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.models.defect_config import DefectConfig, read_config
from core.models.finite import as_array
from core.models.shipped import ModelKind

if TYPE_CHECKING:
    from core.models.defect_lstm import SteelDefectLSTM
    from core.models.signal_lstm import SignalExtractionLSTM

AnyModel: TypeAlias = "SignalExtractionLSTM | SteelDefectLSTM"

_SIZES = ("input_size", "hidden_size", "num_layers")


def fingerprint(model: AnyModel) -> str:
    """`fingerprint_of` a PyTorch model: the same before saving and after loading, on every device."""
    settings: DefectConfig | None = getattr(model, "settings", None)
    sizes = {name: getattr(model, name) for name in _SIZES}
    weights = {name: as_array(name, tensor) for name, tensor in model.state_dict().items()}
    told = _signal(sizes) if settings is None else _defect(settings)
    return _digest(told, model.calibration, model.input_statistics, weights)


def fingerprint_of(
    kind: ModelKind,
    config: Mapping[str, Any],
    weights: Mapping[str, NDArray[Any]],
    calibration: Mapping[str, Any] | None,
    input_statistics: Mapping[str, Any] | None,
) -> str:
    """First 12 hex digits of a SHA-256 over architecture, calibration, input statistics and weights.

    Only what moves a prediction is in it: dropout, weight decay and gradient clip are not.

    Args:
        kind: of the model.
        config: of a signal model its sizes, of a defect model its sections.
        weights: all arrays of the state dict, by name.
        calibration, input_statistics: as a checkpoint has them.
    """
    told = _signal(config) if kind == "signal" else _defect(read_config(config))
    return _digest(told, calibration, input_statistics, weights)


def _signal(config: Mapping[str, Any]) -> dict[str, Any]:
    """The facts about a SignalExtractionLSTM that decide its forward pass at inference, as plain data."""
    return {"model": "SignalExtractionLSTM", **{name: config[name] for name in _SIZES}}


def _defect(config: DefectConfig) -> dict[str, Any]:
    """The facts about a SteelDefectLSTM that do."""
    return {
        "model": "SteelDefectLSTM",
        **{name: getattr(config, name) for name in _SIZES},
        "bidirectional": config.bidirectional,
        "readout": config.readout,
        "classifier_dims": list(config.hidden_dims),
        "activation": config.activation,
        "input_norm": config.input_norm,
        "batch_norm": config.batch_norm,
        "layer_norm": config.layer_norm,
        **({} if config.outputs == 1 else {"outputs": config.outputs}),
    }


def _digest(architecture: Any, calibration: Any, statistics: Any, weights: Mapping[str, NDArray[Any]]) -> str:
    head = {
        "architecture": architecture,
        "calibration": _floats(calibration),
        "input_statistics": _floats(statistics),
    }
    digest = hashlib.sha256(_canonical(head))
    for name, array in sorted(weights.items()):
        digest.update(_canonical([name, list(array.shape)]))
        digest.update(array.astype("<f4").tobytes())
    return digest.hexdigest()[:12]


def _floats(values: Any) -> Any:
    """Numbers as the Python floats that a loaded file has: 1 and 1.0 must not hash apart."""
    if values is None:
        return None
    return {name: np.asarray(value, dtype=np.float64).tolist() for name, value in values.items()}


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
