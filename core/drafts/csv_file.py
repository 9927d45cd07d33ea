"""A CSV -> the draft of a task: its numeric columns become fields."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from core.data.csv.cells import DELIMITERS, split_cells
from core.data.csv.lines import MAX_LINE_BYTES, LineSplitter
from core.data.csv.names import shown
from core.data.csv.numbers import is_number
from core.data.csv.table import MAX_PREAMBLE, MAX_UNITS
from core.data.csv.text import UTF_8, WINDOWS
from core.drafts.columns import Span, fields_of_columns, why_no_column
from core.drafts.draft import Draft, DraftField
from core.drafts.recorded import other_names, period_s
from core.errors import DataError, RecordError

LOOKED_AT = 1_000
"""Lines, the header among them."""
_CHUNK = 1 << 16


class _Read(NamedTuple):
    names: list[str]
    units: dict[str, str]
    rows: list[list[str]]


def draft_of_csv(path: Path) -> Draft:
    """Read the header and the first lines of a CSV.

    Raises:
        DataError: it cannot be read, has no header, or no column of numbers.
    """
    read = _table(path, [*islice(_lines(path), LOOKED_AT)])
    return draft_of_rows(path, read.names, read.units, read.rows, f"the header and the first {len(read.rows):,} lines")


def draft_of_rows(
    path: Path, names: list[str], units: Mapping[str, str], rows: Sequence[Sequence[str]], what: str
) -> Draft:
    """Make a draft of the columns of a table.

    Args:
        names: of the columns; "" has none.
        units: of columns, where they are known.
        rows: the first ones, as cells.
        what: was read of the file.

    Raises:
        DataError: no column has numbers.
    """
    columns = {name: [row[place].strip() for row in rows] for place, name in enumerate(names) if name}
    skipped = {name: why for name, cells in columns.items() if (why := _why_not(name, cells, names))}
    left = [name for name in columns if name not in skipped]
    if not left:
        raise DataError(path, f"has no column of numbers for a field; its columns are {shown(names)}")
    spans = {name: span for name in left if (span := _span(columns[name]))}
    fields = [
        _holding(each, columns, columns_of) if (columns_of := each.columns or _default(each)) else each
        for each in fields_of_columns(left, units, spans)
    ]
    texts = [name for name in columns if name in skipped and name not in left]
    others = other_names(columns, [name for name in texts if why_no_column(name) is None])
    notes = [f"Written from {what} of {path.name}."]
    if skipped:
        notes.append(f"Columns that are no fields: {'; '.join(f'{name} ({why})' for name, why in skipped.items())}.")
    notes += [f"{what} is the column {name} (see [train])." for what, name in others.items()]
    return Draft(
        tuple(fields),
        notes=tuple(_on_one_line(note) for note in notes),
        history=path.name,
        renamed=others,
        period_s=period_s(columns, others),
    )


def _default(field: DraftField) -> tuple[str, ...]:
    """The columns that a field has where the draft does not name them."""
    if field.length is None:
        return (field.name,)
    return tuple(f"{field.name}_{number}" for number in range(1, field.length + 1))


def _holding(field: DraftField, columns: Mapping[str, list[str]], names: Sequence[str]) -> DraftField:
    """A field of which cells are empty: the value before is held there, but where the first one is missing."""
    cells = [columns[name] for name in names]
    lacking = any(not cell for each in cells for cell in each)
    begins = all(each[0] for each in cells)
    return replace(field, missing="hold") if lacking and begins else field


def _lines(path: Path) -> Iterator[str]:
    splitter = LineSplitter()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield from _texts(path, splitter.feed(chunk))
            yield from _texts(path, splitter.end())
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error


def _texts(path: Path, lines: Iterator[bytes | None]) -> Iterator[str]:
    for line in lines:
        if line is None or b"\0" in line:
            raise DataError(path, f"is no CSV: it has a line with NUL bytes, or one above {MAX_LINE_BYTES:,} bytes")
        try:
            text = line.decode(UTF_8)
        except UnicodeDecodeError:
            text = line.decode(WINDOWS, "replace")
        yield text.lstrip("\ufeff")


def _table(path: Path, lines: list[str]) -> _Read:
    """The first line that has as many cells as a line of numbers below it is the header."""
    for number, line in enumerate(lines[:MAX_PREAMBLE]):
        for delimiter in DELIMITERS:
            names = [name.strip() for name in _cells(line, delimiter)]
            if not any(names) or any(map(is_number, names)):
                continue
            rows = [cells for text in lines[number + 1 :] if len(cells := _cells(text, delimiter)) == len(names)]
            first = next((place for place, row in enumerate(rows) if any(map(is_number, row))), None)
            if first is not None and first <= MAX_UNITS and (len(names) > 1 or delimiter == DELIMITERS[-1]):
                return _Read(names, _units(names, rows[:first]), rows[first:])
    raise DataError(path, "has no header with lines of numbers below it: a CSV with a header is needed")


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return split_cells(line, delimiter)
    except RecordError:
        return []


def _units(names: list[str], rows: list[list[str]]) -> dict[str, str]:
    return {name: cell.strip() for name, cell in zip(names, rows[0], strict=True)} if rows else {}


def _why_not(name: str, cells: list[str], names: list[str]) -> str | None:
    """Why a column is no field; None where it is one."""
    if names.count(name) > 1:
        return "there twice"
    if why := why_no_column(name):
        return why
    held = [cell for cell in cells if cell]
    if not held:
        return "empty"
    return (
        None if all(map(is_number, held)) else f"no numbers, such as {next(c for c in held if not is_number(c))[:20]!r}"
    )


def _span(cells: list[str]) -> Span | None:
    """The smallest and the largest number of a column; None where they are not written with a decimal point."""
    try:
        numbers = [float(cell) for cell in cells if cell]
    except ValueError:
        return None
    finite = [number for number in numbers if math.isfinite(number)]
    return (min(finite), max(finite)) if finite else None


def _on_one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:2_000]
