"""The HDF5 layouts of signals and castings, checked before use, in one way for every command.

A file that cannot be used ends in one DataError that names the file and the dataset. Values are checked in blocks, so
that the memory needed does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from core.arrays import Int64s
from core.callbacks import OnProgress, unheard
from core.data.foreign import not_ours
from core.data.measured import require_measured
from core.data.opening import Unchanged, dataset_of, open_file
from core.data.outputs import first_line
from core.data.rates import ASSUMED_HZ, metadata_rows, told_rate_hz
from core.data.reading import check_values
from core.data.recording import Recording
from core.data.values import Values, text_of
from core.errors import DataError, StartupError
from core.wire.records import MAX_SEQUENCE_BYTES, SENSORS

SIGNALS = ("mixed_signals", "target_signals")
CASTS = ("cast_start", "cast_length", "label", "defect_probability", "trigger")
_TURNED = "MATLAB stores matrices turned round: save the transpose"


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


def open_signals(path: str | Path, check_values: bool = True) -> Recording:
    """Open a file of signals with targets, checked: the caller closes it (it is a context manager).

    Args:
        path: the file.
        check_values: read every value once and refuse what was not measured, NaN, infinity and values beyond 1e6.

    Raises:
        DataError: no such file, not HDF5, truncated, a dataset missing, empty or of a wrong shape, or a bad value.
    """
    return _open(Path(path), lambda file, guard: _signals(file, guard, SIGNALS), check_values)


def open_castings(path: str | Path, check_values: bool = True) -> Recording:
    """Open a file of castings with labels, checked: the caller closes it (it is a context manager).

    Raises:
        DataError: as ``open_signals``; also casts that lie outside the data and labels other than -1, 0 and 1.
    """
    return _open(Path(path), lambda file, guard: _castings(file, guard, CASTS), check_values)


def open_checked(path: str | Path, on_check: OnProgress = unheard) -> tuple[Recording, str]:
    """Open a file of either task for prediction; its datasets decide which. It needs neither targets nor labels.

    Args:
        path: the file.
        on_check: told the values checked so far and their total, once per block.

    Returns:
        The open file, which the caller closes, and its kind: "signal" or "casting".

    Raises:
        DataError: as `open_signals` and `open_castings`.
    """
    kind = file_kind(path)

    def layout(file: h5py.File, guard: Unchanged) -> Recording:
        if kind == "signal":
            return _signals(file, guard, SIGNALS[:1])
        return _castings(file, guard, [name for name in CASTS[:2] if any(name in file for name in CASTS[:2])])

    return _open(Path(path), layout, True, on_check), kind


def file_kind(path: str | Path) -> str:
    """``"signal"`` or ``"casting"``, by the datasets of the file; its content is not checked.

    Raises:
        DataError: no such file, not HDF5, truncated, or neither of the two kinds.
    """
    with open_file(path) as file:
        names = set(file)  # of links, too, that lead nowhere
        if not names.isdisjoint((*SIGNALS, "condition_vectors")):
            return "signal"
        if not names.isdisjoint(("cast_start", *SENSORS)):
            return "casting"
        raise DataError(path, not_ours(file))


def _open(
    path: Path, layout: Callable[[h5py.File, Unchanged], Recording], checked: bool, on_check: OnProgress = unheard
) -> Recording:
    guard = Unchanged(path)
    file = open_file(path)
    try:
        recording = layout(file, guard)
        if checked:
            check_values(recording.read.values(), on_check)
        _note(recording)
    except DataError:
        file.close()
        raise
    except (OSError, RuntimeError, KeyError) as error:  # h5py's own words for damage that opening did not show
        file.close()
        raise DataError(path, f"cannot be read, the file is damaged: {first_line(error)}") from error
    return recording


def _note(recording: Recording) -> None:
    """Add the lines about assumptions on a file and about attributes that are not applied."""
    if not recording.rate_told:
        recording.notes.append(f"{recording.filename}: tells no sampling rate: {recording.rate_hz:g} Hz is assumed")
    for data in recording.read.values():
        told = data.not_applied()
        if told:
            recording.notes.append(f"{recording.filename}: {told}")
    if recording.h5.swmr_mode:
        recording.notes.append(f"{recording.filename}: its recorder has not closed it: what it has written is read")


def _signals(file: h5py.File, guard: Unchanged, needed: Sequence[str]) -> Recording:
    mixed = _values(file, guard, "mixed_signals", 2)
    samples, steps = mixed.shape
    found = {"mixed_signals": mixed}
    for name in needed[1:]:
        found[name] = _values(file, guard, name, 2)
        _require_shape(file, found[name], (samples, steps))
    conditions = _values(file, guard, "condition_vectors", 2, kinds="fiub")
    _require_conditions(file, mixed, conditions)
    if "metadata" in file or len(needed) > 1:
        dataset_of(file, "metadata")
        _require_rows(file, samples)
    rate = told_rate_hz(file, "signal", list(found))
    found["condition_vectors"] = conditions
    hz = ASSUMED_HZ["signal"] if rate is None else rate
    return Recording(file, "signal", guard, found, {}, hz, rate is not None, _names(file, guard, samples))


def _require_conditions(file: h5py.File, mixed: Values, conditions: Values) -> None:
    samples = mixed.shape[0]
    if conditions.shape == (samples, 4):
        return
    if conditions.shape == (4, mixed.shape[1]) or "MATLAB_class" in file["mixed_signals"].attrs:
        problem = f"has shape {conditions.shape} beside mixed_signals {mixed.shape}: {_TURNED}"
        raise DataError(file.filename, problem, "condition_vectors")
    _require_shape(file, conditions, (samples, 4))


def _require_rows(file: h5py.File, samples: int) -> None:
    rows = metadata_rows(file)
    if rows is not None and rows != samples:
        raise DataError(file.filename, f"describes {rows} samples, the file has {samples}", "metadata")


def _castings(file: h5py.File, guard: Unchanged, needed: Sequence[str]) -> Recording:
    found = {SENSORS[0]: _values(file, guard, SENSORS[0], 1)}
    (steps,) = found[SENSORS[0]].shape
    for name in SENSORS[1:]:
        found[name] = _values(file, guard, name, 1)
        _require_shape(file, found[name], (steps,))
    columns = _places(file, guard, steps, needed)
    if "label" in needed:
        columns |= _judgements(file, guard, len(columns["cast_start"]))
    rate = told_rate_hz(file, "casting", SENSORS)
    hz = ASSUMED_HZ["casting"] if rate is None else rate
    names = _names(file, guard, len(columns["cast_start"]))
    return Recording(file, "casting", guard, found, columns, hz, rate is not None, names)


def _places(file: h5py.File, guard: Unchanged, steps: int, needed: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Find where each cast lies; a file that does not say it is one cast."""
    if not needed:
        return {"cast_start": np.zeros(1, np.int64), "cast_length": np.array([steps], np.int64)}
    start = _whole(file, guard, "cast_start", None)
    length = _whole(file, guard, "cast_length", len(start))
    _refuse(file, "cast_length", length, length < 1, "a cast has at least one step")
    # Ends are compared by subtraction: a start near the largest integer would wrap round in a sum.
    _refuse(file, "cast_start", start, (start < 0) | (start > steps - length), f"the cast must lie in 0..{steps}")
    return {"cast_start": start, "cast_length": length}


