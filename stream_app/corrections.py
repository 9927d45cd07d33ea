"""Corrected dead letters: the lines of ``caststream tail dead-letters --json``, with other values."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from core.errors import StartupError
from stream_app.topic_reader import At


@dataclass(frozen=True)
class Correction:
    """A record's value as it should have been; ``key`` is the line's, None where it has none."""

    line: int
    value: bytes
    key: bytes | None


def read_corrections(lines: Iterable[bytes], name: str) -> dict[tuple[At, int], Correction]:
    """The corrections of a file, by source partition and offset.

    Args:
        lines: JSON objects with ``topic``, ``partition``, ``offset``, and ``value`` (text or the object itself)
            or ``value_base64``. Empty lines are passed over.
        name: of the file, for messages.

    Raises:
        StartupError: a line cannot be used, or two are about the same record.
    """
    found: dict[tuple[At, int], Correction] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            place, correction = _read(number, line)
        except (ValueError, TypeError) as error:  # msgspec's errors are ValueErrors
            raise StartupError(f"{name}, line {number}: {error}") from error
        if place in found:
            raise StartupError(f"{name}, lines {found[place].line} and {number}: two corrections of one record")
        found[place] = correction
    return found


def _read(number: int, line: bytes) -> tuple[tuple[At, int], Correction]:
    fields = msgspec.json.decode(line, type=dict[str, Any])
    topic, partition, offset = (fields.get(name) for name in ("topic", "partition", "offset"))
    if not (isinstance(topic, str) and type(partition) is int and type(offset) is int):
        raise ValueError("topic, partition and offset of the record are needed")
    value, key = _bytes(fields, "value"), _bytes(fields, "key")
    if value is None:
        raise ValueError("there is no value")
    return ((topic, partition), offset), Correction(number, value, key)


def _bytes(fields: dict[str, Any], name: str) -> bytes | None:
    encoded, plain = fields.get(f"{name}_base64"), fields.get(name)
    if encoded is not None and plain is not None:
        raise ValueError(f"{name} and {name}_base64 are both there")
    if encoded is not None:
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, TypeError) as error:
            raise ValueError(f"{name}_base64 is not base64") from error
    if plain is None or isinstance(plain, str):
        return None if plain is None else plain.encode()
    if name == "value" and isinstance(plain, dict):
        return msgspec.json.encode(plain)
    raise ValueError(f"{name} is neither text nor an object")
