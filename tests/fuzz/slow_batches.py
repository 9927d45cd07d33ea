"""Record batches read in the obvious way, one number at a time: what the compiled reader is held against.

The format: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.record.util import calc_crc32c

HEADER = struct.Struct(">qiibIhiqqqhii")
_DECODERS = {1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode}
_XERIAL = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
_APPEND_TIME, _CONTROL = 0x08, 0x20


class Row(NamedTuple):
    """A record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class Refused(Exception):  # noqa: N818 - not a fault: what a reader should do
    """The batch does not hold what it says."""


class _Bytes:
    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def take(self, size: int) -> bytes:
        if size < 0 or size > len(self.raw) - self.at:
            raise Refused(f"{size} bytes")
        self.at += size
        return self.raw[self.at - size : self.at]

    def number(self) -> int:
        zigzag = 0
        for shift in range(0, 64, 7):
            (byte,) = self.take(1)
            zigzag |= (byte & 0x7F) << shift
            if byte < 0x80:
                zigzag &= (1 << 64) - 1
                return zigzag >> 1 ^ -(zigzag & 1)
        raise Refused("a number without end")

    def part(self, nullable: bool = True) -> bytes | None:
        size = self.number()
        return None if size == -1 and nullable else self.take(size)


def read_slowly(fetched: bytes, check_crc: bool, from_offset: int) -> list[Row]:
    """All records of all whole batches, as `stream_app.kafka.fetching` gives them where no transaction is looked at.

    Raises:
        Refused: something does not fit.
    """
    rows: list[Row] = []
    at = 0
    while len(fetched) - at >= 17:
        (length,) = struct.unpack_from(">i", fetched, at + 8)
        batch = fetched[at : at + 12 + length] if length >= 5 else b""
        if not batch or len(batch) < 12 + length:
            break
        rows += [row for row in _batch(batch, check_crc) if row.offset >= from_offset]
        at += len(batch)
    return rows


def _batch(batch: bytes, check_crc: bool) -> Iterator[Row]:
    if batch[16] != 2 or len(batch) < HEADER.size:
        raise Refused("another format, or shorter than its header")
    base, _, _, _, crc, attributes, _, first_ms, max_ms, _, _, _, count = HEADER.unpack_from(batch)
    if check_crc and calc_crc32c(batch[21:]) != crc:
        raise Refused("checksum")
    if attributes & _CONTROL or count == 0:
        return
    body = _Bytes(_uncompressed(attributes & 7, batch[HEADER.size :]))
    if count < 0 or not body.raw:
        raise Refused(f"{count} records in {len(body.raw)} bytes")
    rows = []
    for _ in range(count):
        size = body.number()
        offset, timestamp, *rest = _record(_Bytes(body.take(size)))
        timestamp = max_ms if attributes & _APPEND_TIME else _int64(first_ms + timestamp)
        rows.append(Row(_int64(base + offset), timestamp, *rest))
    if body.at != len(body.raw):
        raise Refused("more bytes than records")
    yield from rows


def _uncompressed(codec: int, body: bytes) -> bytes:
    if not codec:
        return body
    if codec == 2 and body.startswith(_XERIAL):
        blocks = _Bytes(body[len(_XERIAL) :])
        while blocks.at < len(blocks.raw):  # aiokafka reads a last block that is cut off
            blocks.take(int.from_bytes(blocks.take(4), signed=True))
    try:
        return bytes(_DECODERS[codec](body))
    except Exception as error:
        raise Refused(f"codec {codec}: {error!r}") from error


def _record(raw: _Bytes) -> tuple[Any, ...]:
    raw.take(1)
    timestamp, offset, key, value = raw.number(), raw.number(), raw.part(), raw.part()
    count = raw.number()
    if count < 0:
        raise Refused(f"{count} headers")
    headers = []
    for _ in range(count):
        name = raw.part(nullable=False) or b""
        headers.append((name.decode("utf-8", "replace"), raw.part()))
    if raw.at != len(raw.raw):
        raise Refused("more bytes than the record")
    return offset, timestamp, key, value, tuple(headers)


def _int64(number: int) -> int:
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
