"""Write a dead letter: the record as it came and its fault, cut to what its topic takes."""

from __future__ import annotations

from collections.abc import Iterable

from core.engines.results import DeadLetter
from stream_app.headers import (
    ERROR_MESSAGE,
    ERROR_OFFSET,
    ERROR_PARTITION,
    ERROR_REASON,
    ERROR_TIMESTAMP_MS,
    ERROR_TOPIC,
    ERROR_VALUE_BYTES,
    Headers,
)
from stream_app.sizes import BATCH_OVERHEAD_BYTES

# Compression lets a source hold records larger than what a request may have, 16 MiB with our headers.
MAX_LETTER_BYTES = 15 * 2**20

LetterRecord = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
"""Key, value and headers."""


def letter_record(letter: DeadLetter, source: str, app_header: tuple[str, bytes], limit: int) -> LetterRecord:
    """The record to write.

    Args:
        source: the topic that the letter's record is of.
        app_header: the last header.
        limit: the bytes that the topic of dead letters takes. Refused, a letter would end this worker, and the next one
            at the same record, for ever.
    """
    said = {
        ERROR_REASON: letter.reason,
        ERROR_MESSAGE: letter.message,
        ERROR_TOPIC: source,
        ERROR_PARTITION: letter.partition,
        ERROR_OFFSET: letter.offset,
        ERROR_TIMESTAMP_MS: letter.timestamp_ms,
    }
    key, value, own = letter.key, letter.value, letter.headers
    # Headers are ASCII on the wire; a message may quote what the record held.
    ours = [(name, str(held).encode("ascii", "backslashreplace")) for name, held in said.items()]
    if size_bytes(key, value, own) > _room(limit, [*ours, app_header]):
        ours = [(name, held[: limit // 4] if name == ERROR_MESSAGE else held) for name, held in ours]
        ours.append((ERROR_VALUE_BYTES, b"%d" % len(value or b"")))
        key, value, own = _cut(key, value, own, _room(limit, [*ours, app_header]))
    # The record's own headers stay: they say how the value is encoded.
    return key, value, [*own, *ours, app_header]


def _room(limit: int, ours: Headers) -> int:
    """The bytes that are left for the record itself."""
    return min(limit - BATCH_OVERHEAD_BYTES - size_bytes(None, None, ours), MAX_LETTER_BYTES)


def _cut(key: bytes | None, value: bytes | None, own: Headers, room: int) -> tuple[bytes | None, bytes | None, Headers]:
    """A third for the key, a third for all headers or none, and the rest for the value."""
    third = max(0, room // 3)
    key = key and key[:third]
    own = own if size_bytes(None, None, own) <= third else ()
    return key, value and value[: max(0, room - size_bytes(key, None, own))], own


def size_bytes(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> int:
    """The bytes that key, value and headers take in a record, at most."""
    # A header's value is null on the wire where a producer sent none; 10 bytes are the most that its two lengths take.
    return (
        len(key or b"") + len(value or b"") + sum(len(name.encode()) + len(held or b"") + 10 for name, held in headers)
    )
