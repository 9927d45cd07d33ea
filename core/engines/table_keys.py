"""Keys of the tables: where a stream's state stands, and where the segments of its window do.

The state of a model that takes steps stands at the stream's key. Of a task of windows it stands at `HEAD` and the key,
the segments at `SEGMENT`, their number and the key.
"""

from __future__ import annotations

import struct

from core.tasks.declaration import Kind

HEAD, SEGMENT = b"h", b"s"
"""The first byte of a key in the table of casts."""

_NUMBER = struct.Struct(">q")  # of a segment
_SEGMENT_PREFIX = len(SEGMENT) + _NUMBER.size


def head_key(key: bytes) -> bytes:
    """Return the key of a cast's head in the table."""
    return HEAD + key


def segment_key(key: bytes, number: int) -> bytes:
    """Return the key of a segment of a stream in the table."""
    return SEGMENT + _NUMBER.pack(number) + key


def segment_at(table_key: bytes) -> tuple[bytes, int] | None:
    """Return the stream and the number of the segment at a table key; None if the key is no segment's."""
    if table_key[: len(SEGMENT)] != SEGMENT or len(table_key) <= _SEGMENT_PREFIX:
        return None
    (number,) = _NUMBER.unpack_from(table_key, len(SEGMENT))
    return table_key[_SEGMENT_PREFIX:], number


def head_at(table_key: bytes) -> bytes | None:
    """Return the stream of the head at a table key; None if the key is no head's."""
    return table_key[len(HEAD) :] if table_key[: len(HEAD)] == HEAD else None


def state_key(kind: Kind, key: bytes) -> bytes:
    """Return the key of a stream's state in the table of a task of this kind."""
    return key if kind == "step" else head_key(key)


def state_at(kind: Kind, table_key: bytes) -> bytes | None:
    """Return the stream of the state at a table key; None if the key is no state's."""
    return table_key if kind == "step" else head_at(table_key)


def stream_of(kind: Kind, table_key: bytes) -> bytes | None:
    """Return the stream of the state or segment at a table key; None if the key is neither's."""
    segment = None if kind == "step" else segment_at(table_key)
    return state_at(kind, table_key) if segment is None else segment[0]
