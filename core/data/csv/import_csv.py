"""Turn a user's own recordings, a CSV, into a castings file or a signals file.

The CSV has one sample on each line under a header; columns have the names of the wire. A cast's lines stand together,
or ``step`` or a time gives their order. A file in order is read in bounded memory; a file in disorder takes about 60
bytes a line. Samples wait on the disk, beside the result, until all lines are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from typing import Any

import h5py

from core.callbacks import OnNote, OnProgress, unheard
from core.data.csv.bad_lines import BadLines
from core.data.csv.casts import CastImport, CastSummary
from core.data.csv.header import NoHeaderError, mentions, read_header
from core.data.csv.lines import LineSplitter
from core.data.csv.names import Renamed
from core.data.csv.numbers import Decimal
from core.data.csv.order import Sorted
from core.data.csv.samples import Samples
from core.data.csv.sequences import Sequences
from core.data.csv.signals import SignalImport, SignalSummary
from core.data.csv.table import MAX_PREAMBLE, Table
from core.data.outputs import create_file, keep_inputs
from core.errors import DataError, RecordError, StartupError
from core.firsts import Firsts
from core.tasks import Task

Lines = Iterable[tuple[int, bytes | None]]
Import = CastImport | SignalImport

IMPORTS: dict[Task, type[Import]] = {"casting": CastImport, "signal": SignalImport}
# Fields that a column can be given to.
FIELDS = tuple(dict.fromkeys((*CastImport.columns.known, *SignalImport.columns.known)))
READ_BYTES = 1 << 20
# Casts are taken at 1 Hz: times that differ from it by more than this are reported.
_RATE_TOLERANCE = 0.1


@dataclass(frozen=True)
class ImportOptions:
    """Choices for reading a CSV, where its header and lines do not say it.

    ``task``: None goes by the columns. ``renamed``: names of fields in the file. ``decimal``: its decimal sign.
    ``skip_bad``: leave lines out that cannot be used. ``sampling_rate``: of signals, in Hz.
    """

    task: Task | None = None
    renamed: Renamed = field(default_factory=dict)
    decimal: Decimal | None = None
    skip_bad: bool = False
    sampling_rate: float | None = None


def import_csv(
    path: str | Path,
    out: str | Path,
    on_progress: OnProgress = unheard,
    options: ImportOptions | None = None,
    on_notice: OnNote = unheard,
) -> CastSummary | SignalSummary:
    """Write the recordings of the CSV ``path`` to ``out``, sequences in the order in which their first lines stand.

    Missing steps are closed up, as the gap policy ``step`` does. The file appears under its name when it is complete.

    Args:
        path: the CSV.
        out: the HDF5 file; its dataset ``sequence`` keeps the sequences' names.
        on_progress: told the bytes read so far and their total.
        options: how it is read.
        on_notice: told, once each, what is skipped, not used or doubtful.

    Raises:
        DataError: the CSV cannot be read, its header lacks a column, or lines cannot be used: the first few are named
            by their numbers. Or ``out`` cannot be written.
    """
    path, out, options = Path(path), Path(out), options or ImportOptions()
    firsts = Firsts()

    def notice(text: str) -> None:
        if firsts.take(text):
            on_notice(text)

    keep_inputs([out], [path])
    with _open(path) as source, create_file(out) as file:
        with _named(path):
            lines = _lines(path, source, on_progress)
            head = list(islice(lines, MAX_PREAMBLE))
            task = options.task or _task_of(head, options.renamed)
            made, bad = _import(task, chain(head, lines), file, out.absolute().parent, options, notice)
        return replace(made, left_out=bad.left_out())


def _import(
    task: Task, lines: Lines, file: h5py.File, folder: Path, options: ImportOptions, notice: OnNote
) -> tuple[CastSummary | SignalSummary, BadLines]:
    kind = IMPORTS[task]
    table = Table(kind.columns, options.renamed, options.decimal, notice)
    with Samples(folder, kind.width) as samples:
        sequences = Sequences(table, samples, "cast" if task == "casting" else "sequence", notice)
        rows, bad = kind(table, samples, sequences), BadLines(options.skip_bad)
        if isinstance(rows, SignalImport):
            rows.sampling_rate, rows.any_length = options.sampling_rate, options.skip_bad
        _read(lines, table, rows, bad)
        if not samples.count:
            raise StartupError("holds no samples: there is nothing below its header")
        if task == "casting":
            _check_rate(sequences, notice)
        return rows.write(file, _sorted(sequences, samples, bad)), bad


def _read(lines: Lines, table: Table, rows: Import, bad: BadLines) -> None:
    for number, line in lines:
        if not table.begun:
            table.begin(number, line)
            continue
        try:
            row: Any = table.read(number, line, rows.parse)
            if row is not None:
                rows.add(number, row)
        except RecordError as error:
            bad.add(number, str(error), table.peek(line, "sequence"))
    if not table.begun:
        table.refuse()
    bad.refuse()


def _sorted(sequences: Sequences, samples: Samples, bad: BadLines) -> Sorted:
    done = sequences.sort()
    for line, sequence, key in done.repeats:
        (name,) = sequences.names([sequence])
        if sequences.by == "time":
            raise StartupError(
                f"line {line}: the times of {name!r} go back here and forward elsewhere: sort the file by time, or "
                "give a column step"
            )
        bad.add(line, f"{sequences.what} {name!r} has step {key} twice", name)
    bad.refuse()
    bad.count += samples.count - int(done.lengths.sum()) - len(done.repeats)
    return done


def _check_rate(sequences: Sequences, notice: OnNote) -> None:
    rate = sequences.rate_hz()
    if rate is not None and abs(rate - 1.0) > _RATE_TOLERANCE:
        notice(f"by their times the samples come at {rate:g} Hz: casts are taken at 1 Hz")


def _task_of(head: Iterable[tuple[int, bytes | None]], renamed: Renamed) -> Task:
    """The task whose columns the first lines name; casting where they name none."""
    for number, line in head:
        text = "" if line is None else line.decode("utf-8-sig", "replace")
        with suppress(NoHeaderError, StartupError):
            read_header(text, number, CastImport.columns, renamed)
            return "casting"
        if mentions(text, "signal", renamed):
            return "signal"
    return "casting"


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give errors about the CSV its name."""
    try:
        yield
    except DataError:
        raise
    except StartupError as error:
        raise DataError(path, str(error)) from error


def _open(path: Path) -> BufferedReader:
    if not path.exists():
        raise DataError(path, "no such file")
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error


def _lines(path: Path, source: BufferedReader, on_progress: OnProgress) -> Iterator[tuple[int, bytes | None]]:
    """The lines that are not empty, with their numbers from 1."""
    total, done, number, splitter = path.stat().st_size, 0, 0, LineSplitter()
    while True:
        block = _read_block(path, source)
        for line in splitter.feed(block) if block else splitter.end():
            number += 1
            if line is None or line.strip():
                yield number, line
        if not block:
            return
        done += len(block)
        on_progress(done, total)


def _read_block(path: Path, source: BufferedReader) -> bytes:
    try:
        return source.read1(READ_BYTES)  # of a pipe what is there, so that Ctrl-C is heard in between
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
