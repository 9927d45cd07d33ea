"""The table of the model -> `Model`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.tasks.declaration import Constant, Model
from core.tasks.keys import ModelKeys, Text, accepted, fits
from core.tasks.tables import Once, read_keys
from core.tasks.toml_file import Place, shown

_MOST_NUMBERS = 65_536
_CONSTANT = f"a number, or an array of rows of one length, of up to {_MOST_NUMBERS:,} numbers"


def read_model(place: Place, values: Any, need_files: bool) -> Model:
    """Read the table; raises StartupError, with ``need_files`` also where a file is missing."""
    keys = read_keys(place, values, ModelKeys)
    states, constants = place.under("states"), place.under("constants")
    for table, names in ((states, keys.states), (constants, keys.constants)):
        _check_graph_names(table, names)
    inputs = Once()
    inputs.take(place, "input", [keys.input] if keys.input is not None else [])
    inputs.take(states, "input", keys.states)
    inputs.take(constants, "input", keys.constants)
    Once().take(states, "output", keys.states.values())
    return Model(
        _file(place, "file", keys.file, need_files),
        keys.input,
        keys.states,
        {name: _constant(constants, name, value) for name, value in keys.constants.items()},
        None if keys.example is None else _file(place, "example", keys.example, need_files),
    )


def _file(place: Place, key: str, name: str, needed: bool) -> Path:
    folder = place.path.parent.absolute()
    file = folder / name
    try:
        if not needed or file.is_file():
            return file
        why = "that is no file" if file.exists() else f"there is no such file in {folder}"
    except OSError as error:
        why = error.strerror or str(error)
    except ValueError as error:  # a NUL in the name
        why = str(error)
    raise place.error(f"{key} is {shown(name)}: {why}")


def _check_graph_names(place: Place, names: Iterable[str]) -> None:
    for name in names:
        if not fits(name, Text):
            raise place.error(f"{shown(name)} is no name of an input: it must be {accepted(Text)}")


def _constant(place: Place, name: str, value: Any) -> Constant:
    shape = _shape(value)
    if shape is None or math.prod(shape) > _MOST_NUMBERS:
        place.refuse(name, value, _CONSTANT)
    return _frozen(value)


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of an array of numbers, () of a number; None where it is neither, or rows differ in length."""
    if isinstance(value, list):
        shapes = {_shape(each) for each in value}
        shape = shapes.pop() if len(shapes) == 1 else None
        return None if shape is None else (len(value), *shape)
    if isinstance(value, float):
        return () if math.isfinite(value) else None
    return () if isinstance(value, int) and -(2**63) <= value < 2**63 else None


def _frozen(value: Any) -> Constant:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
