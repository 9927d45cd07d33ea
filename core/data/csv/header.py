"""The header of a CSV: which column holds which field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from core.data.csv.cells import DELIMITERS, split_cells
from core.data.csv.names import Renamed, meant, shown
from core.errors import RecordError, StartupError
from core.tasks.declaration import LARGEST_VALUE, Declaration, Field
from core.tasks.keys import LARGEST_NUMBER
from core.wire.plain_name import plain_name

_SEP = re.compile(r'"?sep=(.)"?[,;\t ]*', re.IGNORECASE)
_TAG = {
    "tag",
    "tagname",
    "name",
    "item",
    "itemid",
    "point",
    "pointname",
    "variable",
    "nodeid",
    "parameter",
    "signalname",
}
_VALUE = {"value", "val", "wert", "itemvalue"}
# So many known names make a header of a line that lacks others.
_ENOUGH = 2
# How much a name in the file must resemble that of a column to be proposed for it.
_ALIKE = 0.65


@dataclass(frozen=True)
class Columns:
    """The columns that the CSV of a task may hold.

    ``needed`` columns must be there, those of ``numbers`` too: the model reads them. ``optional`` ones may be there.
    """

    needed: tuple[str, ...]
    numbers: tuple[str, ...]
    optional: tuple[str, ...]
    held: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Those of the numbers that may be missing, by field: of one field all are there, or none."""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Other names of a column, where none has its own."""
    texts: Mapping[str, dict[str, int]] = field(default_factory=dict)
    """Columns of texts, each with its texts so far by number: a cell stands for the number of its text."""
    largest: float = LARGEST_VALUE
    """No number may be further from zero. Narrower ranges of single fields are not looked at here."""

    @property
    def known(self) -> tuple[str, ...]:
        """Every field."""
        return (*self.needed, *self.numbers, *self.optional)

    def lacking(self, at: Mapping[str, int]) -> Iterator[str]:
        """The columns that a header must have, and has not: ``at`` are those that it has."""
        may_lack = {
            column
            for columns in self.held.values()
            if not any(column in at for column in columns)
            for column in columns
        }
        if may_lack.issuperset(self.numbers):
            may_lack = set()
        yield from (name for name in (*self.needed, *self.numbers) if name not in at and name not in may_lack)


def task_columns(task: Declaration, optional: tuple[str, ...], needed: tuple[str, ...] = ()) -> Columns:
    """The columns of a declared task's CSV, and such as stand beside the fields."""
    return Columns(
        needed,
        task.columns,
        optional,
        {each.name: each.columns for each in task.fields if each.missing != "refuse"},
        {column: names for each in task.fields for column, names in _aliases(each, task.columns)},
        largest=LARGEST_VALUE if all(_has_no_range(each) for each in task.fields) else LARGEST_NUMBER,
    )


def _has_no_range(of: Field) -> bool:
    return (of.low, of.high) == (-LARGEST_VALUE, LARGEST_VALUE)


