"""The rows of a CSV: lines in, cells and values out. It finds the header, and knows lines that hold no sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from core.callbacks import OnNote
from core.data.csv.header import Columns, Header, NoHeaderError, read_header, separator_of
from core.data.csv.names import MAX_NOTICED, Renamed, shown
from core.data.csv.numbers import Decimal, Numbers, is_number, is_rounded, whole
from core.data.csv.text import UTF_8, WINDOWS, refuse_nul, text_of
from core.errors import RecordError, StartupError
from core.firsts import Firsts

# Lines before the header that are no header: titles of an export, the rest of a cut line.
MAX_PREAMBLE = 20
# Lines of units and descriptions below a header.
MAX_UNITS = 3

# What is left of a line whose cells were deleted; and the end of a file as DOS wrote it.
_EMPTY = ' \t,;|"\r\x1a'
# Cells of numbers that are not there, as exports write them, in small letters.
_NO_NUMBER = ("", "nan", "null", "none", "na", "n/a")

T = TypeVar("T")


class Table:
    """One CSV.

    Args:
        columns: the fields of its task.
        renamed: names of fields in this file.
        decimal: its decimal sign, where somebody has said it.
        notice: told, once each, what a user should know and nothing was refused for.
    """

    def __init__(self, columns: Columns, renamed: Renamed, decimal: Decimal | None, notice: OnNote) -> None:
        self.columns = columns
        self.before: list[tuple[int, str]] = []  # lines before the header, and why each is none
        self._renamed = renamed
        self._decimal = decimal
        self._notice = notice
        self._delimiter: str | None = None
        self._header: Header | None = None
        self._encoding = UTF_8
        self._units = 0
        self._noticed = Firsts()
        self._repeated_headers = Firsts(MAX_NOTICED)

    @property
    def begun(self) -> bool:
        """True if the header was found."""
        return self._header is not None

    @property
    def ignored(self) -> tuple[str, ...]:
        """The columns without a meaning here."""
        return self._header.ignored if self._header else ()

    def begin(self, number: int, line: bytes | None) -> bool:
        """Take a line before the header; whether it was the header.

        Raises:
            StartupError: it should be the header and cannot be used, or none came in `MAX_PREAMBLE` lines.
        """
        try:
            text, encoding = self._text(line), UTF_8
        except RecordError as error:
            if line is None or b"\0" in line:
                return self.hold(number, f"line {number} {error}")
            text, encoding = line.decode(WINDOWS, "replace"), WINDOWS
        if not text.strip():
            return False
        if (separator := separator_of(text)) is not None:
            self._delimiter = separator
            return False
        try:
            self._use(read_header(text, number, self.columns, self._renamed, self._delimiter))
        except NoHeaderError as error:
            if error.certain:
                raise StartupError(str(error)) from error
            why = str(error) if encoding == UTF_8 else "is no text in UTF-8: a CSV with a header is needed"
            return self.hold(number, why)
        if self.before:
            numbers = ", ".join(str(number) for number, _ in self.before)
            self._notice(f"before the header, in line {number}, these were skipped: {numbers}")
        if encoding == WINDOWS:
            self._encoding = WINDOWS
            self._notice("the header is not UTF-8: read as Windows-1252")
        return True

    def hold(self, number: int, why: str) -> bool:
        """Keep in mind that a line before the header is none, and why; raises StartupError, as `begin`. False."""
        self.before.append((number, why))
        if len(self.before) > MAX_PREAMBLE:
            self.refuse()
        return False

    def refuse(self) -> NoReturn:
        """Raises: StartupError: no header was found."""
        if self.before:
            raise StartupError(self.before[0][1])
        lacking = ", ".join((*self.columns.needed, *self.columns.numbers))
        raise StartupError(f"is empty: it lacks the columns {lacking}")

    def read(self, number: int, line: bytes | None, make: Callable[[list[str]], T]) -> T | None:
        """Give the cells of a line to ``make``; None for an empty line, the header again, and units.

        Raises:
            RecordError: the line cannot be used.
        """
        assert self._header is not None
        try:
            row = make(self._header.cells(self._text(line)))
        except RecordError:
            if line is not None and self._holds_no_sample(number, line):
                return None
            raise
        self._units = MAX_UNITS
        return row

    def numbers(self, cells: Sequence[str]) -> list[float]:
        """The numbers of a row, in the order of ``columns.numbers``; raises RecordError."""
        return self._numbers.all(self.columns.numbers, self._cells(self.columns.numbers, cells))

    def held_numbers(self, cells: Sequence[str]) -> dict[str, float]:
        """The numbers of a row by column, without those of fields that it lacks and may lack.

        Raises:
            RecordError: a cell is no number; a field has some of its numbers; the row holds nothing at all.
        """
        if not any(cell.strip() for cell in cells):
            raise RecordError("missing_field", "is empty")
        lacked = {column for columns in self.columns.held.values() for column in self._lacked(cells, columns)}
        names = [name for name in self._names if name not in lacked]
        if not names:
            return {}
        numbers = self._numbers.all(names, self._cells(names, cells))
        return dict(zip(names, numbers, strict=True))

    def _cells(self, names: Sequence[str], cells: Sequence[str]) -> list[str]:
        """The cells of columns, with numbers in place of texts."""
        if not self.columns.texts:
            return [cells[self._at[name]] for name in names]
        return [self._numbered(name, cells[self._at[name]]) for name in names]

    def _numbered(self, name: str, cell: str) -> str:
        texts = self.columns.texts.get(name)
        return cell if texts is None else str(texts.setdefault(cell.strip(), len(texts)))

    def _lacked(self, cells: Sequence[str], columns: Sequence[str]) -> Sequence[str]:
        """The columns of a field, where a row has none of their numbers; none where it has all."""
        empty = [name for name in columns if self._is_empty(name, self.cell(cells, name))]
        if empty and len(empty) < len(columns):
            others = next(name for name in columns if name not in empty)
            raise RecordError("missing_field", f"{empty[0]} is empty, and {others} of the same field is not")
        return empty

    def _is_empty(self, name: str, cell: str) -> bool:
        return not cell if name in self.columns.texts else cell.lower() in _NO_NUMBER

    def number(self, name: str, cell: str) -> float:
        """A number beside the samples; raises RecordError."""
        return self._numbers.one(name, cell)

    def whole(self, cells: Sequence[str], field: str) -> int | None:
        """A whole number; None where the field has no column; raises RecordError."""
        place = self._at.get(field)
        return None if place is None else whole(field, cells[place])

    def cell(self, cells: Sequence[str], field: str) -> str:
        """The text of a field; empty where it has no column."""
        place = self._at.get(field)
        return "" if place is None else cells[place].strip()

    def peek(self, line: bytes | None, field: str) -> str:
        """Return the text of a field in a bad line, if it can be found; else ""."""
        try:
            return "" if self._header is None else self.cell(self._header.cells(self._text(line)), field)
        except RecordError:
            return ""

    def has(self, field: str) -> bool:
        """True if there is a column for a field."""
        return field in self._at

    def name(self, cells: Sequence[str], field: str) -> str:
        """Read a cell as a name, like `cell`; a name that has lost digits is reported once."""
        name = self.cell(cells, field)
        if "+" in name and is_rounded(name) and self._noticed.take(field):
            self._notice(
                f"the {field} {name!r} looks like a long number that Excel has rounded: several may have become one; "
                "export the column as text"
            )
        return name

    def _use(self, header: Header) -> None:
        self._header = header
        self._at = header.at
        self._names = [name for name in self.columns.numbers if name in header.at]
        self._places = [header.at[name] for name in self._names]
        self._numbers = Numbers(header.delimiter, self._decimal, self.columns.largest)
        if header.ignored and self._noticed.take(said := f"columns without a meaning here: {shown(header.ignored)}"):
            self._notice(said)

    def _text(self, line: bytes | None) -> str:
        text = text_of(line, self._encoding)
        refuse_nul(text)
        return text

    def _holds_no_sample(self, number: int, line: bytes) -> bool:
        """True if a line that cannot be used need not be: it is empty, the header again, or units."""
        text = line.decode(self._encoding, "replace").lstrip("\ufeff")
        if not text.strip(_EMPTY):
            return True
        return self._is_header(number, text) or self._is_units(number, line.decode(WINDOWS, "replace"))

    def _is_header(self, number: int, text: str) -> bool:
        """True if a line is a header again, as files that were put together have it: it counts from here on."""
        assert self._header is not None
        try:
            header = read_header(text, number, self.columns, self._renamed)
        except (NoHeaderError, StartupError):
            return False
        same = header.at == self._header.at and header.delimiter == self._header.delimiter
        what = "skipped" if same else "it has other columns, which count from here on"
        if self._repeated_headers.take(said := f"line {number} is a header again: {what}"):
            self._notice(said)
        if not same:
            self._use(header)
        return True

    def _is_units(self, number: int, text: str) -> bool:
        """True if a line right below the header says units or descriptions: text where each number would stand."""
        assert self._header is not None
        if self._units >= MAX_UNITS:
            return False
        try:
            cells = self._header.cells(text)
        except RecordError:
            return False
        units = [unit for place in self._places if (unit := cells[place].strip())]
        if not units or any(is_number(unit) for unit in units):
            return False
        self._units += 1
        self._notice(f"line {number} holds no numbers but {shown(units)}: taken for units and skipped")
        return True
