"""The columns of a table that are no fields: when a sample was taken, and of which stream it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from core.data.csv.times import Times
from core.wire.plain_name import plain_name

_TIMES = {"timestampms", "timestamp", "time"}
_STREAM = "stream"
_WORDS = re.compile(
    r"(^|[\W_])(id|name|machine|asset|unit|device|equipment|station|line|pump|plant|site|tag|source|sensor)([\W_]|$)",
    re.IGNORECASE,
)
_LOOKED_AT = 20
_FEW = 10
"""Rows for each name of a stream, at least."""
Cells = Mapping[str, Sequence[str]]


def other_names(columns: Cells, texts: Sequence[str]) -> dict[str, str]:
    """The names in a table of a time and a stream that caststream would not know by themselves.

    Args:
        columns: the cells of each column.
        texts: the columns that hold no numbers, in order.
    """
    known = {plain_name(name) for name in columns}
    found = {}
    if not known & _TIMES and (name := next((each for each in texts if _holds_times(columns[each])), None)):
        found["timestamp"] = name
    streams = [each for each in texts if each not in found.values() and _names_streams(each, columns[each])]
    if _STREAM not in known and streams:
        found["stream"] = streams[0]
    return found


def period_s(columns: Cells, renamed: Mapping[str, str]) -> float | None:
    """The usual time between two samples by their times, in seconds; None where they do not say."""
    name = renamed.get("timestamp") or next((each for each in columns if plain_name(each) in _TIMES), None)
    if name is None:
        return None
    millis = plain_name(name) == "timestampms"
    times = Times()
    instants = [
        int(cell) * 1000 if millis and cell.isdigit() else times.microseconds(cell) for cell in columns[name] if cell
    ]
    held = [each for each in instants if each is not None]
    steps = [after - before for before, after in pairwise(held) if after > before]
    return median(steps) / 1e6 if steps else None


def _holds_times(cells: Sequence[str]) -> bool:
    times = Times()
    held = [cell for cell in cells[:_LOOKED_AT] if cell]
    return bool(held) and all(times.microseconds(cell) is not None for cell in held)


def _names_streams(name: str, cells: Sequence[str]) -> bool:
    """True for a column of texts that repeat and are called like a machine."""
    held = [cell for cell in cells if cell]
    return _WORDS.search(name) is not None and len(held) == len(cells) and len(set(held)) * _FEW <= len(held)
