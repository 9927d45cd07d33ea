"""A dataset as measured numbers: unpacked, one axis if a cast has one, checked in its own type.

CF's rule: a packed value times ``scale_factor`` plus ``add_offset``, in float64. Values that equal ``_FillValue`` or
``missing_value``, or lie outside ``valid_range``, were not measured. HDF5's own fill value counts as one if it was
chosen and is not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from core.arrays import Float32s
from core.data.measured import MISSING
from core.data.outputs import first_line
from core.errors import DataError
from core.wire.records import MAX_VALUE

_PACKING = {"scale_factor": 1.0, "add_offset": 0.0}
# Said of a dataset by conventions that are not applied.
NOT_APPLIED = ("scale", "gain", "slope", "intercept", "calibration", "conversion")
_CACHE_BYTES = 16 << 20
Index = Any
Mark = tuple[str, Any]


class Values:
    """One dataset of an open file, read in blocks.

    ``limits`` are the lowest and the highest value that is accepted; messages show them, or what ``accepted`` calls
    them. With ``may_lack`` NaN, and what was not measured, is accepted too; with ``may_begin`` so may a sequence begin.

    Args:
        file: the file.
        name: the dataset.
        flat: whether (1, N) and (N, 1), as MATLAB has them, stand for (N,).
        marks: what else stands for no sample, with the name to show.
        guard: called after each read; raises where the file has changed.

    Raises:
        DataError: an attribute that says how to read the values cannot be used.
    """

    def __init__(
        self,
        file: h5py.File,
        name: str,
        *,
        flat: bool = False,
        marks: Iterable[Mark] = (),
        guard: Callable[[], None] | None = None,
    ) -> None:
        self._data, self._guard = _with_cache(file, name), guard
        self.name = name
        self.limits, self.accepted = (-MAX_VALUE, MAX_VALUE), ""
        self.may_lack = self.may_begin = False
        self._path = Path(file.filename)
        self._fold = _axis(self._data.shape) if flat else None
        self._scale, self._offset = (self._number(name, default) for name, default in _PACKING.items())
        self._packed = (self._scale, self._offset) != (1.0, 0.0)
        self.marks = [*self._own_marks(), *(mark for told in marks for mark in self._mark(*told))]
        self._ranges = self._valid_range()
        if text_of(self._data.attrs.get("_Unsigned", "")).lower() == "true":
            raise self._error("has the attribute _Unsigned, which is not applied here: unpack it first")

    @property
    def shape(self) -> tuple[int, ...]:
        """(N,) also where the file has (1, N) or (N, 1)."""
        return self._data.shape if self._fold is None else (int(self._data.size),)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return int(self._data.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of what is read."""
        return np.dtype(np.float64) if self._packed else self._data.dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """The shape of the file's chunks."""
        chunks = self._data.chunks
        return chunks if chunks is None or self._fold is None else (chunks[1 - self._fold],)

    @property
    def id(self) -> Any:
        """HDF5's handle."""
        return self._data.id

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, place: Index) -> Any:
        return self._unpacked(self._read(place))

    def checked(self, place: tuple[slice, ...]) -> NDArray[Any]:
        """A block whose values all can be sent.

        Raises:
            DataError: names the first value that is none, with its place.
        """
        packed = self._read(place)
        values: NDArray[Any] = self._unpacked(packed)
        good, there = _within(values, *self.limits), self._measured(packed)
        good = good | np.isnan(values) | ~there if self.may_lack else good & there
        if not good.all():
            at = tuple(int(axis[0]) for axis in np.nonzero(~good))
            shown = ", ".join(str(part.start + index * (part.step or 1)) for part, index in zip(place, at, strict=True))
            raise self._error(f"value at [{shown}] is {values[at]}{self._rule(packed[at], values[at])}")
        return values

    def numbers(self, place: Index) -> Float32s:
        """A block as the model reads it, NaN where a value is lacking; the values were checked before."""
        packed = self._read(place)
        with np.errstate(over="ignore"):  # of a marking value
            values: Float32s = np.asarray(self._unpacked(packed)).astype(np.float32)
        if self.may_lack:
            values[~self._measured(packed)] = np.nan
        return values

    def _measured(self, packed: Any) -> NDArray[np.bool_]:
        """Find the values that are no marks, and in the valid range. NaN counts as measured without a range."""
        there = np.ones(packed.shape, bool)
        for _, mark in self.marks:
            there &= packed != mark
        for low, high in self._ranges:
            there &= (packed >= low) & (packed <= high)
        return there

    def _rule(self, packed: Any, value: Any) -> str:
        mark = next((name for name, mark in self.marks if packed == mark), None)
        if mark is not None:
            return f": that is its {mark}, so nothing was measured there"
        if not np.isfinite(value):
            return ": must be finite"
        low, high = self.limits
        if not low <= float(value) <= high:
            numbers = f"within {high:g}" if low == -high else f"from {low:g} to {high:g}"
            return f": must be {self.accepted or numbers}"
        return ": outside its valid_range"

    def _read(self, place: Index) -> Any:
        try:
            block = self._data[self._place(place)]
        except (OSError, RuntimeError) as error:
            self._look()
            raise self._error(f"cannot be read, the file is damaged: {first_line(error)}") from error
        self._look()
        return block

    def _place(self, place: Index) -> Index:
        if self._fold is None:
            return place
        one = place[0] if isinstance(place, tuple) and len(place) == 1 else place
        one = slice(None) if one is Ellipsis or one == () else one
        return (0, one) if self._fold == 0 else (one, 0)

    def _look(self) -> None:
        if self._guard is not None:
            self._guard()

    def _unpacked(self, packed: Any) -> Any:
        return packed.astype(np.float64) * self._scale + self._offset if self._packed else packed

    def _number(self, name: str, default: float) -> float:
        told = self._data.attrs.get(name)
        if told is None:
            return default
        numbers = _numbers(told)
        if len(numbers) != 1 or not np.isfinite(float(numbers[0])) or (name == "scale_factor" and not numbers[0]):
            raise self._error(f"its {name} is {told!r}: must be one number")
        return float(numbers[0])

    def _own_marks(self) -> list[Mark]:
        marks = [
            mark for name in MISSING if name in self._data.attrs for mark in self._mark(name, self._data.attrs[name])
        ]
        if self._data.id.get_create_plist().fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED:
            marks += [mark for mark in self._mark("fill value", self._data.fillvalue) if mark[1] != 0]
        return marks

    def _mark(self, name: str, told: Any) -> list[Mark]:
        """Return the marking values in the dataset's own type; the data cannot hold others."""
        return [(name, own) for number in _numbers(told) for own in _in_type(number, self._data.dtype)]

    def _valid_range(self) -> list[tuple[Any, Any]]:
        low, high = (_numbers(self._data.attrs.get(name)) for name in ("valid_min", "valid_max"))
        both = _numbers(self._data.attrs.get("valid_range"))
        ranges = [(both[0], both[1])] if len(both) == 2 else []
        if len(low) == 1 or len(high) == 1:
            ranges.append((low[0] if len(low) == 1 else -np.inf, high[0] if len(high) == 1 else np.inf))
        return ranges

    def not_applied(self) -> str | None:
        """A line on attributes that look as if the numbers were still to be scaled; None without any."""
        found = [name for name in NOT_APPLIED if len(_numbers(self._data.attrs.get(name))) == 1]
        told = ", ".join(f"{name} {float(_numbers(self._data.attrs[name])[0]):g}" for name in found)
        return f"dataset '{self.name}' says {told}: not applied, the values are taken as they are" if told else None

    def _error(self, problem: str) -> DataError:
        return DataError(self._path, problem, self.name)