def _aliases(of: Field, taken: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The other names of a field's columns: those of its aliases, where its columns are called after the field."""
    for column in of.columns:
        number = column.removeprefix(of.name)
        if of.aliases and column.startswith(of.name) and (not number or number[1:].isdigit()):
            yield column, tuple(name for alias in of.aliases if (name := alias + number) not in taken)


class NoHeaderError(Exception):
    """A line that is no header. ``certain``: it must be one all the same, so nothing can be read."""

    def __init__(self, why: str, certain: bool) -> None:
        super().__init__(why)
        self.certain = certain


@dataclass(frozen=True)
class Header:
    """``at`` says in which cell each field stands; ``ignored`` are the columns without a meaning here."""

    names: tuple[str, ...]
    delimiter: str
    at: dict[str, int]
    ignored: tuple[str, ...]

    @property
    def width(self) -> int:
        """Cells up to the last one that has a name."""
        return max(place for place, name in enumerate(self.names) if name) + 1

    def cells(self, text: str) -> list[str]:
        """The cells of a line; raises RecordError. Empty cells at its end, one delimiter too many, do no harm."""
        cells = split_cells(text, self.delimiter)
        if len(cells) != len(self.names):
            if len(cells) < self.width or any(cell.strip() for cell in cells[len(self.names) :]):
                raise RecordError("wrong_type", f"has {len(cells)} cells, the header has {len(self.names)}")
            cells += [""] * (len(self.names) - len(cells))
        return cells


def separator_of(text: str) -> str | None:
    """The delimiter that a line ``sep=;`` names, as Excel writes it."""
    found = _SEP.fullmatch(text)
    return found[1] if found else None


def read_header(text: str, number: int, columns: Columns, renamed: Renamed, delimiter: str | None = None) -> Header:
    """The header that line ``number`` is.

    Args:
        text: the line.
        number: from 1, for messages.
        columns: what is looked for.
        renamed: names of fields in this file.
        delimiter: the one that is known; None: the one that gives most known names.

    Raises:
        NoHeaderError: the line is none, or lacks columns.
        StartupError: a column is there twice.
    """
    headers = [_read(text, each, columns, renamed) for each in (delimiter or DELIMITERS)]
    best = max(headers, key=lambda header: (len(header.at), len(header.names)))
    wanted = (name for name in renamed if name in columns.known and name not in best.at)
    lacking = list(dict.fromkeys((*columns.lacking(best.at), *wanted)))
    if not lacking or len(best.at) >= _ENOUGH:
        for field in best.at:
            _refuse_twice(best, number, field, columns, renamed)
    if lacking:
        raise _no_header(best, number, lacking, renamed)
    return best


def mentions(text: str, field: str, renamed: Renamed) -> bool:
    """True if a line has a cell that names ``field``."""
    return any(_read(text, each, Columns((), (field,), ()), renamed).at for each in DELIMITERS)


def _read(text: str, delimiter: str, columns: Columns, renamed: Renamed) -> Header:
    try:
        names = tuple(name.strip() for name in split_cells(text, delimiter))
    except RecordError:
        names = ()
    at = {}
    for known in columns.known:
        place = _place(known, names, columns, renamed)
        if place is not None:
            at[known] = place
    used = set(at.values())
    ignored = tuple(name for place, name in enumerate(names) if name and place not in used)
    return Header(names, delimiter, at, ignored)


def _place(field: str, names: Sequence[str], columns: Columns, renamed: Renamed) -> int | None:
    """The cell of a field: under its name as it is, else under one that differs in capitals, blanks and the like."""
    alike = _alike(field, names, columns, renamed)
    name = renamed.get(field, field)
    return names.index(name) if name in alike else names.index(alike[0]) if alike else None


def _alike(field: str, names: Sequence[str], columns: Columns, renamed: Renamed) -> list[str]:
    """The names that could be those of a field, except those that were given to others."""
    if field in renamed and renamed[field] in names:
        return [name for name in names if name == renamed[field]]
    taken = {name for other, name in renamed.items() if other != field}
    for own in (renamed[field],) if field in renamed else (field, *columns.aliases.get(field, ())):
        wanted = plain_name(own)
        if found := [name for name in names if plain_name(name) == wanted and name not in taken]:
            return found
    return []


def _refuse_twice(header: Header, number: int, field: str, columns: Columns, renamed: Renamed) -> None:
    alike = _alike(field, header.names, columns, renamed)
    if len(alike) > 1:
        raise StartupError(
            f"the header (line {number}) has the column {field} twice ({', '.join(alike)}): leave one out"
        )


def _no_header(header: Header, number: int, lacking: list[str], renamed: Renamed) -> NoHeaderError:
    found = {plain_name(name) for name in header.names}
    if found & _TAG and found & _VALUE:
        return NoHeaderError(
            f"the header (line {number}) is of one tag per line: turn it into one sample per line", True
        )
    named = [name for name in header.names if name]
    ways = [f"--column {field}={name!r}" for name in header.ignored if (field := meant(name, lacking, _ALIKE))]
    way = " ".join(ways) or f"--column {lacking[0]}='NAME IN THE FILE'"
    has = f"; it has {shown(named)}. Columns of another name: {way}" if len(named) > 1 else ""
    lacks = ", ".join(f"{field} ({renamed[field]!r})" if field in renamed else field for field in lacking)
    certain = len(header.at) >= _ENOUGH or len(ways) >= _ENOUGH
    return NoHeaderError(f"the header (line {number}) lacks the columns {lacks}{has}", certain)