def _judgements(file: h5py.File, guard: Unchanged, casts: int) -> dict[str, NDArray[Any]]:
    """Read the labels and defect probabilities of the casts."""
    label = _whole(file, guard, "label", casts, kinds="iufb", rule="must be whole numbers: 1, 0, or -1 for unknown")
    _refuse(file, "label", label, (label < -1) | (label > 1), "must be 0, 1, or -1 for unknown")
    chance = _values(file, guard, "defect_probability", 1)
    _require_shape(file, chance, (casts,))
    probability = chance[:]
    with np.errstate(invalid="ignore"):
        outside = (probability < 0) | (probability > 1)
    _refuse(file, "defect_probability", probability, outside, "must be in 0..1, or NaN")
    _require_shape(file, _values(file, guard, "trigger", 1, kinds="OS"), (casts,))
    return {"label": label, "defect_probability": probability}


def _whole(
    file: h5py.File,
    guard: Unchanged,
    name: str,
    rows: int | None,
    kinds: str = "iuf",
    rule: str = "must be whole numbers",
) -> Int64s:
    """A column of integers, which may be written as floats."""
    data = _values(file, guard, name, 1, kinds)
    if rows is not None:
        _require_shape(file, data, (rows,))
    found = data[:]
    if found.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = (np.abs(found.astype(np.float64)) <= 2.0**53) & (found == np.trunc(found))
        _refuse(file, name, found, ~whole, rule)
    if found.dtype.kind == "u":
        _refuse(file, name, found, found > np.uint64(2**62), "is too large")
    for mark, value in data.marks:
        _refuse(file, name, found, found == value, f"that is its {mark}")
    return np.asarray(found, dtype=np.int64)


