"""The configuration of a SteelDefectLSTM: read, completed with defaults, checked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

ACTIVATIONS = ("relu", "tanh", "sigmoid")
MOST_INPUTS = 16_384
READOUTS = ("last", "ends", "attention")


@dataclass(frozen=True)
class DefectConfig:
    """Everything that decides the shape and the training of a SteelDefectLSTM."""

    input_size: int = 5
    hidden_size: int = 64
    num_layers: int = 2
    bidirectional: bool = True
    dropout: float = 0.2  # between LSTM layers
    readout: str = "last"  # files that do not say were trained so
    hidden_dims: tuple[int, ...] = (32, 16)
    activation: str = "relu"
    outputs: int = 1  # logits: one, or one for each class
    classifier_dropout: float = 0.3
    batch_norm: bool = True
    layer_norm: bool = False
    input_norm: bool = True
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0

    def sections(self) -> dict[str, dict[str, Any]]:
        """Return the configuration as nested plain data, the form that model files hold."""
        return {
            section: {
                key: _plain(getattr(self, field))
                for key, (field, _) in keys.items()
                if field != "outputs" or self.outputs != 1  # files of one logit do not say it
            }
            for section, keys in _FIELDS.items()
        }


def read_config(config: Mapping[str, Any]) -> DefectConfig:
    """Complete and check a configuration; numbers may be strings, unknown keys are ignored with a warning.

    Sections other than the model's four may be present and are not looked at.

    Raises:
        ValueError: naming section, key, value and what is accepted.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"config must be a mapping of sections, got {type(config).__name__}")
    values: dict[str, Any] = {}
    for section, keys in _FIELDS.items():
        given = config.get(section)
        if given is None:  # absent, or an empty section in YAML
            continue
        if not isinstance(given, Mapping):
            raise ValueError(f"{section} must be a mapping, got {given!r}")
        for key, value in given.items():
            if key not in keys:
                warnings.warn(f"{section}.{key} is not known and is ignored", UserWarning, stacklevel=3)
                continue
            field, read = keys[key]
            values[field] = read(f"{section}.{key}", value)
    return replace(DefectConfig(), **values)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None


def _integer(low: int, high: int | None = None) -> Callable[[str, Any], int]:
    accepted = f"at least {low}" if high is None else f"from {low} to {high}"

    def read(name: str, value: Any) -> int:
        number = _number(name, value)
        if not number.is_integer() or number < low or (high is not None and number > high):
            raise ValueError(f"{name} must be a whole number {accepted}, got {value!r}")
        return int(number)

    return read


def _real(low: float, high: float = float("inf")) -> Callable[[str, Any], float]:
    accepted = f"at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"

    def read(name: str, value: Any) -> float:
        number = _number(name, value)
        if not low <= number <= high:
            raise ValueError(f"{name} must be {accepted}, got {value!r}")
        return number

    return read


def _flag(name: str, value: Any) -> bool:
    word = str(value).strip().lower()  # YAML quotes, numpy booleans
    if word not in ("true", "false"):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    return word == "true"


def _choice(accepted: tuple[str, ...]) -> Callable[[str, Any], str]:
    def read(name: str, value: Any) -> str:
        if value not in accepted:
            raise ValueError(f"{name} must be one of {', '.join(accepted)}, got {value!r}")
        return str(value)

    return read


def _widths(name: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{name} must be a list of layer widths, got {value!r}")
    return tuple(_integer(1)(f"{name}[{index}]", width) for index, width in enumerate(value))


_FIELDS: dict[str, dict[str, tuple[str, Callable[[str, Any], Any]]]] = {
    "architecture": {
        "input_size": ("input_size", _integer(1, MOST_INPUTS)),
        "hidden_size": ("hidden_size", _integer(1)),
        "num_layers": ("num_layers", _integer(1, 4)),
        "bidirectional": ("bidirectional", _flag),
        "dropout": ("dropout", _real(0.0, 0.8)),
        "readout": ("readout", _choice(READOUTS)),
    },
    "classifier": {
        "hidden_dims": ("hidden_dims", _widths),
        "activation": ("activation", _choice(ACTIVATIONS)),
        "outputs": ("outputs", _integer(1, 1000)),
        "dropout": ("classifier_dropout", _real(0.0, 0.8)),
    },
    "normalization": {
        "batch_norm": ("batch_norm", _flag),
        "layer_norm": ("layer_norm", _flag),
        "input_norm": ("input_norm", _flag),
    },
    "regularization": {
        "weight_decay": ("weight_decay", _real(0.0)),
        "gradient_clip": ("gradient_clip", _real(0.0)),
    },
}
KEYS = {section: tuple(keys) for section, keys in _FIELDS.items()}
