"""Samples of a table -> the one layout of any task's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from core.data.csv.bad_lines import NOTHING, LeftOut
from core.data.csv.header import Columns, task_columns
from core.data.csv.order import Sorted
from core.data.csv.samples import BLOCK, Samples
from core.data.csv.sequences import ORDER_COLUMNS, LinePlace, Sequences
from core.data.csv.table import Table
from core.errors import RecordError, StartupError
from core.tasks.declaration import Declaration, Field
from core.wire.record_limits import MAX_TIME_MS, MIN_TIME_MS

_NAN = float("nan")


@dataclass(frozen=True)
class TaskSummary:
    """Counts of what a task's file was made of.

    ``lacking`` counts the values that are held when the file is read, ``gaps`` the steps that are missing inside
    sequences; ``times``: each sample has its time. ``ignored`` are the columns without a meaning here.
    """

    task: str
    sequences: int
    samples: int
    gaps: int
    lacking: int
    times: bool
    sampling_rate: float | None
    ignored: tuple[str, ...]
    left_out: LeftOut = NOTHING


class TaskRow(NamedTuple):
    """One sample; NaN where a field is lacking."""

    place: LinePlace
    values: list[float]


class TaskImport:
    """Reads the rows of a declared task and writes them.

    Args:
        declaration: of the task.
        table: where the rows come from.
        samples: takes the values.
        sequences: takes the places.
        folder: for what waits on the disk.
        sampling_rate: as somebody says, in Hz.
    """

    def __init__(
        self,
        declaration: Declaration,
        table: Table,
        samples: Samples,
        sequences: Sequences,
        folder: Path,
        sampling_rate: float | None,
    ) -> None:
        self._table, self._samples, self._sequences = table, samples, sequences
        self._fields, self._task, self._rate = declaration.fields, declaration.name, sampling_rate
        self._ranges = [(column, field) for field in declaration.fields for column in field.columns]
        self._times = Samples(folder, 1, "i8")
        self._timed, self._lacking = True, 0

    @staticmethod
    def columns(declaration: Declaration) -> Columns:
        """The columns of a task's table."""
        return task_columns(declaration, ("sequence", *ORDER_COLUMNS))

    def parse(self, cells: list[str]) -> TaskRow:
        """The sample of a row; raises RecordError."""
        if self._table.columns.held:
            found = self._table.held_numbers(cells)
            values = [found.get(column, _NAN) for column, _ in self._ranges]
        else:
            values = self._table.numbers(cells)
        for (column, field), value in zip(self._ranges, values, strict=True):
            if value < field.low or value > field.high:
                raise RecordError(
                    "out_of_range", f"{column} is {value:g}: must be from {field.low:g} to {field.high:g}"
                )
        return TaskRow(self._sequences.place(cells), values)

    def add(self, line: int, row: TaskRow) -> None:
        """Take a sample in; raises RecordError: the row contradicts an earlier one."""
        self._sequences.add(line, row.place, row.values)
        time_us = row.place.time_us
        time_ms = 0 if time_us is None else time_us // 1000
        self._timed = self._timed and MIN_TIME_MS <= time_ms <= MAX_TIME_MS
        self._times.add([time_ms if self._timed else 0])

    def write(self, file: h5py.File, done: Sorted) -> TaskSummary:
        """Fill ``file`` with the sequences in order.

        Raises:
            StartupError: a sequence begins without a field that is held where it is missing.
        """
        total, starts = int(done.lengths.sum()), np.cumsum(done.lengths) - done.lengths
        self._write_fields(file, done, starts.tolist())
        timed = self._timed and self._sequences.has_instants
        if timed:
            self._write_times(file, done, total)
        self._times.close()
        file.create_dataset("sequence_start", data=starts.astype("i8"), track_times=False)
        file.create_dataset("sequence_length", data=done.lengths.astype("i8"), track_times=False)
        self._write_names(file, done)
        rate = self._rate or self._sequences.rate_hz()
        if rate is not None:
            file.attrs["sampling_rate"] = rate
        file.attrs["task"] = self._task
        counts = len(done.lengths), total, done.gaps, self._lacking
        return TaskSummary(self._task, *counts, timed, rate, self._table.ignored)

    def _write_fields(self, file: h5py.File, done: Sorted, starts: list[int]) -> None:
        samples, total = self._samples.all(), int(done.lengths.sum())
        data = [_dataset(file, field, total) for field in self._fields]
        begins = np.zeros(total, bool)
        begins[starts] = True
        for first, end, places in done.blocks(BLOCK):
            block, place = samples[places], 0
            for field, each in zip(self._fields, data, strict=True):
                values = block[:, place : place + field.numbers]
                gone = np.isnan(values[:, 0])
                if field.missing == "hold" and (gone & begins[first:end]).any():
                    raise StartupError(
                        self._begins_without(field, done, first + int(np.argmax(gone & begins[first:end])))
                    )
                self._lacking += int(gone.sum()) if field.missing == "hold" else 0
                each[first:end] = values if field.length else values[:, 0]
                place += field.numbers

    def _begins_without(self, field: Field, done: Sorted, place: int) -> str:
        number = int(np.searchsorted(np.cumsum(done.lengths), place, side="right"))
        (name,) = self._sequences.names(done.sequences[number : number + 1])
        return (
            f"the sequence {name!r} begins without {field.name}: there is no value before it to hold; leave its first "
            "samples out, or put a value there"
        )

    def _write_times(self, file: h5py.File, done: Sorted, total: int) -> None:
        times = self._times.all()
        data = file.create_dataset("timestamp_ms", (total,), "i8", track_times=False)
        for first, end, places in done.blocks(BLOCK):
            data[first:end] = times[places][:, 0]

    def _write_names(self, file: h5py.File, done: Sorted) -> None:
        pairs = self._sequences.pairs(done.sequences)
        streams, names = ([pair[place] for pair in pairs] for place in (0, 1))
        if not all(streams):
            streams, names = [], self._sequences.names(done.sequences)
        for dataset, texts in (("stream_name", streams), ("sequence_name", names)):
            if texts and all(texts):
                file.create_dataset(dataset, data=texts, dtype=h5py.string_dtype(), track_times=False)


def _dataset(file: h5py.File, field: Field, total: int) -> h5py.Dataset:
    shape = (total,) if field.length is None else (total, field.length)
    return file.create_dataset(field.name, shape, "f4", track_times=False)
