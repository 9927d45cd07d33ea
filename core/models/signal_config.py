"""The sizes of a SignalExtractionLSTM: read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_READERS = {"input_size": int, "hidden_size": int, "num_layers": int, "dropout": float}
DEFAULTS: Mapping[str, Any] = {"input_size": 5, "hidden_size": 64, "num_layers": 2, "dropout": 0.1}


def signal_sizes(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a SignalExtractionLSTM that ``found`` gives; numbers may be strings."""
    return {name: read(found[name]) for name, read in _READERS.items() if found.get(name) is not None}


def check_sizes(input_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
    """Raise ValueError for a size below 1 or a dropout outside [0, 1)."""
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if value <= 0:
            raise ValueError(f"{name} must be positive, got {value}")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
