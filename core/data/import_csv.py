"""A user's own casts: a CSV becomes a castings file.

One sample on each line under a header (comma, semicolon or tab; decimal points). Columns have the names of the wire:
``sequence`` names the cast, the five sensors follow; ``step``, ``label``, ``defect_probability`` and ``trigger`` may be
there. A cast's lines stand together, or ``step`` says how they follow on each other. A file in order is read in bounded
memory; one in disorder takes about 60 bytes a line.
"""

from __future__ import annotations

import csv
import json
import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from core.chunk import WindowRules
from core.data.layout import create_file, write_text
from core.errors import DataError
from core.records import MAX_SEQUENCE_BYTES, MAX_STEP, MAX_VALUE, SENSORS

OnProgress = Callable[[int, int], None]

REQUIRED = ("sequence", *SENSORS)
OPTIONAL = ("step", "label", "defect_probability", "trigger")
# A longer line is no sample.
MAX_LINE_BYTES = 1 << 20
# Places where a line does not follow on the one before; 40 bytes are kept of each.
MAX_RUNS = 20_000_000
NAMED = 5  # bad lines in an error's text
BLOCK = 1 << 14
UNKNOWN = -1
_EMPTY = ("", "nan", "NaN", "null", "None")


@dataclass(frozen=True)
class ImportSummary:
    """What a castings file was made of.

    ``gaps`` counts the steps that are missing inside casts, ``short`` the casts with too few samples for a score.
    ``ignored`` are the columns without a meaning here.
    """

    casts: int
    samples: int
    defective: int
    good: int
    unknown: int
    short: int
    gaps: int
    ignored: tuple[str, ...]


class _LineError(Exception):
    """One line that cannot be used."""


class _Row(NamedTuple):
    """One sample. Where a cell is empty or has no column: None, and for the label `UNKNOWN`."""

    sequence: str
    step: int | None
    values: list[float]
    label: int
    probability: float | None
    trigger: str | None


def import_csv(path: str | Path, out: str | Path, on_progress: OnProgress | None = None) -> ImportSummary:
    """Write the casts of the CSV ``path`` to ``out``, in the order in which their first lines stand.

    Missing steps are closed up, as the gap policy ``step`` does. The file appears under its name when it is complete.

    Args:
        path: the CSV.
        out: the HDF5 file; its dataset ``sequence`` keeps the casts' names.
        on_progress: told the bytes read so far and their total.

    Raises:
        DataError: the CSV cannot be read, its header lacks a column, or lines cannot be used: the first few are named
            by their numbers. Or ``out`` cannot be written.
    """
    path, out = Path(path), Path(out)
    with _open(path) as source, create_file(_other_than(path, out)) as file:
        lines = _lines(path, source, on_progress)
        layout = _Layout(path, next(lines, (1, b"")))
        casts, bad = _Casts(file), _BadLines(path)
        for number, line in lines:
            try:
                casts.add(number, layout.row(line))
            except _LineError as error:
                bad.add(number, str(error))
        bad.refuse()
        if not casts.names:
            raise DataError(path, "holds no samples: there is nothing below its header")
        return casts.write(bad, layout.ignored)


def _other_than(path: Path, out: Path) -> Path:
    if out.exists() and out.samefile(path):
        raise DataError(out, "is the file to read: give the result another name")
    return out


def _open(path: Path) -> BinaryIO:
    if not path.exists():
        raise DataError(path, "no such file")
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error


