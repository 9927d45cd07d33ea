"""The format of a record's value, by its header ``content-type``.

`core/native/media_type.hpp` is the same rule for the compiled way of plain samples.
"""

from __future__ import annotations

from functools import lru_cache

JSON, MSGPACK = "json", "msgpack"
LONGEST = 200
"""Bytes of a header that are looked at: no media type is longer."""

_NAMES = {
    b"application/json": JSON,
    b"text/json": JSON,
    b"application/x-json": JSON,
    b"application/msgpack": MSGPACK,
    b"application/x-msgpack": MSGPACK,
    b"application/vnd.msgpack": MSGPACK,
}
_SUFFIXES = {b"+json": JSON, b"+msgpack": MSGPACK}


def value_format(content_type: bytes | None) -> str | None:
    """``json``, ``msgpack``, or None for every other type.

    A media type is compared: parameters such as ``; charset=utf-8``, capitals, blanks and quotes do not count.
    """
    return None if content_type is None or len(content_type) > LONGEST else _format(bytes(content_type))


@lru_cache(maxsize=64)  # producers use few; hostile ones cannot make it grow
def _format(content_type: bytes) -> str | None:
    name = content_type.split(b";")[0].strip(b" \t\r\n\"'").lower()
    if (found := _NAMES.get(name)) is not None:
        return found
    suffix = b"+" + name.rpartition(b"+")[2]
    return _SUFFIXES.get(suffix) if b"/" in name else None
