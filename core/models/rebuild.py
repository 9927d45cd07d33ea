"""A model from a checkpoint's content: its kind and sizes, then its weights and what belongs to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from core.models.defect_config import KEYS
from core.models.defect_lstm import SteelDefectLSTM
from core.models.fingerprint import AnyModel
from core.models.ranges import SIGNAL_FIELDS, Ranges
from core.models.signal_lstm import SignalExtractionLSTM

_READERS = {"input_size": int, "hidden_size": int, "num_layers": int, "dropout": float}


def build(content: Mapping[str, Any]) -> AnyModel:
    """An untrained model of the file's kind and sizes; the names of the weights decide the kind.

    Each size comes from ``config``, else ``model_info``, else the shapes of the weights.

    Raises:
        ValueError: weights of neither model, or a size outside its limits.
    """
    weights = content["model_state_dict"]
    config, info = _mapping(content.get("config")), _mapping(content.get("model_info"))
    if "lstm.weight_ih_l0" in weights and any(name.startswith("classifier.") for name in weights):
        return SteelDefectLSTM(_defect_config(weights, info, config), skip_init_weights=True)
    if "lstm.weight_ih_l0" in weights and "fc.weight" in weights:
        configured = _mapping(_mapping(config.get("model")).get("lstm"))
        return SignalExtractionLSTM(**_lstm_sizes(weights) | signal_sizes(info) | signal_sizes(configured))
    first = f": the first is {next(iter(weights))!r}" if weights else ""
    raise ValueError(f"the weights are neither a SignalExtractionLSTM's nor a SteelDefectLSTM's{first}")


def signal_sizes(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a SignalExtractionLSTM that ``found`` gives; numbers may be strings."""
    return {name: read(found[name]) for name, read in _READERS.items() if found.get(name) is not None}


def attach(model: AnyModel, content: Mapping[str, Any]) -> None:
    """Set calibration, input statistics and training ranges, checked: wrong ones would do their harm silently.

    Raises:
        KeyError, TypeError, ValueError: they are not numbers, or not one for each of the model's inputs.
    """
    calibration, statistics = content.get("calibration"), content.get("input_statistics")
    if calibration is not None:
        model.calibration = {name: float(calibration[name]) for name in ("a", "b")}
    if statistics is not None:
        model.input_statistics = {name: [float(value) for value in statistics[name]] for name in ("mean", "std")}
        if any(len(values) != model.input_size for values in model.input_statistics.values()):
            raise ValueError(f"input_statistics must hold {model.input_size} values of mean and of std")
    ranges = content.get("training_ranges")
    if ranges is not None:
        Ranges.read(ranges, SIGNAL_FIELDS)
        model.training_ranges = dict(ranges)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _lstm_sizes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    rows, columns = weights["lstm.weight_ih_l0"].shape  # (4H, F)
    layers = sum(bool(re.fullmatch(r"lstm\.weight_ih_l\d+", name)) for name in weights)
    return {"input_size": columns, "hidden_size": rows // 4, "num_layers": layers}


def _defect_config(weights: Mapping[str, Tensor], info: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """A full configuration: what the weights show, overlaid by ``model_info``, then by ``config``."""
    head = sorted(int(name.split(".")[1]) for name in weights if re.fullmatch(r"classifier\.\d+\.weight", name))
    layers = {name.split(".")[0] for name in weights}
    old_batch_norm = "lstm_norm.running_mean" in weights  # only a batch norm has running statistics
    shown: dict[str, dict[str, Any]] = {
        "architecture": _lstm_sizes(weights) | {"bidirectional": "lstm.weight_ih_l0_reverse" in weights},
        "classifier": {"hidden_dims": [len(weights[f"classifier.{index}.weight"]) for index in head[:-1]]},
        "normalization": {
            "input_norm": "input_norm" in layers,
            "batch_norm": "lstm_batch_norm" in layers or old_batch_norm,
            "layer_norm": "lstm_layer_norm" in layers or ("lstm_norm" in layers and not old_batch_norm),
        },
    }
    sections: dict[str, Any] = {}
    for section, keys in KEYS.items():
        told = {key: value for key, value in _mapping(info.get(section)).items() if key in keys}
        sections[section] = shown.get(section, {}) | told | dict(_mapping(config.get(section)))
    return {**config, **sections}
