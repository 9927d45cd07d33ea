"""The HDF5 layouts of signals and castings, checked before use, in one way for every command.

A file that cannot be used ends in one DataError that names the file and the dataset. Values are checked in blocks, so
that the memory needed does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from core.callbacks import OnProgress, unheard
from core.data.columns import (
    PLACES,
    TURNED,
    names_of,
    open_values,
    places_of,
    refuse_repeats,
    refuse_rows,
    require_shape,
    row_names,
    row_places,
    whole_column,
)
from core.data.foreign import not_ours
from core.data.opening import Unchanged, dataset_of, open_file
from core.data.outputs import first_line
from core.data.rates import ASSUMED_HZ, metadata_rows, told_rate_hz
from core.data.reading import check_values
from core.data.recording import Recording
from core.data.values import Values
from core.errors import DataError, StartupError
from core.wire.records import SENSORS

SIGNALS = ("mixed_signals", "target_signals")
CASTS = (*PLACES[1], "label", "defect_probability", "trigger")


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
        return _castings(file, guard, ())

    return _open(Path(path), layout, True, on_check), kind


def file_kind(path: str | Path) -> str:
    """``"signal"`` or ``"casting"``, by the datasets of the file; its content is not checked.

    Raises:
        DataError: no such file, not HDF5, truncated, or neither of the two kinds.
    """
    with open_file(path) as file:
        if (found := _kind(file)) is None:
            raise DataError(path, not_ours(file))
        return found


def has_older_layout(path: str | Path, task: str) -> bool:
    """True if a file has the layout of a task that ships, which is older than the one of any task (`TaskFile`).

    Raises:
        DataError: no such file, not HDF5, or truncated.
    """
    with open_file(path) as file:
        return _kind(file) == task and (task == "signal" or PLACES[0][0] not in set(file))


def _kind(file: h5py.File) -> str | None:
    names = set(file)  # of links, too, that lead nowhere
    if not names.isdisjoint((*SIGNALS, "condition_vectors")):
        return "signal"
    return "casting" if not names.isdisjoint(("cast_start", *SENSORS)) else None


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
    recording.notes += notes_on(recording.h5, recording.read.values())


def notes_on(file: h5py.File, datasets: Iterable[Values]) -> Iterator[str]:
    """Lines about attributes that are not applied, and about a file that its recorder has not closed."""
    for told in filter(None, (data.not_applied() for data in datasets)):
        yield f"{file.filename}: {told}"
    if file.swmr_mode:
        yield f"{file.filename}: its recorder has not closed it: what it has written is read"


def _signals(file: h5py.File, guard: Unchanged, needed: Sequence[str]) -> Recording:
    mixed = open_values(file, guard, "mixed_signals", 2)
    samples, steps = mixed.shape
    found = {"mixed_signals": mixed}
    for name in needed[1:]:
        found[name] = open_values(file, guard, name, 2)
        require_shape(file, found[name], (samples, steps))
    conditions = open_values(file, guard, "condition_vectors", 2, kinds="fiub")
    _require_conditions(file, mixed, conditions)
    if "metadata" in file or len(needed) > 1:
        dataset_of(file, "metadata")
        _require_rows(file, samples)
    rate = told_rate_hz(file, "signal", list(found))
    found["condition_vectors"] = conditions
    hz = ASSUMED_HZ["signal"] if rate is None else rate
    return Recording(file, "signal", guard, found, {}, hz, rate is not None, _names(file, guard, samples))


def open_rows(file: h5py.File, guard: Unchanged) -> Mapping[str, Values]:
    """The samples and conditions of an open signals file, which are to be checked."""
    return _signals(file, guard, SIGNALS[:1]).read


def _require_conditions(file: h5py.File, mixed: Values, conditions: Values) -> None:
    samples = mixed.shape[0]
    if conditions.shape == (samples, 4):
        return
    if conditions.shape == (4, mixed.shape[1]) or "MATLAB_class" in file["mixed_signals"].attrs:
        problem = f"has shape {conditions.shape} beside mixed_signals {mixed.shape}: {TURNED}"
        raise DataError(file.filename, problem, "condition_vectors")
    require_shape(file, conditions, (samples, 4))


def _require_rows(file: h5py.File, samples: int) -> None:
    rows = metadata_rows(file)
    if rows is not None and rows != samples:
        raise DataError(file.filename, f"describes {rows} samples, the file has {samples}", "metadata")


def _castings(file: h5py.File, guard: Unchanged, needed: Sequence[str]) -> Recording:
    found = {SENSORS[0]: open_values(file, guard, SENSORS[0], 1)}
    (steps,) = found[SENSORS[0]].shape
    for name in SENSORS[1:]:
        found[name] = open_values(file, guard, name, 1)
        require_shape(file, found[name], (steps,))
    places = PLACES[1] if needed else places_of(file)
    if places is not None:
        start, length = row_places(file, guard, steps, places, "cast")
    else:  # a file that does not say where they lie is one cast
        start, length = np.zeros(1, np.int64), np.array([steps], np.int64)
    columns: dict[str, NDArray[Any]] = {"cast_start": start, "cast_length": length}
    if "label" in needed:
        columns |= _judgements(file, guard, len(columns["cast_start"]))
    rate = told_rate_hz(file, "casting", SENSORS)
    hz = ASSUMED_HZ["casting"] if rate is None else rate
    names = _names(file, guard, len(columns["cast_start"]))
    return Recording(file, "casting", guard, found, columns, hz, rate is not None, names)


def _names(file: h5py.File, guard: Unchanged, rows: int) -> list[str] | None:
    """The rows' names of their own, each there once."""
    dataset = names_of(file)
    names = row_names(file, guard, rows, dataset)
    refuse_repeats(file, names or (), dataset)
    return names


def _judgements(file: h5py.File, guard: Unchanged, casts: int) -> dict[str, NDArray[Any]]:
    """Read the labels and defect probabilities of the casts."""
    label = whole_column(
        file, guard, "label", casts, kinds="iufb", rule="must be whole numbers: 1, 0, or -1 for unknown"
    )
    refuse_rows(file, "label", label, (label < -1) | (label > 1), "must be 0, 1, or -1 for unknown")
    chance = open_values(file, guard, "defect_probability", 1)
    require_shape(file, chance, (casts,))
    probability = chance[:]
    with np.errstate(invalid="ignore"):
        outside = (probability < 0) | (probability > 1)
    refuse_rows(file, "defect_probability", probability, outside, "must be in 0..1, or NaN")
    require_shape(file, open_values(file, guard, "trigger", 1, kinds="OS"), (casts,))
    return {"label": label, "defect_probability": probability}
