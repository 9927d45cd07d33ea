"""A line's text -> its cells."""

from __future__ import annotations

import re
from functools import cache

from core.errors import RecordError

DELIMITERS = ",;\t|"


def split_cells(text: str, delimiter: str) -> list[str]:
    """The cells of one line; quotes around a cell are taken off, and two quotes inside of them are one.

    Raises:
        RecordError: a quote is not closed.
    """
    if '"' not in text:
        return text.split(delimiter)
    cell, at, end = _cell(delimiter), 0, None
    cells: list[str] = []
    while end != "":
        found = cell.match(text, at)
        if found is None:
            raise RecordError("not_decodable", f"cell {len(cells) + 1} begins with a quote that is not closed")
        quoted, bare, end = found.groups()
        cells.append(bare if quoted is None else quoted.replace('""', '"'))
        at = found.end()
    return cells


@cache
def _cell(delimiter: str) -> re.Pattern[str]:
    """A cell and what ends it: the delimiter, or nothing at the end of the line."""
    mark = re.escape(delimiter)
    return re.compile(rf'(?: *"([^"]*(?:""[^"]*)*)" *|((?! *")[^{mark}]*))({mark}|\Z)')
