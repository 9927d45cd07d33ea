"""The HDF5 layouts of signals and castings: files are written whole or not at all, and checked before use.

A file that cannot be used ends in one DataError that names the file and the dataset. Values are checked in blocks, so
that the memory needed does not grow with the file.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import h5py
import msgspec
import numpy as np

from core.errors import DataError, StartupError
from core.records import SENSORS

SIGNALS = ("mixed_signals", "target_signals")
CASTS = ("cast_start", "cast_length", "label", "defect_probability", "trigger")
# Values read at once by a check: 4 MiB of float32.
CHECK_VALUES = 1 << 20


class _Described(msgspec.Struct):
    """What is read of a sample's metadata; the rest is skipped, as 40,000 objects of it would fill 100 MB."""

    sampling_rate: Annotated[float, msgspec.Meta(gt=0)] | None = None


class _Config(msgspec.Struct):
    """What is read of a file's config."""

    data: _Described | None = None


@contextmanager
def create_file(path: str | Path) -> Iterator[h5py.File]:
    """An HDF5 file to fill; it takes its name when the block ends well, and leaves nothing behind when it does not.

    Raises:
        DataError: the folder does not exist, the disk is full, or the place may not be written.
    """
    path = Path(path)
    partial = partial_of(path)
    try:
        if path.is_dir():
            raise DataError(path, "cannot be written: it is a folder")
        if path.exists() and not path.is_file():
            raise DataError(path, "cannot be written: it is no plain file")
        try:
            with h5py.File(partial, "x") as file:
                yield file
            os.replace(partial, path)
        except OSError as error:
            raise DataError(path, f"cannot be written: {_first_line(error)}") from error
    finally:
        partial.unlink(missing_ok=True)


def partial_of(path: Path) -> Path:
    """Where a file is written before it takes its name: beside it, under a name that nobody can guess and prepare.

    To be opened with mode "x": in a folder that others may write to, a link could lie there.
    """
    return path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.partial")


def write_text(file: h5py.File, name: str, text: str) -> None:
    """Store ``text`` as a scalar string dataset."""
    file.create_dataset(name, data=text, dtype=h5py.string_dtype(), track_times=False)


def require_counts(seed: int, **counts: int) -> None:
    """Refuse a negative seed and any count below 1.

    Raises:
        StartupError: names the argument, its value and what is accepted.
    """
    if seed < 0:
        raise StartupError(f"seed is {seed}: must be 0 or more")
    for name, value in counts.items():
        if value < 1:
            raise StartupError(f"{name} is {value}: must be 1 or more")


def open_signals(path: str | Path, check_values: bool = True) -> h5py.File:
    """Open a signals file for reading, checked: the caller closes it (it is a context manager).

    Args:
        path: the file.
        check_values: read every value once and refuse NaN and infinity.

    Raises:
        DataError: no such file, not HDF5, truncated, a dataset missing, empty or of a wrong shape, or a bad value.
    """
    return _open_checked(Path(path), _check_signals, (*SIGNALS, "condition_vectors") if check_values else ())


def open_castings(path: str | Path, check_values: bool = True) -> h5py.File:
    """Open a castings file for reading, checked: the caller closes it (it is a context manager).

    Args:
        path: the file.
        check_values: read every sensor value once and refuse NaN and infinity.

    Raises:
        DataError: as ``open_signals``; also casts that lie outside the data and labels other than -1, 0 and 1.
    """
    return _open_checked(Path(path), _check_castings, SENSORS if check_values else ())


def file_kind(path: str | Path) -> str:
    """``"signal"`` or ``"casting"``, by the datasets of the file; its content is not checked.

    Raises:
        DataError: no such file, not HDF5, truncated, or neither of the two kinds.
    """
    with open_file(path) as file:
        if "mixed_signals" in file:
            return "signal"
        if any(name in file for name in ("cast_start", *SENSORS)):
            return "casting"
    raise DataError(path, "holds neither signals (mixed_signals) nor castings (cast_start)", "mixed_signals")


