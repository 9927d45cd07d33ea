"""Turn a user's own recordings, a CSV, Parquet or Feather file, into a file of castings, signals or a declared task.

The table has one sample on each line under a header; columns have the names of the wire. A cast's lines stand together,
or ``step`` or a time gives their order. A file in order is read in bounded memory; a file in disorder takes about 60
bytes a line. Samples wait on the disk, beside the result, until all lines are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from typing import Any

import h5py

from core.callbacks import OnNote, OnProgress, unheard
from core.data.csv.arrow import ArrowTable, ColumnarFile, Rows, header_of, is_columnar
from core.data.csv.bad_lines import BadLines
from core.data.csv.casts import CastImport, CastSummary
from core.data.csv.header import Columns, NoHeaderError, mentions, read_header
from core.data.csv.lines import LineSplitter
from core.data.csv.names import Renamed
from core.data.csv.numbers import Decimal
from core.data.csv.order import Sorted
from core.data.csv.samples import Samples
from core.data.csv.sequences import Sequences
from core.data.csv.signals import SignalImport, SignalSummary
from core.data.csv.table import MAX_PREAMBLE, Table
from core.data.csv.tasks import TaskImport, TaskSummary
from core.data.outputs import create_file, keep_inputs
from core.errors import DataError, RecordError, StartupError
from core.firsts import Firsts
from core.tasks import Task
from core.tasks.declaration import Declaration

Lines = Iterable[tuple[int, bytes | None]]
Import = CastImport | SignalImport | TaskImport
ImportSummary = CastSummary | SignalSummary | TaskSummary

IMPORTS: dict[Task, type[CastImport] | type[SignalImport]] = {"casting": CastImport, "signal": SignalImport}
# Fields that a column can be given to.
FIELDS = tuple(dict.fromkeys((*CastImport.columns.known, *SignalImport.columns.known)))
READ_BYTES = 1 << 20
# Casts are taken at 1 Hz: times that differ from it by more than this are reported.
_RATE_TOLERANCE = 0.1


@dataclass(frozen=True)
class ImportOptions:
    """Choices for reading a CSV, where its header and lines do not say it.

    ``task``: None goes by the columns. ``renamed``: names of fields in the file. ``decimal``: its decimal sign.
    ``skip_bad``: leave lines out that cannot be used. ``sampling_rate``: of signals, and of a declared task, in Hz.
    ``declaration``: the task is this one, of a user's own. ``texts``: columns of texts, as `Columns` has them.
    """

    task: Task | None = None
    renamed: Renamed = field(default_factory=dict)
    decimal: Decimal | None = None
    skip_bad: bool = False
    sampling_rate: float | None = None
    declaration: Declaration | None = None
    texts: Mapping[str, dict[str, int]] = field(default_factory=dict)


def fields_of(declaration: Declaration | None) -> tuple[str, ...]:
    """The fields that a column can be given to: of a declared task, or of those that ship."""
    return FIELDS if declaration is None else TaskImport.columns(declaration).known


def import_csv(
    path: str | Path,
    out: str | Path,
    on_progress: OnProgress = unheard,
    options: ImportOptions | None = None,
    on_notice: OnNote = unheard,
) -> ImportSummary:
    """Write the recordings of the table ``path`` to ``out``, sequences in the order in which their first lines stand.

    Missing steps are closed up, as the gap policy ``step`` does. The file appears under its name when it is complete.

    Args:
        path: the CSV; or a Parquet or Feather file, whose rows are checked in the same way.
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
    with _open(path) as source, create_file(out) as file, _named(path):
        work = _Work(file, out.absolute().parent, options, notice)
        if is_columnar(path):
            made, bad = _import_columns(ColumnarFile(path, _arrays(options.declaration)), work, on_progress)
        else:
            made, bad = _import_lines(_lines(path, source, on_progress), work)
        return replace(made, left_out=bad.left_out())


@dataclass(frozen=True)
class _Work:
    """The output and the choices of an import."""

    file: h5py.File
    folder: Path
    options: ImportOptions
    notice: OnNote