def _names(file: h5py.File, guard: Unchanged, rows: int) -> list[str] | None:
    """Read the names of the rows from the dataset ``sequence``.

    Raises:
        DataError: it does not name each row by a name of its own that a record can have.
    """
    if "sequence" not in set(file):
        return None
    data = _values(file, guard, "sequence", 1, kinds="OSUiuf")
    _require_shape(file, data, (rows,))
    names = [_name(one) for one in data[:].tolist()]
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if not name or len(name.encode()) > MAX_SEQUENCE_BYTES:
            raise DataError(file.filename, f"row {row} is {name[:40]!r}: a name has 1 to 255 bytes", "sequence")
        if seen.setdefault(name, row) != row:
            problem = f"rows {seen[name]} and {row} are both {name[:40]!r}: a name stands for one row"
            raise DataError(file.filename, problem, "sequence")
    return names


def _name(told: Any) -> str:
    if isinstance(told, float) and told.is_integer():
        told = int(told)
    return text_of(told).strip()


def _refuse(file: h5py.File, name: str, values: Any, wrong: Any, rule: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(file.filename, f"row {row} is {values[row]}: {rule}", name)


def _values(file: h5py.File, guard: Unchanged, name: str, axes: int, kinds: str = "fiu") -> Values:
    """The dataset, which must have ``axes`` axes, none of them empty, and a type of one of numpy's ``kinds``.

    All of it must have been written. Where one axis is wanted, a row and a column count as one.
    """
    data = dataset_of(file, name)
    origin = require_measured(file, name)
    guard.add(origin.files)
    found = Values(file, name, flat=axes == 1, marks=origin.marks, guard=guard.check)
    if found.ndim != axes:
        turned = f"; {_TURNED}" if "MATLAB_class" in data.attrs else ""
        raise DataError(file.filename, f"has shape {found.shape}: must have {axes} axes{turned}", name)
    if 0 in found.shape:
        raise DataError(file.filename, f"is empty (shape {found.shape})", name)
    if found.dtype.kind not in kinds:
        raise DataError(file.filename, f"has type {found.dtype}: {_WANTED.get(kinds, 'numbers are needed')}", name)
    return found


_WANTED = {"OS": "texts are needed", "OSUiuf": "texts are needed", "iuf": "whole numbers are needed"}


def _require_shape(file: h5py.File, found: Values, shape: tuple[int, ...]) -> None:
    if found.shape != shape:
        raise DataError(file.filename, f"has shape {found.shape}: must be {shape}", found.name)
