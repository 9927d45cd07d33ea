"""Rewrite a stream's state for another partition: only the source offsets in it change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from core.engines.state import pack_state, unpack_state
from core.engines.table_keys import segment_key, state_key, stream_of
from core.engines.windows import pack_numbers, unpack_numbers
from core.errors import StateError
from core.native.streams import NO_STEP, StreamState
from core.tasks.declaration import Kind

TableRows = Mapping[bytes, tuple[bytes, int]]
"""Table key -> (value, source offset) of a changelog partition."""
TableRow = tuple[bytes, bytes | None, int]
"""Table key, value, source offset."""
STATE_OFFSETS = 2
"""Source offsets that a moved state needs before the records to come: of the last good record, and of a step back."""


def streams_in(kind: Kind, rows: TableRows) -> dict[bytes, TableRows]:
    """The records of each stream that has a state, by its key."""
    found: dict[bytes, dict[bytes, tuple[bytes, int]]] = {}
    for table_key, row in rows.items():
        if (key := stream_of(kind, table_key)) is not None:
            found.setdefault(key, {})[table_key] = row
    return {key: of_stream for key, of_stream in found.items() if state_key(kind, key) in of_stream}


def moved_rows(kind: Kind, key: bytes, rows: TableRows, there: TableRows, end: int) -> list[TableRow] | None:
    """Return the records of a stream's state for a partition whose next record has offset ``end``, the head last.

    Args:
        rows: those of the stream, where it is.
        there: all of the partition where it goes.
        end: `STATE_OFFSETS` or more.

    Returns:
        None where it cannot be moved: it is damaged, or the stream has a state there that is not this one.
    """
    at = state_key(kind, key)
    offset = end - 1
    if at in there and there[at][1] != offset:
        return None
    state = StreamState()
    try:
        model, body = unpack_state(rows[at][0], state)
        segments, body = ([], body) if kind == "step" else _moved_segments(key, body, rows, end)
    except StateError:
        return None
    state.offset = offset if state.back_step == NO_STEP else offset - 1
    state.back_offset = offset
    moved: list[TableRow] = [(table_key, value, offset) for table_key, value in segments]
    return [*moved, (at, pack_state(state, model, body), offset)]


def _moved_segments(key: bytes, body: bytes, rows: TableRows, end: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """A segment's number is the source offset of its first record: those of before get numbers below all to come."""
    count, numbers = unpack_numbers(body)
    moved, found = range(end - len(numbers), end), []
    for number, new in zip(numbers, moved, strict=True):
        stored = rows.get(segment_key(key, number))
        if stored is None:
            raise StateError("corrupt_state", f"segment {number} is missing")
        found.append((segment_key(key, new), stored[0]))
    return found, pack_numbers(count, moved)


def tombstones(kind: Kind, key: bytes, rows: TableRows) -> Iterator[TableRow]:
    """The records that delete a stream's state, the head first."""
    at = state_key(kind, key)
    yield at, None, rows[at][1]
    for table_key, (_, source_offset) in rows.items():
        if table_key != at:
            yield table_key, None, source_offset
