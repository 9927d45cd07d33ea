"""The weights that a model of a configuration has, by name and shape, as PyTorch names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.arrays import Float32s
from core.models.defect_config import DefectConfig, read_config
from core.models.finite import as_array
from core.models.shipped import ModelKind
from core.models.signal_config import check_sizes

Shapes = dict[str, tuple[int, ...]]

_COUNTER = "num_batches_tracked"  # of a batch norm: no weight, but the fingerprint covers it
_OLD_NORM = "lstm_norm."
_SHOWN = 3


def weight_shapes(kind: ModelKind, config: Mapping[str, Any]) -> Shapes:
    """The shapes of all weights.

    Args:
        kind: of the model.
        config: of a signal model its four sizes, of a defect model its sections.

    Raises:
        ValueError: a size outside its limits.
    """
    if kind == "defect":
        return _defect_shapes(read_config(config))
    check_sizes(**config)
    hidden = config["hidden_size"]
    return _lstm(config["input_size"], hidden, config["num_layers"], False) | _linear("fc", hidden, 1)


def fitted(found: Mapping[str, Any], shapes: Shapes) -> dict[str, Float32s]:
    """The weights of a file as float32, in the order of ``shapes``, under the names of now.

    Raises:
        ValueError: some are missing, of other shapes, or not the model's.
    """
    found = _renamed(found)
    missing = [name for name in shapes if name not in found and not name.endswith(_COUNTER)]
    unknown = [name for name in found if name not in shapes]
    if missing or unknown:
        told = [f"it lacks {_listed(missing)}"] * bool(missing) + [f"it has {_listed(unknown)} too"] * bool(unknown)
        raise ValueError(f"its weights are not those of its configuration: {', and '.join(told)}")
    return {name: _fitted(name, found.get(name), shape) for name, shape in shapes.items()}


def _fitted(name: str, found: Any, shape: tuple[int, ...]) -> Float32s:
    if found is None:
        return np.zeros(shape, np.float32)  # as PyTorch has it of files that lack the counter
    array = as_array(name, found)
    if array.shape != shape and not (array.size == 1 and shape == ()):
        raise ValueError(f"size mismatch: tensor {name!r} is {array.shape}, by its configuration it is {shape}")
    return np.ascontiguousarray(array, np.float32).reshape(shape)


def _renamed(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Files of an older form name the norm after the LSTM ``lstm_norm``."""
    new = "lstm_batch_norm." if f"{_OLD_NORM}running_mean" in found else "lstm_layer_norm."
    return {name.replace(_OLD_NORM, new) if name.startswith(_OLD_NORM) else name: each for name, each in found.items()}


def _defect_shapes(config: DefectConfig) -> Shapes:
    width = config.hidden_size * (2 if config.bidirectional else 1)  # D*H
    shapes = _batch_norm("input_norm", config.input_size) if config.input_norm else {}
    shapes |= _lstm(config.input_size, config.hidden_size, config.num_layers, config.bidirectional)
    shapes |= _batch_norm("lstm_batch_norm", width) if config.batch_norm else {}
    shapes |= _scale_and_shift("lstm_layer_norm", width) if config.layer_norm else {}
    for number, outputs in enumerate((*config.hidden_dims, config.outputs)):
        shapes |= _linear(f"classifier.{3 * number}", width, outputs)  # each with activation and dropout behind it
        width = outputs
    return shapes


def _lstm(inputs: int, hidden: int, layers: int, bidirectional: bool) -> Shapes:
    shapes: Shapes = {}
    for layer in range(layers):
        for end in ("", "_reverse") if bidirectional else ("",):
            place = f"l{layer}{end}"
            shapes[f"lstm.weight_ih_{place}"] = 4 * hidden, inputs
            shapes[f"lstm.weight_hh_{place}"] = 4 * hidden, hidden
            shapes[f"lstm.bias_ih_{place}"] = shapes[f"lstm.bias_hh_{place}"] = (4 * hidden,)
        inputs = hidden * (2 if bidirectional else 1)
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _scale_and_shift(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _batch_norm(name: str, width: int) -> Shapes:
    running: Shapes = {f"{name}.running_mean": (width,), f"{name}.running_var": (width,), f"{name}.{_COUNTER}": ()}
    return _scale_and_shift(name, width) | running


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
