"""The outputs of the offline reference, and their files: JSON lines as on the wire, or HDF5."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import h5py
import numpy as np

from core.arrays import Float32s, Int64s
from core.data.naming import SequenceNames, stream_name
from core.data.outputs import create_file, create_lines
from core.data.recording import Recording
from core.data.runs import default_streams, event_times_ms, run_start_ms
from core.data.task_rows import OFFLINE
from core.wire.records import Prediction, Score, encoder, published

_HDF5 = (".h5", ".hdf5")
_COLUMNS = {
    "cast": "i8",
    "step": "i8",
    "start": "i8",
    "length": "i4",
    "timestamp_ms": "i8",
    "probability": "f8",  # NaN: the cast is too short, or the number is not finite
    "attention_peak": "i8",  # -1: the same
    "final": "i1",
}
_BUFFER = 4096
# Predictions that are written to HDF5 at once: 4 MiB.
_BUFFERED_VALUES = 1 << 20


@dataclass(frozen=True)
class SignalPart:
    """Predictions (T,), float32, of one row from ``step`` on: the whole row, except of very long ones."""

    row: int
    step: int
    predictions: Float32s


@dataclass(frozen=True)
class CastScore:
    """One score of the cast in ``row``, of the window ``[start, end)``; the two results are None if it is too short."""

    row: int
    start: int
    end: int
    final: bool
    probability: float | None = None
    attention_peak: int | None = None


@dataclass(frozen=True)
class FileRows:
    """Names and times of the rows of a file, as a replay with the same arguments gives them.

    ``steps`` and ``positions`` are int64 (rows,): the samples of each row, and those of its stream before it.
    """

    kind: str
    names: SequenceNames
    streams: int
    start_ms: int
    period_ms: float
    steps: Int64s
    positions: Int64s

    @classmethod
    def of(cls, file: Recording, kind: str, run: str | None, streams: int | None, start_ms: int | None) -> FileRows:
        """The rows of an open file; None stands for the default streams, and for the start told by ``run``, else 0."""
        if kind == "signal":
            count, length = file["mixed_signals"].shape
            steps = np.full(count, length, np.int64)
        else:
            steps = file["cast_length"][:].astype(np.int64)
        streams = streams or default_streams(kind, len(steps))
        positions = np.zeros_like(steps)
        for stream in range(min(streams, len(steps))):
            positions[stream + streams :: streams] = np.cumsum(steps[stream::streams])[:-1]
        start_ms = (run_start_ms(run or "") or 0) if start_ms is None else start_ms
        names = SequenceNames((OFFLINE if file.names is None else "") if run is None else run, file.names)
        return cls(kind, names, streams, start_ms, 1000.0 / file.rate_hz, steps, positions)

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(self.steps)

    def stream(self, row: int) -> str:
        """The stream that plays ``row``."""
        return stream_name(self.kind, row, self.streams)

    def sequence(self, row: int) -> str:
        """The sequence that ``row`` is."""
        return self.names.name(row)

    def times_ms(self, row: int, step: int, count: int) -> list[int]:
        """The event times of ``count`` steps of ``row``, from ``step`` on."""
        return event_times_ms(self.start_ms, int(self.positions[row]) + step, count, self.period_ms)


class Writer(Protocol):
    """Takes the results in the order of the rows."""

    def signal(self, part: SignalPart) -> None:
        """Write predictions."""

    def score(self, score: CastScore) -> None:
        """Write a score."""


@contextmanager
def writer(out: Path | BinaryIO, rows: FileRows, model: str) -> Iterator[Writer]:
    """A writer for ``out``: an open stream, or a file that takes its name when everything is written.

    Raises:
        DataError: the file cannot be written.
    """
    if not isinstance(out, Path):
        yield _JSONLines(out, rows, model)
        out.flush()
    elif out.suffix.lower() in _HDF5:
        with create_file(out) as file:
            results = _HDF5File(file, rows, model)
            yield results
            results.flush()
    else:
        with create_lines(out) as stream:
            yield _JSONLines(stream, rows, model)


class _JSONLines:
    """One line for each record that the worker publishes, with the same fields."""

    def __init__(self, stream: BinaryIO, rows: FileRows, model: str) -> None:
        self._stream = stream
        self._rows = rows
        self._model = model
        self._encode = encoder("json")

    def signal(self, part: SignalPart) -> None:
        rows, row = self._rows, part.row
        times = rows.times_ms(row, part.step, len(part.predictions))
        names, model, encode = (rows.stream(row), rows.sequence(row)), self._model, self._encode
        samples = zip(times, part.predictions.tolist(), strict=True)
        self._stream.writelines(
            encode(Prediction(*names, step, time_ms, value, model)) + b"\n"
            for step, (time_ms, value) in enumerate(samples, part.step)
        )

    def score(self, score: CastScore) -> None:
        rows, row, step = self._rows, score.row, score.end - 1
        probability, peak, reason = published(score.probability, score.attention_peak)
        self._stream.write(
            self._encode(
                Score(
                    stream=rows.stream(row),
                    sequence=rows.sequence(row),
                    step=step,
                    start=score.start,
                    length=score.end - score.start,
                    timestamp_ms=rows.times_ms(row, step, 1)[0],
                    probability=probability,
                    attention_peak=peak,
                    final=score.final,
                    model=self._model,
                    reason=reason,
                )
            )
            + b"\n"
        )


class _HDF5File:
    """Signals: ``predictions`` (rows, T). Casts: a group ``scores`` of columns. Both: what each row is called."""

    def __init__(self, file: h5py.File, rows: FileRows, model: str) -> None:
        self._file = file
        self._rows = rows
        self._buffer: list[tuple[Any, ...]] = []
        self._parts: list[SignalPart] = []
        file.attrs.update({"kind": rows.kind, "model": model, "run": rows.names.prefix, "start_ms": rows.start_ms})
        text = h5py.string_dtype()
        names = range(rows.count)
        file.create_dataset("stream", data=[rows.stream(row) for row in names], dtype=text)
        file.create_dataset("sequence", data=[rows.sequence(row) for row in names], dtype=text)
        if rows.kind == "signal":
            file.create_dataset("predictions", (rows.count, int(rows.steps[0])), "f4")
            return
        for name, dtype in _COLUMNS.items():
            file.create_dataset(f"scores/{name}", (0,), dtype, maxshape=(None,), chunks=(_BUFFER,))

    def signal(self, part: SignalPart) -> None:
        follows = bool(self._parts) and (part.row, part.step) == (self._parts[-1].row + 1, self._parts[0].step)
        full = len(self._parts) * len(part.predictions) >= _BUFFERED_VALUES
        if full or not follows or len(part.predictions) != len(self._parts[-1].predictions):
            self._flush_parts()
        self._parts.append(part)

    def _flush_parts(self) -> None:
        """Write parts of neighbouring rows at once."""
        if self._parts:
            first, values = self._parts[0], np.stack([part.predictions for part in self._parts])
            end = first.step + values.shape[1]
            self._file["predictions"][first.row : first.row + len(values), first.step : end] = values
        self._parts = []

    def score(self, score: CastScore) -> None:
        time_ms = self._rows.times_ms(score.row, score.end - 1, 1)[0]
        found, place, _ = published(score.probability, score.attention_peak)
        probability, peak = np.nan if found is None else found, -1 if place is None else place
        length = score.end - score.start
        self._buffer.append(
            (score.row, score.end - 1, score.start, length, time_ms, probability, peak, int(score.final))
        )
        if len(self._buffer) == _BUFFER:
            self.flush()

    def flush(self) -> None:
        self._flush_parts()
        if self._buffer:
            for name, values in zip(_COLUMNS, zip(*self._buffer, strict=True), strict=True):
                column = self._file[f"scores/{name}"]
                column.resize(len(column) + len(values), axis=0)
                column[-len(values) :] = values
        self._buffer = []
