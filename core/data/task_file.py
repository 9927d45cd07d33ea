"""A file of any task's samples: the one HDF5 layout, and those of signals and castings as they are.

The layout has a dataset for each field, (N,) or (N, numbers), under its name or an alias. ``sequence_start`` and
``sequence_length`` say where the sequences lie; without both, all samples are one. Optional are ``sequence_name``,
``stream_name`` and ``timestamp_ms``. Every value is checked once, in blocks; memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray

from core.arrays import Float32s, Int64s
from core.callbacks import OnNote, OnProgress, unheard
from core.data.columns import names_of, open_values, places_of, refuse_repeats, require_shape, row_names, row_places
from core.data.layout import notes_on
from core.data.opening import Unchanged, open_file
from core.data.outputs import first_line
from core.data.rates import ASSUMED_HZ, OTHERS_HZ, told_rate_hz
from core.data.reading import BLOCK_VALUES, check_values
from core.data.task_samples import FieldRows, HeldSamples, SignalsFileRows, holds_signals
from core.data.values import Values
from core.errors import DataError
from core.tasks.declaration import Declaration
from core.wire.record_limits import MAX_TIME_MS, MIN_TIME_MS

TIMES = "timestamp_ms"
_STREAMS = "stream_name"


@dataclass(frozen=True, slots=True)
class TaskSequence:
    """One sequence: its samples are ``[start, start + count)`` of the file. Names are "" where the file has none."""

    name: str
    start: int
    count: int
    stream: str = ""


class TaskFile:
    """One open file of a task; a context manager.

    Args:
        path: the file.
        declaration: of the task.
        on_note: told in lines what of the file is assumed, or not applied.
        on_check: told the values checked so far and their total.

    Attributes:
        sequences: in the file's order.
        rate_hz: samples per second; None where the file does not say.
        samples: N.

    Raises:
        DataError: no such file, not HDF5, truncated, a dataset that is missing or does not fit its field, a value that
            was not measured or lies outside of its field's range.
    """

    def __init__(
        self,
        path: str | Path,
        declaration: Declaration,
        on_note: OnNote = unheard,
        on_check: OnProgress = unheard,
    ) -> None:
        self.path, self.declaration = Path(path), declaration
        self._guard = Unchanged(self.path)
        self._file = open_file(self.path)
        try:
            self._read(on_check)
            for note in self._notes():
                on_note(note)
        except DataError:
            self._file.close()
            raise
        except (OSError, RuntimeError, KeyError) as error:  # h5py's own words for damage that opening did not show
            self._file.close()
            raise DataError(self.path, f"cannot be read, the file is damaged: {first_line(error)}") from error

    def _read(self, on_check: OnProgress) -> None:
        file, guard = self._file, self._guard
        self._rows: HeldSamples = (
            SignalsFileRows(file, guard, self.declaration)
            if holds_signals(file, self.declaration)
            else FieldRows(file, guard, self.declaration)
        )
        self.samples = self._rows.samples
        self.sequences = self._sequences()
        self._times = _times(file, guard, self.samples)
        self.rate_hz = told_rate_hz(file, self._rows.kind, [data.name for data in self._rows.datasets])
        check_values([*self._rows.datasets, *([self._times] if self._times else [])], on_check)
        self._check_times()
        self._check_lacking()

    def _notes(self) -> Iterator[str]:
        if self.rate_hz is None and self._times is None:
            yield f"{self.path}: tells no sampling rate: {1000 / self.period_ms:g} Hz is assumed"
        yield from notes_on(self._file, self._rows.datasets)

    @property
    def period_ms(self) -> float:
        """The time between two samples; an assumed one where the file tells no rate."""
        return 1000.0 / (self.rate_hz or ASSUMED_HZ.get(self._rows.kind, OTHERS_HZ))

    @property
    def files(self) -> list[Path]:
        """This file and all that are read through it."""
        return self._guard.paths

    @property
    def is_named(self) -> bool:
        """True if the file names its sequences."""
        return bool(self.sequences[0].name)

    def values(self, start: int, count: int) -> Float32s:
        """Read some samples, (count, numbers), in the order of the fields, each as a record holds it.

        A field whose ``missing`` is ``hold`` is all NaN where a sample lacks it; that is no sequence's first one.

        Raises:
            ChangedError: the file has changed.
        """
        return np.concatenate(self._rows.read(start, count), axis=1)

    def times(self, start: int, count: int) -> Int64s | None:
        """Return the times of some samples, in ms since 1970; None where the file has none."""
        return None if self._times is None else np.asarray(self._times[start : start + count], np.int64)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sequences(self) -> tuple[TaskSequence, ...]:
        file, guard = self._file, self._guard
        starts, counts = self._places()
        label = names_of(file)
        names = row_names(file, guard, len(starts), label)
        streams = row_names(file, guard, len(starts), _STREAMS)
        refuse_repeats(file, names or (), label, streams)
        places = zip(starts.tolist(), counts.tolist(), names or repeat(""), streams or repeat(""), strict=False)
        return tuple(TaskSequence(name, start, count, stream) for start, count, name, stream in places)

    def _places(self) -> tuple[Int64s, Int64s]:
        if (steps := self._rows.row_steps) is not None:
            starts = np.arange(0, self.samples, steps, dtype=np.int64)
            return starts, np.full(len(starts), steps, np.int64)
        if (found := places_of(self._file)) is None:
            return np.zeros(1, np.int64), np.array([self.samples], np.int64)
        return row_places(self._file, self._guard, self.samples, found, "sequence")

    def _check_times(self) -> None:
        if self._times is None or self._times.dtype.kind != "f":
            return
        for first in range(0, self.samples, BLOCK_VALUES):
            block = self._times[first : first + BLOCK_VALUES]
            if (wrong := block != np.trunc(block)).any():
                row = int(np.argmax(wrong))
                problem = f"value at [{first + row}] is {block[row]}: must be whole milliseconds since 1970"
                raise DataError(self.path, problem, self._times.name)

    def _check_lacking(self) -> None:
        """Refuse arrays of which a part is lacking, and sequences that begin without a field: nothing is held there."""
        for data in self._rows.datasets:
            if not data.may_lack:
                continue
            starts = np.zeros(self.samples, bool)
            starts[[sequence.start for sequence in self.sequences]] = True
            rows = max(1, BLOCK_VALUES // max(1, data.size // self.samples))
            for first in range(0, self.samples, rows):
                self._check_lacking_block(data, first, starts[first : first + rows])

    def _check_lacking_block(self, data: Values, first: int, starts: NDArray[np.bool_]) -> None:
        lacking = np.isnan(self._rows.block(data, first, len(starts)))
        partly = lacking.any(axis=1) & ~lacking.all(axis=1)
        if partly.any():
            place = first + int(np.argmax(partly))
            problem = f"some numbers of sample {place} are lacking: give all of them, or none"
            raise DataError(self.path, problem, data.name)
        begins = lacking[:, 0] & starts & (not data.may_begin)
        if begins.any():
            place = first + int(np.argmax(begins))
            problem = f"sample {place} has no value, and begins a sequence: put one there, or begin the sequence later"
            raise DataError(self.path, problem, data.name)


def _times(file: h5py.File, guard: Unchanged, samples: int) -> Values | None:
    if TIMES not in set(file):
        return None
    data = open_values(file, guard, TIMES, 1, kinds="iuf")
    require_shape(file, data, (samples,))
    data.limits, data.accepted = (MIN_TIME_MS, MAX_TIME_MS), "milliseconds since 1970, from the year 2000 to 2100"
    return data