def open_file(path: str | Path) -> h5py.File:
    """Open any HDF5 file for reading.

    Raises:
        DataError: no such file, a folder, not HDF5, or truncated.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(path, "no such file")
    if path.is_dir():
        raise DataError(path, "is a folder, not an HDF5 file")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        text = str(error)
        if "truncated" in text:
            raise DataError(path, "the file is truncated: its end is missing") from error
        if "signature not found" in text or path.stat().st_size == 0:
            raise DataError(path, "is not an HDF5 file") from error
        raise DataError(path, f"cannot be read: {_first_line(error)}") from error


def sampling_rate_hz(file: h5py.File) -> float:
    """Samples per second of a signals file, from its metadata or config; 1000 where neither says.

    Raises:
        DataError: the rate is not a positive number, or one of the two texts cannot be read.
    """
    metadata = _read_metadata(file)
    described = metadata[0] if isinstance(metadata, list) else metadata
    config = _read_json(file, "config", _Config) if "config" in file else _Config()
    rate = described.sampling_rate or (config.data.sampling_rate if config.data else None)
    return 1000.0 if rate is None else rate


def _open_checked(path: Path, check: Any, finite: tuple[str, ...]) -> h5py.File:
    file = open_file(path)
    try:
        check(file)
        for name in finite:
            _check_finite(file, name)
    except DataError:
        file.close()
        raise
    except (OSError, RuntimeError) as error:  # h5py's own words for damage that opening did not show
        file.close()
        raise DataError(path, f"cannot be read, the file is damaged: {_first_line(error)}") from error
    return file


def _check_signals(file: h5py.File) -> None:
    samples, steps = _dataset(file, "mixed_signals", 2).shape
    _require_shape(file, "target_signals", (samples, steps))
    _require_shape(file, "condition_vectors", (samples, 4))
    _check_metadata(file, samples)


def _check_metadata(file: h5py.File, samples: int) -> None:
    metadata = _read_metadata(file)
    if isinstance(metadata, list) and len(metadata) != samples:
        raise DataError(file.filename, f"describes {len(metadata)} samples, the file has {samples}", "metadata")


def _read_metadata(file: h5py.File) -> list[_Described] | _Described:
    found: list[_Described] | _Described = _read_json(file, "metadata", list[_Described] | _Described)
    return found


def _read_json(file: h5py.File, name: str, form: Any) -> Any:
    text = _require(file, name)[()]
    if not isinstance(text, bytes | str):
        raise DataError(file.filename, f"must be one string, holds {type(text).__name__}", name)
    try:
        return msgspec.json.decode(text, type=form)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise DataError(file.filename, f"cannot be used: {_first_line(error)}", name) from error


def _check_castings(file: h5py.File) -> None:
    (steps,) = _dataset(file, SENSORS[0], 1).shape
    for name in SENSORS[1:]:
        _require_shape(file, name, (steps,))
    (casts,) = _dataset(file, "cast_start", 1, kinds="iu").shape
    _require_shape(file, "cast_length", (casts,), kinds="iu")
    _require_shape(file, "label", (casts,), kinds="iu")
    _require_shape(file, "defect_probability", (casts,))
    _require_shape(file, "trigger", (casts,), kinds="OS")
    _check_casts(file, steps)


def _check_casts(file: h5py.File, steps: int) -> None:
    start, length = file["cast_start"][:].astype(np.int64), file["cast_length"][:].astype(np.int64)
    _refuse(file, "cast_length", length, length < 1, "a cast has at least one step")
    # Ends are compared by subtraction: a start near the largest integer would wrap round in a sum.
    _refuse(file, "cast_start", start, (start < 0) | (start > steps - length), f"the cast must lie in 0..{steps}")
    label = file["label"][:].astype(np.int64)
    _refuse(file, "label", label, (label < -1) | (label > 1), "must be 0, 1, or -1 for unknown")
    probability = file["defect_probability"][:]
    _refuse(file, "defect_probability", probability, (probability < 0) | (probability > 1), "must be in 0..1, or NaN")


def _refuse(file: h5py.File, name: str, values: Any, wrong: Any, rule: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(file.filename, f"row {row} is {values[row]}: {rule}", name)


def _dataset(file: h5py.File, name: str, axes: int, kinds: str = "fiu") -> h5py.Dataset:
    """The dataset, which must have ``axes`` axes, none of them empty, and a type of one of numpy's ``kinds``."""
    found = _require(file, name)
    if found.ndim != axes:
        raise DataError(file.filename, f"has shape {found.shape}: must have {axes} axes", name)
    if 0 in found.shape:
        raise DataError(file.filename, f"is empty (shape {found.shape})", name)
    if found.dtype.kind not in kinds:
        raise DataError(file.filename, f"has type {found.dtype}: that cannot be used here", name)
    return found


def _require_shape(file: h5py.File, name: str, shape: tuple[int, ...], kinds: str = "fiu") -> None:
    found = _dataset(file, name, len(shape), kinds)
    if found.shape != shape:
        raise DataError(file.filename, f"has shape {found.shape}: must be {shape}", name)


def _require(file: h5py.File, name: str) -> h5py.Dataset:
    if name not in file:
        raise DataError(file.filename, "is missing", name)
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise DataError(file.filename, "is a group, not a dataset", name)
    return found


def _check_finite(file: h5py.File, name: str) -> None:
    data = file[name]
    if data.dtype.kind != "f":
        return
    rows = max(1, CHECK_VALUES // max(1, int(np.prod(data.shape[1:]))))
    for first in range(0, len(data), rows):
        good = np.isfinite(data[first : first + rows])
        if not good.all():
            at = tuple(int(axis[0]) for axis in np.nonzero(~good))
            place = (at[0] + first, *at[1:])
            shown = ", ".join(str(each) for each in place)
            raise DataError(file.filename, f"value at [{shown}] is {data[place]}: must be finite", name)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
