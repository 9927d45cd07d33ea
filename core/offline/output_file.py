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
from core.wire.outputs import OutputField

HDF5 = (".h5", ".hdf5")


class StepWriter(Protocol):
    """Takes the outputs of steps in the order of the rows."""

    def write(self, part: OutputPart) -> None:
        """Write some of a row's outputs."""


@contextmanager
def step_writer(
    out: Path | BinaryIO, file: TaskFile, rows: TaskRows, outputs: Sequence[OutputField], model: str
) -> Iterator[StepWriter]:
    """A writer for ``out``: an open stream, or a file that takes its name when everything is written.

    Raises:
        DataError: the file cannot be written.
    """
    if not isinstance(out, Path):
        yield _Lines(out, rows, outputs, model)
        out.flush()
    elif out.suffix.lower() in HDF5:
        with create_file(out) as made:
            yield _StepFile(made, file, rows, outputs, model)
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
            numbers = len(output.names) or output.length
            inner = () if numbers == 1 and not output.names else (numbers,)
            grows = {"maxshape": (None, *inner)} if rows is None else {}
            data = made.create_dataset(output.name, (rows or 0, *inner), _TYPES[output.kind], **grows)
            if output.names:
                data.attrs["names"] = json.dumps(output.names)
            if output.texts:
                data.attrs["texts"] = json.dumps(output.texts)
            self._columns.append((output, slice(place, place + numbers), data))
            place += numbers

    def write(self, first: int, numbers: Floats) -> None:
        """Write rows (n, M) from ``first`` on."""
        for output, columns, data in self._columns:
            if len(data) < first + len(numbers):
                data.resize(first + len(numbers), axis=0)
            values = _stored(output, numbers[:, columns])
            data[first : first + len(numbers)] = values.reshape(len(numbers), *data.shape[1:])


_TYPES = {"float32": "f4", "float64": "f8", "distance": "f4", "whole": "i8", "text": "i2"}


def _stored(output: OutputField, numbers: Floats) -> NDArray[Any]:
    if output.kind in ("whole", "text"):
        return np.where(np.isfinite(numbers), numbers, -1).astype(_TYPES[output.kind])
    known = np.isfinite(numbers) & (numbers >= 0 if output.kind == "distance" else True)
    return np.where(known, numbers, np.nan)
