"""The table of fields -> `Field`."""

from __future__ import annotations

import math
import struct
from typing import Any

from core.tasks.declaration import Field
from core.tasks.keys import LARGEST_NUMBER, LONGEST_ARRAY, FieldKeys, FieldName, accepted, fits
from core.tasks.names import why_not_a_field, why_not_an_alias
from core.tasks.tables import Once, read_keys
from core.tasks.toml_file import Place, shown


def read_fields(place: Place, values: Any) -> tuple[Field, ...]:
    """Read the fields, in their order; raises StartupError."""
    if not isinstance(values, dict) or not values:
        raise place.error("must be a table of at least one field, for instance temperature = {}")
    fields = tuple(_field(place, name, held) for name, held in values.items())
    _check_names(place, fields)
    if (width := sum(field.width for field in fields)) > LONGEST_ARRAY:
        raise place.error(f"the fields have {width:,} numbers together: at most {LONGEST_ARRAY:,} are allowed")
    return fields


def _field(fields: Place, name: str, values: Any) -> Field:
    if not fits(name, FieldName):
        raise fields.error(
            f"{shown(name)} is no name of a field: it must be {accepted(FieldName)}; a sender's name may be an alias"
        )
    place = fields.under(name)
    keys = read_keys(place, values, FieldKeys)
    _check_pair(place, "range", keys.range)
    if keys.normal is not None:
        _check_normal(place, keys.normal, keys.range)
    if keys.overlap > (keys.length or 0):
        place.refuse("overlap", keys.overlap, "at most the field's length" if keys.length else "0 without a length")
    return Field(
        name,
        keys.length,
        _columns(place, name, keys),
        keys.unit,
        keys.alias,
        *_of_float32(keys.range),
        keys.normal,
        keys.missing,
        keys.overlap,
    )


def _columns(place: Place, name: str, keys: FieldKeys) -> tuple[str, ...]:
    if keys.columns is None:
        return (name,) if keys.length is None else tuple(f"{name}_{number}" for number in range(1, keys.length + 1))
    needed = keys.length or 1
    if len(keys.columns) != needed:
        more = (
            f"; for an array of them say length = {len(keys.columns)}" if keys.length is None and keys.columns else ""
        )
        raise place.error(
            f"columns has {len(keys.columns)} names: {needed} {'is' if needed == 1 else 'are'} needed{more}"
        )
    return keys.columns


def _of_float32(ends: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of a range, moved outwards as far as a float32 at an end may be written.

    Files and models hold float32, and a replay sends the shortest decimal of one: for an end with more than 7 digits
    that may lie beyond it. Without this a file would be predicted whose replay gives dead letters.
    """
    low, high = min(ends[0], *_written(ends[0])), max(ends[1], *_written(ends[1]))
    return max(low, -LARGEST_NUMBER), min(high, LARGEST_NUMBER)


def _written(number: float) -> tuple[float, float]:
    """Return a number as its float32 may be written: by the fewest digits, or, where it is whole, as it is."""
    single = _single(number)
    texts = (f"{single:.{digits}g}" for digits in range(1, 10))  # 9 always do
    fewest = next(float(text) for text in texts if _single(float(text)) == single)
    return fewest, single if single.is_integer() else fewest


def _single(number: float) -> float:
    try:
        found: float = struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return math.inf
    return found


def _check_pair(place: Place, key: str, pair: tuple[float, float]) -> None:
    if pair[0] >= pair[1]:
        place.refuse(key, list(pair), "two numbers, the lower one first")


def _check_normal(place: Place, normal: tuple[float, float], allowed: tuple[float, float]) -> None:
    _check_pair(place, "normal", normal)
    if normal[0] < allowed[0] or normal[1] > allowed[1]:
        place.refuse("normal", list(normal), f"within range, which is {shown(list(allowed))}")


def _check_names(place: Place, fields: tuple[Field, ...]) -> None:
    names, columns = Once(), Once()
    for field in fields:
        names.take(place.under(field.name), "field", [field.name], why_not_a_field)
    for field in fields:
        names.take(place.under(field.name), "alias", field.aliases, why_not_an_alias)
        columns.take(place.under(field.name), "column", field.columns, why_not_an_alias)
