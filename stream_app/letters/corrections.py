"""Corrected dead letters: the lines of ``caststream tail dead-letters --json``, with other values, keys or headers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from core.errors import StartupError
from stream_app.headers import Headers
from stream_app.routes import Partition


@dataclass(frozen=True)
class Correction:
    """A record as it should have been."""

    line: int
    value: bytes
    key: bytes | None
    """None leaves it as it came."""
    headers: Headers | None = None
    """None leaves them as they came; empty removes them."""


def read_corrections(lines: Iterable[bytes], name: str) -> dict[tuple[Partition, int], Correction]:
    """The corrections of a file, by source partition and offset.

    Args:
        lines: JSON objects with ``topic``, ``partition``, ``offset``, and ``value`` (text or the object itself)
            or ``value_base64``. ``key`` (or ``key_base64``) and ``headers`` count where they stand there. Empty lines
            are passed over.
        name: of the file, for messages.

    Raises:
        StartupError: a line cannot be used, or two are about the same record.
    """
    found: dict[tuple[Partition, int], Correction] = {}
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


def _read(number: int, line: bytes) -> tuple[tuple[Partition, int], Correction]:
    fields = msgspec.json.decode(line, type=dict[str, Any])
    topic, partition, offset = (fields.get(name) for name in ("topic", "partition", "offset"))
    if not (isinstance(topic, str) and type(partition) is int and type(offset) is int):
        raise ValueError("topic, partition and offset of the record are needed")
    value, key = _bytes(fields, "value"), _bytes(fields, "key")
    if value is None:
        raise ValueError("there is no value")
    headers = _headers(fields["headers"]) if "headers" in fields else None
    return ((topic, partition), offset), Correction(number, value, key, headers)


def _headers(found: Any) -> Headers:
    """Read a list of ``{"name": ..., "value": ...}``, or an object by name; null is none."""
    if isinstance(found, dict):
        found = [{"name": name, "value": value} for name, value in found.items()]
    if not all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in found or []):
        raise ValueError('headers must be a list of {"name": ..., "value": ...}, or an object')
    return [(each["name"], _bytes(each, "value") or b"") for each in found or []]


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
