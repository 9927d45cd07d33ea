"""An HDF5 file -> the draft of a task: its datasets of numbers become fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from core.data.opening import open_file
from core.drafts.columns import field_name
from core.drafts.draft import Draft, DraftField
from core.errors import DataError
from core.tasks.keys import LONGEST_ARRAY, FieldName, Unit, fits
from core.tasks.names import TRUTH, why_not_a_field

_LOOKED_AT = 1_000


def draft_of_hdf5(path: Path) -> Draft:
    """Read the shapes of a file: a field is a dataset (N,) or (N, k) of numbers, as long as most of them.

    Raises:
        DataError: it cannot be read, or holds no such dataset.
    """
    with open_file(path) as file:
        found = dict(_datasets(file))
        samples = max((shape[0] for shape in found.values()), default=0)
        held = {name: shape for name, shape in found.items() if shape[0] == samples and samples}
        fields = [
            DraftField(name, shape[1] if len(shape) > 1 else None, unit=_unit(file[name]))
            for name, shape in held.items()
            if _usable(name)
        ]
        period = _period_s(file)
    if not fields:
        raise DataError(path, "holds no dataset (samples,) or (samples, numbers) that could be a field")
    others = [name for name in found if name not in {field.name for field in fields}]
    notes = [f"Written from {path.name}, which has {samples:,} samples."]
    if others:
        notes.append(f"Datasets that are no fields: {', '.join(others[:20])}.")
    return Draft(tuple(fields), notes=tuple(notes), history=path.name, period_s=period)


def _datasets(file: h5py.File) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The datasets of numbers at the top of a file, with their shapes."""
    for name in file:
        data = file.get(name)
        if isinstance(data, h5py.Dataset) and data.dtype.kind in "fiub" and _fits(data.shape or ()):
            yield name, data.shape


def _period_s(file: h5py.File) -> float | None:
    """The usual seconds between two samples by the first times; None where there are none."""
    data = file.get("timestamp_ms")
    if not isinstance(data, h5py.Dataset) or data.ndim != 1 or data.dtype.kind not in "iuf":
        return None
    steps = np.diff(np.asarray(data[:_LOOKED_AT], np.float64))
    return float(np.median(steps[steps > 0])) / 1000 if (steps > 0).any() else None


def _fits(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and 1 <= shape[1] <= LONGEST_ARRAY)


def _unit(data: h5py.Dataset) -> str:
    """The text of the attribute ``unit``, where a field can have it."""
    unit = data.attrs.get("unit", "")
    return unit if isinstance(unit, str) and fits(unit, Unit) else ""


def _usable(name: str) -> bool:
    return name not in TRUTH and fits(name, FieldName) and why_not_a_field(name) is None and field_name(name) == name