def _lines(path: Path, source: BinaryIO, on_progress: OnProgress | None) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, with their numbers from 1."""
    total, done, told, number = path.stat().st_size, 0, 0, 0
    while line := _read_line(path, source, number + 1):
        number += 1
        done += len(line)
        if on_progress is not None and (done - told > 1 << 20 or done == total):
            on_progress(done, total)
            told = done
        if line.strip():
            yield number, line


def _read_line(path: Path, source: BinaryIO, number: int) -> bytes:
    try:
        line = source.readline(MAX_LINE_BYTES)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
    if len(line) == MAX_LINE_BYTES:
        raise DataError(path, f"line {number} is longer than {MAX_LINE_BYTES:,} bytes: that is no CSV of samples")
    return line


class _Layout:
    """The header: where in a line each column stands. ``ignored`` are the columns without a meaning.

    Raises:
        DataError: the line is no header with the columns that are needed.
    """

    def __init__(self, path: Path, first: tuple[int, bytes]) -> None:
        number, line = first
        try:
            text = line.decode("utf-8-sig").strip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(path, "is no text in UTF-8: a CSV with a header is needed") from error
        self._delimiter = max(",;\t", key=text.count)
        self._names = [name.strip() for name in next(csv.reader([text], delimiter=self._delimiter), [])]
        self._check(path, number)
        self._at = {name: self._names.index(name) for name in (*REQUIRED, *OPTIONAL) if name in self._names}
        self._sensors = [self._at[name] for name in SENSORS]
        self.ignored = tuple(name for name in self._names if name and name not in self._at)

    def _check(self, path: Path, number: int) -> None:
        missing = [name for name in REQUIRED if name not in self._names]
        if missing:
            raise DataError(path, f"the header (line {number}) lacks the columns {', '.join(missing)}")
        twice = [name for name in (*REQUIRED, *OPTIONAL) if self._names.count(name) > 1]
        if twice:
            raise DataError(path, f"the header (line {number}) has the column {twice[0]} twice")

    def row(self, line: bytes) -> _Row:
        """The sample of one line.

        Raises:
            _LineError: it cannot be used.
        """
        cells = self._cells(line)
        return _Row(
            self._sequence(cells),
            self._step(cells),
            self._values(cells),
            self._label(cells),
            self._probability(cells),
            self._trigger(cells),
        )

    def _cells(self, line: bytes) -> list[str]:
        try:
            text = line.decode().strip("\r\n")
        except UnicodeDecodeError as error:
            raise _LineError(f"is not UTF-8: {error.reason}") from error
        quoted = '"' in text
        cells = next(csv.reader([text], delimiter=self._delimiter)) if quoted else text.split(self._delimiter)
        if len(cells) != len(self._names):
            raise _LineError(f"has {len(cells)} cells, the header has {len(self._names)}")
        return cells

    def _sequence(self, cells: list[str]) -> str:
        name = cells[self._at["sequence"]].strip()
        if not name:
            raise _LineError("sequence is empty: it names the cast")
        if len(name.encode()) > MAX_SEQUENCE_BYTES:
            raise _LineError(f"sequence is {name[:40]!r}...: at most {MAX_SEQUENCE_BYTES} bytes")
        return name

    def _step(self, cells: list[str]) -> int | None:
        at = self._at.get("step")
        if at is None:
            return None
        step = _number("step", cells[at])
        if step != int(step) or not 0 <= step <= MAX_STEP:
            raise _LineError(f"step is {cells[at].strip()}: must be a whole number from 0")
        return int(step)

    def _values(self, cells: list[str]) -> list[float]:
        try:
            values = [float(cells[at]) for at in self._sensors]
        except ValueError:
            values = [_number(name, cells[at]) for name, at in zip(SENSORS, self._sensors, strict=True)]
        if not all(-MAX_VALUE <= value <= MAX_VALUE for value in values):  # false for NaN, too
            wrong = next(i for i, value in enumerate(values) if not -MAX_VALUE <= value <= MAX_VALUE)
            raise _LineError(f"{SENSORS[wrong]} is {values[wrong]}: must be a number within {MAX_VALUE:g}")
        return values

    def _label(self, cells: list[str]) -> int:
        cell = self._cell(cells, "label")
        if cell is None:
            return UNKNOWN
        label = _number("label", cell)
        if label not in (0, 1, UNKNOWN):
            raise _LineError(f"label is {cell[:40]}: must be 1 (defective), 0 (good), or -1 or empty (unknown)")
        return int(label)

    def _probability(self, cells: list[str]) -> float | None:
        cell = self._cell(cells, "defect_probability")
        if cell is None:
            return None
        probability = _number("defect_probability", cell)
        if not 0 <= probability <= 1:
            raise _LineError(f"defect_probability is {cell[:40]}: must be from 0 to 1, or empty")
        return probability

    def _trigger(self, cells: list[str]) -> str | None:
        cell = self._cell(cells, "trigger")
        if cell is not None and ("\0" in cell or len(cell.encode()) > MAX_SEQUENCE_BYTES):
            raise _LineError(f"trigger is {cell[:40]!r}...: at most {MAX_SEQUENCE_BYTES} bytes of text")
        return cell

    def _cell(self, cells: list[str], name: str) -> str | None:
        at = self._at.get(name)
        cell = "" if at is None else cells[at].strip()
        return None if cell in _EMPTY else cell


def _number(name: str, cell: str) -> float:
    cell = cell.strip()
    try:
        number = float(cell)
    except ValueError as error:
        if not cell:
            raise _LineError(f"{name} is empty") from error
        hint = " with a decimal point" if "," in cell else ""
        raise _LineError(f"{name} is {cell[:40]!r}: must be a number{hint}") from error
    if not math.isfinite(number):
        raise _LineError(f"{name} is {cell}: must be a finite number")
    return number


class _BadLines:
    """The lines that cannot be used: the first few in words, the rest counted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._named: list[str] = []
        self._count = 0

    def add(self, number: int, why: str) -> None:
        self._count += 1
        if self._count <= NAMED:
            self._named.append(f"line {number}: {why}")

    def refuse(self) -> None:
        """Raises: DataError: there are such lines."""
        if self._count:
            more = f"; and {self._count - NAMED:,} more lines" if self._count > NAMED else ""
            raise DataError(self._path, f"{'; '.join(self._named)}{more}")


