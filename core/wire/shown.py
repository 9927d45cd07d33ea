"""Values in messages: short, on one line, as their producer knows them."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from core.wire.record_limits import MAX_TIME_MS, MIN_TIME_MS

MOST_BYTES = 2_048
"""Bytes of a field's value that are looked at: 255 bytes of text are at most 1,532 with escapes."""
_MOST_CHARACTERS = 40


class TooLong(NamedTuple):
    """Stands for a value that is not looked at, because it is too long or no float can hold it."""

    size: int
    is_number: bool


def is_number(held: Any) -> bool:
    """True if it is a number; true and false are none."""
    return isinstance(held, (int, float)) and not isinstance(held, bool)


def shown(held: Any) -> str:
    """Show a value as JSON writes it, shortened if it is long."""
    if held is None or isinstance(held, (bool, str)):
        return _cut(json.dumps(held if not isinstance(held, str) else held[: _MOST_CHARACTERS + 1]))
    if is_number(held):
        return _cut(str(held))
    if isinstance(held, TooLong):
        return f"{'a number' if held.is_number else 'a value'} of {held.size:,} bytes"
    if isinstance(held, list):
        return "an array"
    return "an object" if isinstance(held, dict) else f"a {type(held).__name__}"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS + 2 else f"{text[:_MOST_CHARACTERS]}..."


# What a number is divided by to be milliseconds, and its name. .NET counts 100 ns from the year 1.
_UNITS = ((1e-3, "seconds"), (1e3, "microseconds"), (1e6, "nanoseconds"))
_TICKS_OF_1970 = 621_355_968_000_000_000
_LARGEST_GUESSED = 2**63
_NO_TIME = "must be milliseconds since 1970, from the year 2000 to 2100"


def unit_of(time: float) -> str:
    """Guess the unit of a time that is no milliseconds of our years."""
    if isinstance(time, int) and abs(time) > _LARGEST_GUESSED:  # perhaps more than a float can hold
        return _NO_TIME
    if not math.isfinite(time):
        return "must be a finite number"
    for scale, unit in _UNITS:
        if MIN_TIME_MS <= time / scale <= MAX_TIME_MS:
            return f"looks like {unit}: milliseconds are needed"
    if MIN_TIME_MS <= (time - _TICKS_OF_1970) / 10_000 <= MAX_TIME_MS:
        return "looks like ticks of .NET: milliseconds since 1970 are needed"
    return _NO_TIME
