"""The datasets of a file, opened and checked in one way for every layout: shapes, types, whole numbers, names."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import Any

import h5py
import numpy as np

from core.arrays import Int64s
from core.data.measured import require_measured
from core.data.opening import Unchanged, dataset_of
from core.data.values import Values, text_of
from core.errors import DataError
from core.wire.record_limits import MAX_SEQUENCE_BYTES

TURNED = "MATLAB stores matrices turned round: save the transpose"
PLACES = (("sequence_start", "sequence_length"), ("cast_start", "cast_length"))
"""The datasets that say where rows lie."""
NAMES = ("sequence_name", "sequence")
_WANTED = {"OS": "texts are needed", "OSUiuf": "texts are needed", "iuf": "whole numbers are needed"}


def places_of(file: h5py.File) -> tuple[str, str] | None:
    """Which two datasets say where the rows of a file lie; None where none does."""
    held = set(file)
    return next((names for names in PLACES if not held.isdisjoint(names)), None)


def names_of(file: h5py.File) -> str:
    """The dataset that has the rows' names, or would have them."""
    held = set(file)
    return next((name for name in NAMES if name in held), NAMES[0])


def row_places(
    file: h5py.File, guard: Unchanged, samples: int, names: tuple[str, str], what: str
) -> tuple[Int64s, Int64s]:
    """Find where each row lies among the samples: its start and length.

    Args:
        names: of the two datasets.
        what: a row is called so in messages.
    """
    start = whole_column(file, guard, names[0], None)
    length = whole_column(file, guard, names[1], len(start))
    refuse_rows(file, names[1], length, length < 1, f"a {what} has at least one step")
    # Ends are compared by subtraction: a start near the largest integer would wrap round in a sum.
    refuse_rows(file, names[0], start, (start < 0) | (start > samples - length), f"the {what} must lie in 0..{samples}")
    return start, length


def whole_column(
    file: h5py.File,
    guard: Unchanged,
    name: str,
    rows: int | None,
    kinds: str = "iuf",
    rule: str = "must be whole numbers",
) -> Int64s:
    """A column of integers, which may be written as floats."""
    data = open_values(file, guard, name, 1, kinds)
    if rows is not None:
        require_shape(file, data, (rows,))
    found = data[:]
    if found.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = (np.abs(found.astype(np.float64)) <= 2.0**53) & (found == np.trunc(found))
        refuse_rows(file, name, found, ~whole, rule)
    if found.dtype.kind == "u":
        refuse_rows(file, name, found, found > np.uint64(2**62), "is too large")
    for mark, value in data.marks:
        refuse_rows(file, name, found, found == value, f"that is its {mark}")
    return np.asarray(found, dtype=np.int64)


def row_names(file: h5py.File, guard: Unchanged, rows: int, dataset: str = "sequence") -> list[str] | None:
    """The names of the rows; None where the file has no such dataset.

    Raises:
        DataError: it does not name each row by a name that a record can have.
    """
    if dataset not in set(file):
        return None
    data = open_values(file, guard, dataset, 1, kinds="OSUiuf")
    require_shape(file, data, (rows,))
    names = [_name(one) for one in data[:].tolist()]
    for row, name in enumerate(names):
        if not name or len(name.encode()) > MAX_SEQUENCE_BYTES:
            raise DataError(file.filename, f"row {row} is {name[:40]!r}: a name has 1 to 255 bytes", dataset)
    return names


def refuse_repeats(file: h5py.File, names: Iterable[str], dataset: str, streams: Iterable[str] | None = None) -> None:
    """Raise DataError where two rows have the same name; where streams are told, two rows of one stream."""
    seen: dict[tuple[str, str], int] = {}
    for row, whose in enumerate(zip(repeat("") if streams is None else streams, names, strict=False)):
        if seen.setdefault(whose, row) != row:
            problem = f"rows {seen[whose]} and {row} are both {whose[1][:40]!r}: a name stands for one row"
            raise DataError(file.filename, problem, dataset)


def _name(told: Any) -> str:
    if isinstance(told, float) and told.is_integer():
        told = int(told)
    return text_of(told).strip()


def refuse_rows(file: h5py.File, name: str, values: Any, wrong: Any, rule: str) -> None:
    """Raise DataError about the first row that is ``wrong``."""
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(file.filename, f"row {row} is {values[row]}: {rule}", name)


def open_values(file: h5py.File, guard: Unchanged, name: str, axes: int, kinds: str = "fiu") -> Values:
    """The dataset, which must have ``axes`` axes, none of them empty, and a type of one of numpy's ``kinds``.

    All of it must have been written. Where one axis is wanted, a row and a column count as one.
    """
    data = dataset_of(file, name)
    origin = require_measured(file, name)
    guard.add(origin.files)
    found = Values(file, name, flat=axes == 1, marks=origin.marks, guard=guard.check)
    if found.ndim != axes:
        turned = f"; {TURNED}" if "MATLAB_class" in data.attrs else ""
        raise DataError(file.filename, f"has shape {found.shape}: must have {axes} axes{turned}", name)
    if 0 in found.shape:
        raise DataError(file.filename, f"is empty (shape {found.shape})", name)
    if found.dtype.kind not in kinds:
        raise DataError(file.filename, f"has type {found.dtype}: {_WANTED.get(kinds, 'numbers are needed')}", name)
    return found


def require_shape(file: h5py.File, found: Values, shape: tuple[int, ...]) -> None:
    """Raise DataError for a dataset of another shape."""
    if found.shape != shape:
        raise DataError(file.filename, f"has shape {found.shape}: must be {shape}", found.name)
