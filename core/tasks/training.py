"""The table of the training -> `Training`."""

from __future__ import annotations

from typing import Any

from core.errors import StartupError
from core.tasks.declaration import Kind, Learn, Training
from core.tasks.keys import TrainKeys
from core.tasks.tables import Once, read_keys
from core.tasks.toml_file import Place
from core.wish import wish_per_week

_FOR: dict[Learn, Kind] = {"forecast": "step", "regress": "step", "classify": "window"}
_DEFAULT: dict[Kind, Learn] = {"step": "forecast", "window": "classify"}


def read_training(place: Place, values: Any, kind: Kind) -> Training:
    """Read the table; raises StartupError."""
    keys = read_keys(place, values, TrainKeys)
    learn = keys.learn or _DEFAULT[kind]
    if _FOR[learn] != kind:
        place.refuse("learn", learn, f"for a task of the kind {_FOR[learn]}, and this one is of the kind {kind}")
    Once().take(place, "target", keys.targets)
    Once().take(place, "column", keys.columns.values())
    try:
        wish = wish_per_week(keys.false_alarms)
    except StartupError:  # its form is the key's; what is left is 0
        place.refuse("false_alarms", keys.false_alarms, "above 0: no threshold is never passed")
    return Training(learn, keys.targets, keys.columns, keys.cell, keys.hidden_size, keys.num_layers, keys.horizon, wish)
