"""Uncompress batches up to a limit: a few KB may stand for more than fits in memory.

aiokafka's own readers have no limit. These read the same formats.
"""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from typing import Any

import cramjam
import numpy as np

Uncompress = Callable[[bytes, int], bytes | memoryview]

_LEAST_ROOM = 2**16
_GROWTH = 16  # samples compress to a tenth: the first room is nearly always enough
_NO_ROOM = "failed to write whole buffer"  # in what cramjam says
_PIECE_BYTES = 2**20
_XERIAL = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)  # of Java's snappy: blocks follow, each with its length
_BLOCK_BYTES = struct.Struct(">i")


class TooLargeError(ValueError):
    """The uncompressed bytes are more than the limit."""


def uncompress(codec: int, body: bytes, most: int) -> bytes | memoryview:
    """Return the uncompressed body of a batch.

    Args:
        codec: one of CODECS.
        body: compressed.
        most: limit in bytes.

    Raises:
        TooLargeError: it is more than ``most`` bytes.
        Exception: it is damaged; each codec has errors of its own.
    """
    if most < 0:
        raise TooLargeError
    return CODECS[codec](body, most)


def _gzip(body: bytes, most: int) -> bytes:
    pieces: list[bytes] = []
    left = most
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
        while piece := file.read(_PIECE_BYTES):
            left -= len(piece)
            if left < 0:
                raise TooLargeError
            pieces.append(piece)
    return b"".join(pieces)


def _snappy(body: bytes, most: int) -> bytes:
    blocks = _xerial_blocks(body) if body.startswith(_XERIAL) else [body]
    if sum(map(cramjam.snappy.decompress_raw_len, blocks)) > most:
        raise TooLargeError
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _xerial_blocks(body: bytes) -> list[bytes]:
    blocks, at = [], len(_XERIAL)
    while at < len(body):
        (size,) = _BLOCK_BYTES.unpack_from(body, at)
        at += _BLOCK_BYTES.size
        if not 0 <= size <= len(body) - at:
            raise ValueError(f"a block of {size} bytes in {len(body)}")
        blocks.append(body[at : at + size])
        at += size
    return blocks


def _into_room(decompress_into: Callable[[bytes, Any], int]) -> Uncompress:
    """For codecs that do not tell how much they stand for: tried with more and more room."""

    def uncompress(body: bytes, most: int) -> memoryview:
        room = min(most, max(_LEAST_ROOM, _GROWTH * len(body)))
        while True:
            into = np.empty(room, np.uint8)  # costs nothing before it is written
            try:
                return into.data[: decompress_into(body, into)]
            except cramjam.DecompressionError as error:
                if _NO_ROOM not in str(error):
                    raise
                if room == most:
                    raise TooLargeError from error
                room = min(most, _GROWTH * room)

    return uncompress


CODECS: dict[int, Uncompress] = {
    1: _gzip,
    2: _snappy,
    3: _into_room(cramjam.lz4.decompress_into),
    4: _into_room(cramjam.zstd.decompress_into),
}
"""The function that uncompresses, by Kafka's number of the codec."""