def _with_cache(file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset, with a cache that holds a few of its chunks.

    HDF5's default of 1 MiB keeps no chunk that is larger, and inflates it again at each read.
    """
    chunks = file[name].chunks
    if chunks is None:
        return file[name]
    chunk_bytes = int(np.prod(chunks)) * file[name].dtype.itemsize
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(10_007, max(_CACHE_BYTES, chunk_bytes) if chunk_bytes > 1 << 18 else 1 << 22, 0.75)
    return h5py.Dataset(h5py.h5d.open(file.id, name.encode(), access))


def _axis(shape: tuple[int, ...]) -> int | None:
    """The axis of length 1 that a row or a column has beside its own; None for every other shape."""
    return shape.index(1) if len(shape) == 2 and 1 in shape else None


def _within(values: NDArray[Any], low: float, high: float) -> NDArray[np.bool_]:
    """Find the values that a record may carry. Both sides are compared: the lowest integer has no magnitude."""
    if values.dtype.kind == "b":
        values = values.astype(np.int8)
    if values.dtype.itemsize == 2 and values.dtype.kind == "f":
        values = values.astype(np.float32)  # float16 has no 1e6
    with np.errstate(invalid="ignore"):
        good: NDArray[np.bool_] = (values >= low) & (values <= high)  # false for NaN, too
    return good


def _numbers(told: Any) -> list[Any]:
    """The numbers that an attribute holds, also as text; nothing else."""
    if told is None or isinstance(told, h5py.Empty):
        return []
    found = np.asarray(told).reshape(-1)
    if found.dtype.kind in "fiub":
        return list(found)
    numbers = []
    for one in found.tolist():
        try:
            numbers.append(np.float64(text_of(one)))
        except ValueError:
            continue
    return numbers


def text_of(told: Any) -> str:
    """Text, as attributes and datasets hold it: str, bytes, or one of them in an array."""
    found = np.asarray(told, dtype=object).reshape(-1) if not isinstance(told, str | bytes) else [told]
    one = found[0] if len(found) == 1 else ""
    return one.decode("utf-8", errors="replace") if isinstance(one, bytes) else str(one)


def _in_type(number: Any, dtype: np.dtype[Any]) -> list[Any]:
    """A number in a dataset's type; nothing where the type has no such number, or the number is NaN."""
    if number != number:  # refused anyway
        return []
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        whole = int(number) if np.isfinite(number) and number == int(number) else None
        return [] if whole is None or not limits.min <= whole <= limits.max else [dtype.type(whole)]
    if dtype.kind != "f":
        return []
    with np.errstate(over="ignore"):
        return [np.asarray(number).astype(dtype)[()]]