class _Runs:
    """The order of the lines, as runs: neighbouring lines of one cast whose steps follow on each other."""

    def __init__(self) -> None:
        self.cast, self.step, self.line, self.row = array("q"), array("q"), array("q"), array("q")
        self.rows = 0  # of all runs
        self._next: tuple[int, int] | None = None  # the cast and step that would go on with the last run

    def add(self, cast: int, step: int, line: int) -> None:
        if (cast, step) != self._next:
            if len(self.row) == MAX_RUNS:
                raise _LineError(f"more than {MAX_RUNS:,} lines out of order: sort the file by sequence and step")
            self.cast.append(cast)
            self.step.append(step)
            self.line.append(line)
            self.row.append(self.rows)
        self.rows += 1
        self._next = (cast, step + 1)


class _Casts:
    """Collects samples: sensors go to the file as they come, the casts' other facts stay in memory."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._sensors = [
            file.create_dataset(name, (0,), "f4", maxshape=(None,), chunks=(BLOCK,), track_times=False)
            for name in SENSORS
        ]
        self._block: list[list[float]] = []
        self._runs = _Runs()
        self._last = -1
        self.names: dict[str, int] = {}
        self._lengths, self._labels, self._probabilities = array("q"), array("b"), array("d")
        self._triggers: list[str] = []

    def add(self, line: int, row: _Row) -> None:
        """Raises: _LineError: the row contradicts an earlier one."""
        cast = self.names.get(row.sequence)
        if cast is None:
            cast = self._new(row.sequence)
        elif row.step is None and cast != self._last:
            raise _LineError(
                f"cast {row.sequence!r} goes on after another: keep its lines together, or give a column step"
            )
        self._agree(cast, row)
        self._runs.add(cast, self._lengths[cast] if row.step is None else row.step, line)
        self._lengths[cast] += 1
        self._last = cast
        self._block.append(row.values)
        if len(self._block) == BLOCK:
            self._flush()

    def _new(self, name: str) -> int:
        self.names[name] = len(self.names)
        self._lengths.append(0)
        self._labels.append(UNKNOWN)
        self._probabilities.append(math.nan)
        self._triggers.append("")
        return self.names[name]

    def _agree(self, cast: int, row: _Row) -> None:
        """What is said of the cast may stand in all of its lines or in some, but must be the same."""
        if row.label != UNKNOWN:
            _same("label", self._labels[cast], row.label, UNKNOWN)
            self._labels[cast] = row.label
        if row.probability is not None:
            _same("defect_probability", self._probabilities[cast], row.probability, math.nan)
            self._probabilities[cast] = row.probability
        if row.trigger is not None:
            _same("trigger", self._triggers[cast], row.trigger, "")
            self._triggers[cast] = row.trigger

    def _flush(self) -> None:
        values = np.array(self._block, np.float32).reshape(-1, len(SENSORS))
        for column, data in enumerate(self._sensors):
            data.resize(len(data) + len(values), axis=0)
            data[len(data) - len(values) :] = values[:, column]
        self._block = []

    def write(self, bad: _BadLines, ignored: tuple[str, ...]) -> ImportSummary:
        """Put the samples in order and complete the file.

        Raises:
            DataError: a step of a cast is there twice.
        """
        self._flush()
        gaps = self._sort(bad)
        lengths, labels = np.array(self._lengths), np.array(self._labels)
        _write_casts(self._file, lengths, labels, np.array(self._probabilities), self._triggers, list(self.names))
        return ImportSummary(
            casts=len(lengths),
            samples=int(lengths.sum()),
            defective=int((labels == 1).sum()),
            good=int((labels == 0).sum()),
            unknown=int((labels == UNKNOWN).sum()),
            short=int((lengths < WindowRules().window_min).sum()),
            gaps=gaps,
            ignored=ignored,
        )

    def _sort(self, bad: _BadLines) -> int:
        """Sort the sensors' values by cast and step; the number of steps that are missing inside casts."""
        runs = self._runs
        cast, step, row = (np.array(values) for values in (runs.cast, runs.step, runs.row))
        rows = np.diff(np.append(row, runs.rows))
        order = np.lexsort((step, cast))  # stable: of equal steps the earlier line comes first
        missing = step[order][1:] - (step + rows)[order][:-1]
        inside = np.diff(cast[order]) == 0
        self._refuse_repeats(order[1:][inside & (missing < 0)], bad)
        if (np.diff(order) < 0).any():
            places = _places(row[order], rows[order])
            for data in self._sensors:
                data[:] = data[:][places]
        return int(missing[inside].sum())

    def _refuse_repeats(self, repeated: NDArray[np.int64], bad: _BadLines) -> None:
        names = list(self.names)
        for run in sorted(repeated.tolist(), key=lambda run: self._runs.line[run]):
            name = names[self._runs.cast[run]]
            bad.add(self._runs.line[run], f"cast {name!r} has step {self._runs.step[run]} twice")
        bad.refuse()


