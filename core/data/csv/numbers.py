"""Cells -> numbers, as the file writes them.

Between commas the decimal sign is a point. Between other delimiters it may be a comma, and points (or commas) may
separate thousands. The first line that shows which it is decides for the file; before that, a number that could be
either is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, NoReturn

from core.errors import RecordError, StartupError
from core.wire.records import MAX_STEP, MAX_VALUE

Decimal = Literal["point", "comma"]
SHOWN = 40  # characters of a cell in a message
# Whole numbers above this that are written with an exponent are checked for lost digits.
_EXACT = 1_000_000

_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")
_GROUPED_BY_POINTS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3}){2,}")
_DECIMAL_COMMA = re.compile(r"[+-]?(\d*|[1-9]\d{0,2}(\.\d{3})+)(,\d*)?([eE][+-]?\d+)?")


class Numbers:
    """Reads the numbers of one file.

    ``decimal``: "point" or "comma" if the user has said it. No number of a sample may be further from zero than
    ``largest``.
    """

    def __init__(self, delimiter: str, decimal: Decimal | None = None, largest: float = MAX_VALUE) -> None:
        self._largest = largest
        self._semicolons = delimiter == ";"
        self._decimal: Decimal | None = "point" if delimiter == "," else decimal
        if delimiter == "," and decimal == "comma":
            raise StartupError("decimal commas between commas cannot be told apart: separate the cells by semicolons")

    def all(self, names: Sequence[str], cells: Sequence[str]) -> list[float]:
        """The numbers of one line.

        Raises:
            RecordError: names the cell that is none.
        """
        decimal = self._decimal or self._shown(names, cells)
        try:
            numbers = [float(cell) for cell in cells] if decimal == "point" else []
        except ValueError:
            numbers = []
        if not numbers or "_" in "".join(cells):
            numbers = [_number(name, cell, decimal) for name, cell in zip(names, cells, strict=True)]
        total = sum(numbers)
        if not (
            total - total == 0.0 and max(numbers) <= self._largest and min(numbers) >= -self._largest
        ):  # NaN hides from max
            _refuse(names, cells, numbers, self._largest)
        self._remember(decimal, cells)
        return numbers

    def one(self, name: str, cell: str) -> float:
        """A number that is no sample; raises RecordError."""
        decimal = self._decimal or self._shown([name], [cell])
        number = _number(name, cell, decimal)
        if not math.isfinite(number):
            raise RecordError("not_finite", f"{name} is {cell.strip()}: must be a finite number")
        self._remember(decimal, [cell])
        return number

    def _remember(self, decimal: Decimal, cells: Sequence[str]) -> None:
        if self._decimal is None and any("," in cell or "." in cell for cell in cells):
            self._decimal = decimal

    def _shown(self, names: Sequence[str], cells: Sequence[str]) -> Decimal:
        """The decimal sign that a line shows, by a number that cannot be read in two ways."""
        cells = [cell.strip() for cell in cells]
        either = [place for place, cell in enumerate(cells) if self._is_either(cell)]
        rest = [cell for place, cell in enumerate(cells) if place not in either]
        commas = any("," in cell or _GROUPED_BY_POINTS.fullmatch(cell) for cell in rest)
        points = any("." in cell and "," not in cell and not _GROUPED_BY_POINTS.fullmatch(cell) for cell in rest)
        if commas and points:
            raise RecordError("wrong_type", "has decimal points and decimal commas")
        if either and not commas and not points:
            _refuse_either(names[either[0]], cells[either[0]])
        return "comma" if commas else "point"

    def _is_either(self, cell: str) -> bool:
        return bool(_EITHER.fullmatch(cell)) and not (self._semicolons and "," in cell)


def whole(name: str, cell: str) -> int:
    """A whole number from 0, also one written as 3.0; raises RecordError."""
    text = cell.strip()
    if text.isascii() and text.isdigit() and len(text) < 16:
        return int(text)
    number = _float_of(text.replace(",", "."))
    if not text:
        raise RecordError("missing_field", f"{name} is empty")
    if number is None or number != number // 1 or not 0 <= number <= MAX_STEP:
        raise RecordError("wrong_type", f"{name} is {text[:SHOWN]!r}: must be a whole number from 0")
    if is_rounded(text):
        raise RecordError("wrong_type", f"{name} is {text[:SHOWN]!r}: digits are missing; export it as a whole number")
    return int(number)


def is_rounded(text: str) -> bool:
    """True if a text looks like a whole number that lost digits: ``1.23457E+11``, as Excel shows long ones."""
    found = re.fullmatch(r"[+-]?\d[.,]?(\d*)[eE]\+?(\d+)", text.strip())
    return bool(found and int(found[2][:4]) > len(found[1]) and (_float_of(text.replace(",", ".")) or 0) >= _EXACT)


def is_number(cell: str) -> bool:
    """True if a cell holds a number, however it is written."""
    return _float_of(cell.strip().replace(",", "")) is not None


def _number(name: str, cell: str, decimal: Decimal | None) -> float:
    text = cell.strip()
    if decimal == "comma" and _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
        number = _float_of(text)
    else:
        number = None if decimal == "comma" and "." in text else _float_of(text)
    if number is None:
        _refuse_text(name, cell.strip(), decimal)
    return number


def _float_of(text: str) -> float | None:
    """The number, or None. Python would read underscores, which no exporter means."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _refuse_text(name: str, text: str, decimal: Decimal | None) -> NoReturn:
    if not text:
        raise RecordError("missing_field", f"{name} is empty")
    hint = ""
    if decimal == "comma" and "." in text:
        hint = " with a decimal comma"
    elif "," in text:
        hint = " with a decimal point"
    raise RecordError("wrong_type", f"{name} is {text[:SHOWN]!r}: must be a number{hint}")


def _refuse_either(name: str, text: str) -> None:
    sign = "," if "," in text else "."
    raise RecordError(
        "wrong_type",
        f"{name} is {text!r}: {text.replace(sign, '.')} or {text.replace(sign, '')}? Say it by --decimal point or "
        "--decimal comma",
    )


def _refuse(names: Sequence[str], cells: Sequence[str], numbers: Sequence[float], largest: float) -> None:
    for name, cell, number in zip(names, cells, numbers, strict=True):
        if not math.isfinite(number) and not any(sign.isdigit() for sign in cell):
            raise RecordError("not_finite", f"{name} is {cell.strip()[:SHOWN]}: must be a finite number")
        if not -largest <= number <= largest:
            raise RecordError("out_of_range", f"{name} is {cell.strip()[:SHOWN]}: must be a number within {largest:g}")
