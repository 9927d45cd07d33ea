"""The outputs of a declared task offline, and their files: JSON lines as on the wire, or HDF5."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats
from core.data.outputs import create_file, create_lines
from core.data.task_file import TaskFile
from core.data.task_rows import TaskRows
from core.native.outputs import NamedOutputs
from core.offline.steps import OutputPart
from core.offline.windows import OutputWindow
from core.wire.outputs import NOTHING_YET, OutputField

HDF5 = (".h5", ".hdf5")


class OfflineWriter(Protocol):
    """Takes the outputs in the order of the rows."""

    def write(self, part: OutputPart) -> None:
        """Write some of a row's outputs."""

    def window(self, window: OutputWindow) -> None:
        """Write the outputs of a window."""

    def flush(self) -> None:
        """Write what waits."""


@contextmanager
def output_writer(
    out: Path | BinaryIO, file: TaskFile, rows: TaskRows, outputs: Sequence[OutputField], model: str
) -> Iterator[OfflineWriter]:
    """A writer for ``out``: an open stream, or a file that takes its name when everything is written.

    Raises:
        DataError: the file cannot be written.
    """
    if not isinstance(out, Path):
        yield _Lines(out, rows, outputs, model)
        out.flush()
    elif out.suffix.lower() in HDF5:
        with create_file(out) as made:
            kind = _StepFile if file.declaration.window is None else _WindowFile
            results = kind(made, file, rows, outputs, model)
            yield results
            results.flush()
    else:
        with create_lines(out) as stream:
            yield _Lines(stream, rows, outputs, model)


class _Lines:
    """One line for each record that the worker publishes, written by the same code."""

    def __init__(self, stream: BinaryIO, rows: TaskRows, outputs: Sequence[OutputField], model: str) -> None:
        self._stream, self._rows = stream, rows
        self._outputs = NamedOutputs(outputs, "json", model)

    def write(self, part: OutputPart) -> None:
        rows, row = self._rows, part.row
        times = rows.times_ms(row, part.step, len(part.numbers))
        names = rows.stream(row), rows.sequence(row)
        self._stream.write(self._outputs.lines(*names, part.step, times, part.numbers.astype(np.float64)))

    def window(self, window: OutputWindow) -> None:
        rows, row, step = self._rows, window.row, window.end - 1
        place = step, window.start, window.end - window.start, int(rows.times_ms(row, step, 1)[0])
        told = window.numbers, window.final, window.reason.encode()
        self._stream.write(self._outputs.of_window(rows.stream(row), rows.sequence(row), *place, *told) + b"\n")

    def flush(self) -> None:
        """Nothing waits."""


class _StepFile:
    """The layout of any task's files, with a dataset for each output in place of the fields."""

    def __init__(
        self, made: h5py.File, file: TaskFile, rows: TaskRows, outputs: Sequence[OutputField], model: str
    ) -> None:
        self._rows = rows
        counts = np.array([sequence.count for sequence in file.sequences])
        self._starts = (np.cumsum(counts) - counts).astype("i8")
        describe(made, file, rows, model)
        made["sequence_start"], made["sequence_length"] = self._starts, counts.astype("i8")
        self._times = made.create_dataset("timestamp_ms", (counts.sum(),), "i8")
        self._columns = OutputColumns(made, outputs, int(counts.sum()))

    def write(self, part: OutputPart) -> None:
        first, count = int(self._starts[part.row]) + part.step, len(part.numbers)
        self._times[first : first + count] = self._rows.times_ms(part.row, part.step, count)
        self._columns.write(first, part.numbers)

    def window(self, window: OutputWindow) -> None:
        raise NotImplementedError("a step task has no windows")

    def flush(self) -> None:
        """Nothing waits."""


