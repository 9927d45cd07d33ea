"""Names of columns -> fields: numbered ones become an array, units in brackets are units."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, count

from core.drafts.draft import DraftField
from core.tasks.keys import FieldName, Text, Unit, fits
from core.tasks.names import TRUTH, why_not_a_field, why_not_an_alias

_NUMBERED = re.compile(r"(.*?)[\s_.-]*(\d{1,4})")
_UNIT = re.compile(r"\s*[\[(]([^\])]*)[\])]\s*$")
Span = tuple[float, float]

_FEWEST = 2  # numbered columns that make an array


def why_no_column(name: str) -> str | None:
    """Why a column cannot be a field's; None where it can."""
    if not fits(name, Text):
        return "its name has a character that a column cannot have"
    if name in TRUTH:
        return "it judges samples"
    return why_not_an_alias(name) or ("a data file has its own under this name" if name == "label" else None)


def fields_of_columns(columns: Iterable[str], units: Mapping[str, str], spans: Mapping[str, Span]) -> list[DraftField]:
    """The fields of columns, in order.

    Args:
        units: of columns, where something is known besides their names.
        spans: the smallest and the largest number of columns, where they are known.
    """
    fields: list[DraftField] = []
    taken: set[str] = set()
    for group in _groups(list(columns)):
        made = _array(group) if len(group) >= _FEWEST else DraftField(_bare(group[0]), None, (group[0],))
        made = replace(made, unit=_unit(group, units), comment=_span(group, spans))
        name = field_name(made.name, taken)
        taken.add(name)
        fields.append(_without_default(replace(made, name=name)))
    return fields


def field_name(text: str, taken: Iterable[str] = ()) -> str:
    """A name that a field can have, near to a text."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:50]
    if not plain or not plain[0].isalpha():
        plain = f"x_{plain}".rstrip("_")
    if why_not_a_field(plain):
        plain = f"{plain}_value"
    names = chain([plain], (f"{plain}_{number}" for number in count(2)))
    free = next(name for name in names if name not in taken)
    assert fits(free, FieldName)
    return free


def _groups(columns: list[str]) -> Iterator[list[str]]:
    """Columns side by side whose names are one text and the numbers from 0 or 1 on are a group; others stand alone."""
    place = 0
    while place < len(columns):
        size = _run(columns, place)
        yield columns[place : place + size]
        place += size


def _run(columns: list[str], first: int) -> int:
    """The length of the numbered run that begins at a column; 1 where none does."""
    begin = _NUMBERED.fullmatch(_bare(columns[first]))
    if begin is None or int(begin[2]) > 1:
        return 1
    size = 1
    for column in columns[first + 1 :]:
        found = _NUMBERED.fullmatch(_bare(column))
        if found is None or found[1] != begin[1] or int(found[2]) != int(begin[2]) + size:
            break
        size += 1
    return size


def _array(columns: list[str]) -> DraftField:
    found = _NUMBERED.fullmatch(_bare(columns[0]))
    assert found is not None
    return DraftField(found[1], len(columns), tuple(columns))


def _bare(column: str) -> str:
    """A column's name without a unit in brackets."""
    return _UNIT.sub("", column).strip() or column


def _unit(columns: list[str], units: Mapping[str, str]) -> str:
    """The unit that all columns have; "" where they differ."""
    held = {units.get(column) or _in_brackets(column) for column in columns}
    unit = held.pop()
    return unit if not held and fits(unit, Unit) else ""


def _in_brackets(column: str) -> str:
    found = _UNIT.search(column)
    return found[1].strip() if found else ""


def _span(columns: list[str], spans: Mapping[str, Span]) -> str:
    held = [spans[column] for column in columns if column in spans]
    return f"{min(low for low, _ in held):g} to {max(high for _, high in held):g} in the file" if held else ""


def _without_default(field: DraftField) -> DraftField:
    numbers = range(1, (field.length or 0) + 1)
    default = [field.name] if field.length is None else [f"{field.name}_{number}" for number in numbers]
    return replace(field, columns=() if [*field.columns] == default else field.columns)