def _same(name: str, before: float | str, now: float | str, unknown: float | str) -> None:
    if before not in (unknown, now) and before == before:  # NaN, the unknown probability, differs from itself
        raise _LineError(f"{name} is {now}, on an earlier line of the same cast it is {before}")


def _places(first: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of all rows of runs, one run after the other."""
    ends = np.cumsum(rows)
    places: NDArray[np.int64] = np.repeat(first - (ends - rows), rows) + np.arange(ends[-1])
    return places


def _write_casts(
    file: h5py.File,
    lengths: NDArray[np.int64],
    labels: NDArray[np.int8],
    probabilities: NDArray[np.float64],
    triggers: list[str],
    names: list[str],
) -> None:
    columns = {
        "cast_start": (np.cumsum(lengths) - lengths).astype("i8"),
        "cast_length": lengths.astype("i4"),
        "label": labels.astype("i1"),
        "defect_probability": probabilities.astype("f4"),
    }
    for name, values in columns.items():
        file.create_dataset(name, data=values, track_times=False)
    for name, texts in (("trigger", triggers), ("sequence", names)):
        file.create_dataset(name, data=texts, dtype=h5py.string_dtype(), track_times=False)
    write_text(file, "metadata", json.dumps({"sensors": SENSORS, "casts": len(lengths), "sampling_rate": 1.0}))
    write_text(file, "config", "{}")
