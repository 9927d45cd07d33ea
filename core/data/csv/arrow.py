"""Parquet and Feather files -> rows of cells, so that they are checked as those of a CSV are."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from core.callbacks import OnProgress
from core.data.csv.header import NoHeaderError, read_header
from core.data.csv.table import Table
from core.errors import DataError, StartupError

PARQUET, ARROW, FEATHER_1 = b"PAR1", b"ARROW1", b"FEA1"
BATCH_ROWS = 8192

T = TypeVar("T")
Rows = Iterator[tuple[int, list[str]]]


def is_columnar(path: Path) -> bool:
    """True if a file is Parquet or Feather, by its first bytes. A pipe is none: it can be read only once."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError:
        return False
    return start.startswith((PARQUET, ARROW, FEATHER_1))


class ArrowTable(Table):
    """A table whose columns have names and types; rows come as cells."""

    def begin_names(self, names: Sequence[str]) -> None:
        """Take the names of the columns; raises StartupError: columns are lacking."""
        try:
            self._use(read_header(header_of(names), 0, self.columns, self._renamed, ","))
        except (NoHeaderError, StartupError) as error:
            raise StartupError(_of_columns(str(error))) from error

    @property
    def used(self) -> Container[int]:
        """The places of the cells that are read."""
        return set(self._at.values())

    def read_cells(self, cells: list[str], make: Callable[[list[str]], T]) -> T:
        """Give the cells of a row to ``make``; raises RecordError."""
        return make(cells)


def header_of(names: Iterable[str]) -> str:
    """The line of a CSV that names columns."""
    return ",".join('"{}"'.format(name.replace('"', '""')) for name in names)


def _of_columns(text: str) -> str:
    return text.replace("the header (line 0)", "the table")


class ColumnarFile:
    """An open file of columns.

    Args:
        path: a Parquet or Feather file.
        arrays: names of columns that may hold lists, each with the columns that its numbers stand for.

    Raises:
        DataError: pyarrow is missing, or the file cannot be read.
    """

    def __init__(self, path: Path, arrays: Mapping[str, Sequence[str]]) -> None:
        self._path = path
        with self._errors():
            self.rows, schema, self._batches = _open(path)
            self._arrays = [arrays.get(column.name) if _is_list(column.type) else None for column in schema]
        parts = [held or [column.name] for column, held in zip(schema, self._arrays, strict=True)]
        self.names: list[str] = [name for part in parts for name in part]

    def read(self, on_progress: OnProgress, used: Container[int]) -> Rows:
        """The rows, numbered from 0; the cells of columns that are not ``used`` are empty."""
        number = 0
        batches = self._batches()
        while True:
            with self._errors():
                if (batch := next(batches, None)) is None:
                    return
                columns = self._columns(batch, used)
            for row in zip(*columns, strict=True):
                yield number, list(row)
                number += 1
            on_progress(number, self.rows)

    def _columns(self, batch: Any, used: Container[int]) -> list[list[str]]:
        found: list[list[str]] = []
        for column, parts in zip(batch.columns, self._arrays, strict=True):
            if parts is not None:
                found += _spread(column, len(parts))
            else:
                found.append(_texts(column) if len(found) in used else [""] * len(column))
        return found

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what pyarrow says of a file into an error that names it."""
        try:
            yield
        except DataError:
            raise
        except (OSError, ValueError, KeyError, NotImplementedError, OverflowError) as error:
            lines = str(error).splitlines()
            raise DataError(
                self._path, f"cannot be read: {lines[0][:300] if lines else type(error).__name__}"
            ) from error


def _open(path: Path) -> tuple[int, Any, Callable[[], Iterator[Any]]]:
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(FEATHER_1):
        raise DataError(path, "is a Feather file of version 1: write it again with a newer pandas or pyarrow")
    if start.startswith(PARQUET):
        parquet = _need(path, "pyarrow.parquet")
        file = parquet.ParquetFile(path)
        return file.metadata.num_rows, file.schema_arrow, lambda: file.iter_batches(BATCH_ROWS)
    arrow, ipc = _need(path, "pyarrow"), _need(path, "pyarrow.ipc")
    reader = ipc.open_file(arrow.memory_map(str(path)))
    return _arrow_rows(reader), reader.schema, lambda: _slices(reader)


def _arrow_rows(reader: Any) -> int:
    return sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))


def _slices(reader: Any) -> Iterator[Any]:
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


def _need(path: Path, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            path, f"Parquet and Feather need pyarrow: pip install 'caststream[tables]' ({error})"
        ) from error


def _is_list(kind: Any) -> bool:
    types = importlib.import_module("pyarrow").types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _spread(column: Any, numbers: int) -> list[list[str]]:
    """The cells of a column of lists: a column for each number. A list of another length is no number."""
    rows = []
    for held in column.to_pylist():
        if held is None:
            rows.append([""] * numbers)
        elif len(held) != numbers:
            rows.append([f"a list of {len(held)}, not {numbers}"] * numbers)
        else:
            rows.append([_text(value) for value in held])
    return [list(part) for part in zip(*rows, strict=True)] if rows else [[] for _ in range(numbers)]


def _texts(column: Any) -> list[str]:
    """The cells of a column as a CSV would have them."""
    types = importlib.import_module("pyarrow").types
    if types.is_timestamp(column.type) and column.type.unit == "ns":  # Python has microseconds
        column = column.cast(importlib.import_module("pyarrow").timestamp("us", column.type.tz), safe=False)
    return [_text(value) for value in column.to_pylist()]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return repr(float(value)) if isinstance(value, float) else str(value)