def _import_lines(lines: Lines, work: _Work) -> tuple[ImportSummary, BadLines]:
    lines, options = iter(lines), work.options
    head = list(islice(lines, MAX_PREAMBLE)) if _is_open(options) else []
    task = _task_of(head, options.renamed) if _is_open(options) else options.task
    table = Table(_columns(task, options), options.renamed, options.decimal, work.notice)
    bad = BadLines(options.skip_bad)
    return _import(task, table, lambda rows: _read(chain(head, lines), table, rows, bad), bad, work)


def _import_columns(source: ColumnarFile, work: _Work, on_progress: OnProgress) -> tuple[ImportSummary, BadLines]:
    options = work.options
    task = _task_of_names(source.names, options.renamed) if _is_open(options) else options.task
    table = ArrowTable(_columns(task, options), options.renamed, None, work.notice)
    table.begin_names(source.names)
    bad = BadLines(options.skip_bad, "row")
    return _import(
        task, table, lambda rows: _read_rows(source.read(on_progress, table.used), table, rows, bad), bad, work
    )


def _arrays(declaration: Declaration | None) -> dict[str, tuple[str, ...]]:
    """The names under which a column may hold all numbers of an array, with the columns of those."""
    fields = () if declaration is None else declaration.fields
    return {
        name: field.columns for field in fields if field.length is not None for name in (field.name, *field.aliases)
    }


def _is_open(options: ImportOptions) -> bool:
    """True if the columns have to tell the task."""
    return options.task is None and options.declaration is None


def _columns(task: Task | None, options: ImportOptions) -> Columns:
    if options.declaration is not None:
        return replace(TaskImport.columns(options.declaration), texts=options.texts)
    assert task is not None
    return IMPORTS[task].columns


def _import(
    task: Task | None, table: Table, read: Callable[[Import], None], bad: BadLines, work: _Work
) -> tuple[ImportSummary, BadLines]:
    width = IMPORTS[task].width if task is not None else len(table.columns.numbers)
    with Samples(work.folder, width) as samples:
        sequences = Sequences(table, samples, "cast" if task == "casting" else "sequence", work.notice)
        rows = _rows_of(task, table, samples, sequences, work)
        read(rows)
        if not samples.count:
            raise StartupError("holds no samples: there is nothing below its header")
        if task == "casting":
            _check_rate(sequences, work.notice)
        return rows.write(work.file, _sorted(sequences, samples, bad)), bad


def _rows_of(task: Task | None, table: Table, samples: Samples, sequences: Sequences, work: _Work) -> Import:
    options = work.options
    if options.declaration is not None:
        return TaskImport(options.declaration, table, samples, sequences, work.folder, options.sampling_rate)
    assert task is not None
    rows = IMPORTS[task](table, samples, sequences)
    if isinstance(rows, SignalImport):
        rows.sampling_rate, rows.any_length = options.sampling_rate, options.skip_bad
    return rows


def _read_rows(source: Rows, table: ArrowTable, rows: Import, bad: BadLines) -> None:
    for number, cells in source:
        try:
            row: Any = table.read_cells(cells, rows.parse)
            rows.add(number, row)
        except RecordError as error:
            bad.add(number, str(error), table.cell(cells, "sequence"))
    bad.refuse()


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
                f"{bad.what} {line}: the times of {name!r} go back here and forward elsewhere: sort the file by time, "
                "or give a column step"
            )
        bad.add(line, f"{sequences.what} {name!r} has step {key} twice", name)
    bad.refuse()
    bad.count += samples.count - int(done.lengths.sum()) - len(done.repeats)
    return done


def _check_rate(sequences: Sequences, notice: OnNote) -> None:
    rate = sequences.rate_hz()
    if rate is not None and abs(rate - 1.0) > _RATE_TOLERANCE:
        notice(f"by their times the samples come at {rate:g} Hz: casts are taken at 1 Hz")


def _task_of_names(names: Iterable[str], renamed: Renamed) -> Task:
    """The task whose columns a table names."""
    return _task_of([(0, header_of(names).encode())], renamed)


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
