"""Reads what a content says of its model: the kind, the configuration, and what the caller applies around it.

Nothing here loads torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.models.defect_config import KEYS
from core.models.ranges import SIGNAL_FIELDS, Ranges
from core.models.shipped import ModelKind
from core.models.signal_config import DEFAULTS, signal_sizes


def configured(content: Mapping[str, Any]) -> tuple[ModelKind, dict[str, Any]]:
    """The kind of a file's model, and its configuration; the names of the weights decide the kind.

    Each size comes from ``config``, else ``model_info``, else the shapes of the weights.

    Returns:
        ``signal`` and the four sizes, or ``defect`` and sections as `defect_config` reads them.

    Raises:
        ValueError: weights of neither model, or a size that is no number.
    """
    weights = content["model_state_dict"]
    config, info = _mapping(content.get("config")), _mapping(content.get("model_info"))
    if "lstm.weight_ih_l0" in weights and any(name.startswith("classifier.") for name in weights):
        return "defect", _defect_config(weights, info, config)
    if "lstm.weight_ih_l0" in weights and "fc.weight" in weights:
        told = _mapping(_mapping(config.get("model")).get("lstm"))
        return "signal", {**DEFAULTS, **_lstm_sizes(weights), **signal_sizes(info), **signal_sizes(told)}
    first = f": the first is {next(iter(weights))!r}" if weights else ""
    raise ValueError(f"the weights are neither a SignalExtractionLSTM's nor a SteelDefectLSTM's{first}")


@dataclass(frozen=True)
class Around:
    """The parts that a caller applies to inputs and outputs, and the ranges of inputs in training."""

    calibration: dict[str, float] | None
    input_statistics: dict[str, list[float]] | None
    training_ranges: dict[str, Any] | None


def around(content: Mapping[str, Any], input_size: int) -> Around:
    """Read calibration, input statistics and training ranges, checked: wrong ones would do their harm silently.

    Raises:
        KeyError, TypeError, ValueError: they are not numbers, or not one for each of the model's inputs.
    """
    parts = ("calibration", "input_statistics", "training_ranges")
    calibration, statistics, ranges = (content.get(name) for name in parts)
    if calibration is not None:
        calibration = {name: float(calibration[name]) for name in ("a", "b")}
    if statistics is not None:
        statistics = {name: [float(value) for value in statistics[name]] for name in ("mean", "std")}
        if any(len(values) != input_size for values in statistics.values()):
            raise ValueError(f"input_statistics must hold {input_size} values of mean and of std")
    if ranges is not None:
        Ranges.read(ranges, SIGNAL_FIELDS)
        ranges = dict(ranges)
    return Around(calibration, statistics, ranges)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _lstm_sizes(weights: Mapping[str, Any]) -> dict[str, Any]:
    rows, columns = weights["lstm.weight_ih_l0"].shape  # (4H, F)
    layers = sum(bool(re.fullmatch(r"lstm\.weight_ih_l\d+", name)) for name in weights)
    return {"input_size": columns, "hidden_size": rows // 4, "num_layers": layers}


def _defect_config(weights: Mapping[str, Any], info: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """A full configuration: what the weights show, overlaid by ``model_info``, then by ``config``."""
    head = sorted(int(name.split(".")[1]) for name in weights if re.fullmatch(r"classifier\.\d+\.weight", name))
    layers = {name.split(".")[0] for name in weights}
    old_batch_norm = "lstm_norm.running_mean" in weights  # only a batch norm has running statistics
    shown: dict[str, dict[str, Any]] = {
        "architecture": _lstm_sizes(weights) | {"bidirectional": "lstm.weight_ih_l0_reverse" in weights},
        "classifier": _head_sizes([len(weights[f"classifier.{index}.weight"]) for index in head]),
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


def _head_sizes(widths: list[int]) -> dict[str, Any]:
    """The widths of the linear layers; one logit is not said."""
    *hidden, outputs = widths
    return {"hidden_dims": hidden} | ({} if outputs == 1 else {"outputs": outputs})