class _WindowFile:
    """A row for each window: which sequence it is of, its place and time, and a dataset for each output."""

    def __init__(
        self, made: h5py.File, file: TaskFile, rows: TaskRows, outputs: Sequence[OutputField], model: str
    ) -> None:
        self._rows, self._waiting, self._written = rows, list[OutputWindow](), 0
        describe(made, file, rows, model)
        self._places = [
            made.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(_WAITING,))
            for name, kind in _WINDOW_COLUMNS.items()
        ]
        self._columns = OutputColumns(made, outputs, None)

    def write(self, part: OutputPart) -> None:
        raise NotImplementedError("a window task has no steps")

    def window(self, window: OutputWindow) -> None:
        self._waiting.append(window)
        if len(self._waiting) == _WAITING:
            self.flush()

    def flush(self) -> None:
        waiting, first = self._waiting, self._written
        if not waiting:
            return
        end = first + len(waiting)
        for data, values in zip(self._places, zip(*map(self._place, waiting), strict=True), strict=True):
            data.resize(end, axis=0)
            data[first:end] = values
        # Whole numbers are steps, which count from the sequence's first sample here.
        starts = np.array([window.start for window in waiting], np.float64)
        self._columns.write(first, np.stack([window.numbers for window in waiting]), starts)
        self._waiting, self._written = [], end

    def _place(self, window: OutputWindow) -> tuple[int, ...]:
        time_ms = int(self._rows.times_ms(window.row, window.end - 1, 1)[0])
        size = window.end - window.start
        return window.row, window.end - 1, window.start, size, time_ms, int(window.final)


_WINDOW_COLUMNS = {"row": "i8", "step": "i8", "start": "i8", "length": "i8", "timestamp_ms": "i8", "final": "i1"}
_WAITING = 4096


def describe(made: h5py.File, file: TaskFile, rows: TaskRows, model: str) -> None:
    """Write what the outputs are of, and what each row is called."""
    made.attrs.update({"task": file.declaration.name, "model": model, "run": rows.names.prefix})
    if file.rate_hz is not None:
        made.attrs["sampling_rate"] = file.rate_hz
    text = h5py.string_dtype()
    made.create_dataset("stream_name", data=[rows.stream(row) for row in range(rows.count)], dtype=text)
    made.create_dataset("sequence_name", data=[rows.sequence(row) for row in range(rows.count)], dtype=text)


class OutputColumns:
    """A dataset for each output, (N,) or (N, numbers): what is null in a record is NaN, or -1 of whole numbers.

    Of texts the file has the place of each in the attribute ``texts``.
    """

    def __init__(self, made: h5py.Group, outputs: Sequence[OutputField], rows: int | None) -> None:
        self._columns: list[tuple[OutputField, slice, h5py.Dataset]] = []
        place = 0
        for output in outputs:
            numbers = output.numbers
            inner = () if numbers == 1 and not output.names else (numbers,)
            grows = {"maxshape": (None, *inner)} if rows is None else {}
            data = made.create_dataset(output.name, (rows or 0, *inner), _TYPES[output.kind], **grows)
            if output.names:
                data.attrs["names"] = json.dumps(output.names)
            if output.texts:
                data.attrs["texts"] = json.dumps(output.texts)
            self._columns.append((output, slice(place, place + numbers), data))
            place += numbers

    def write(self, first: int, numbers: Floats, starts: Floats | None = None) -> None:
        """Write rows (n, M) from ``first`` on; whole numbers count from ``starts`` (n,)."""
        for output, columns, data in self._columns:
            if len(data) < first + len(numbers):
                data.resize(first + len(numbers), axis=0)
            own = numbers[:, columns]
            if starts is not None and output.kind == "whole":
                own = own + starts[:, None]
            values = _stored(output, own)
            data[first : first + len(numbers)] = values.reshape(len(numbers), *data.shape[1:])


_TYPES = {"float32": "f4", "float64": "f8", "distance": "f4", "awaited": "f4", "whole": "i8", "text": "i2"}


def _stored(output: OutputField, numbers: Floats) -> NDArray[Any]:
    if output.kind in ("whole", "text"):
        return np.where(np.isfinite(numbers), numbers, -1).astype(_TYPES[output.kind])
    known = np.isfinite(numbers) & (numbers >= 0 if output.kind == "distance" else numbers != NOTHING_YET)
    return np.where(known, numbers, np.nan)
