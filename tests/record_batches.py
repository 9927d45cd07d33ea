"""Record batches for tests: written by aiokafka, damaged by chance, read by us."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import strategies as st

from core.native.records import Record, Records
from stream_app.native.batches import BatchHeader, check_crc, next_header, payload, read_records

DECODERS = {1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode}
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
ATTRIBUTES_AT, LAST_DELTA_AT, MAX_TIMESTAMP_AT, COUNT_AT = 21, 23, 35, 57
APPEND_TIME, CONTROL = 0x08, 0x20


class Row(NamedTuple):
    """What a producer sends."""

    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def row_of(record: Any) -> Row:
    """What a reader finds, ours or aiokafka's."""
    return Row(record.timestamp, record.key, record.value, tuple(record.headers))


BYTES = st.none() | st.binary(max_size=200) | st.sampled_from([b"x" * size for size in (63, 64, 8_191, 8_192, 70_000)])
HEADERS = st.lists(st.tuples(st.text(max_size=70), st.none() | st.binary(max_size=70)), max_size=3).map(tuple)
TIMES = st.integers(0, 2**40) | st.sampled_from([0, 1, 63, 64, 2**42])
ROWS = st.lists(st.builds(Row, TIMES, BYTES, BYTES, HEADERS), min_size=1, max_size=8)


def aiokafka_batch(
    rows: Sequence[Row],
    codec: int = 0,
    base_offset: int = 0,
    producer_id: int = -1,
    transactional: bool = False,
    offsets: Sequence[int] | None = None,
) -> bytes:
    """A batch as aiokafka writes it, at an offset as a broker assigns it.

    Args:
        offsets: of the records, counted from the first; by default one after the other.
    """
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=int(transactional),
        producer_id=producer_id,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=2**30,
    )
    for number, row in enumerate(rows):
        delta = number if offsets is None else offsets[number]
        assert builder.append(delta, row.timestamp, row.key, row.value, list(row.headers)) is not None
    return struct.pack(">q", base_offset) + bytes(builder.build())[8:]


def changed(batch: bytes, at: int, layout: str, number: int) -> bytes:
    """A batch with another number in its header, and the checksum that fits."""
    from aiokafka.record.util import calc_crc32c

    raw = bytearray(batch)
    struct.pack_into(layout, raw, at, number)
    struct.pack_into(">I", raw, ATTRIBUTES_AT - 4, calc_crc32c(bytes(raw[ATTRIBUTES_AT:])))
    return bytes(raw)


def headers_in(fetched: bytes) -> Iterator[BatchHeader]:
    at = 0
    while (header := next_header(fetched, at)) is not None and header.magic == 2:
        yield header
        at = header.end


def read_batch(fetched: bytes, header: BatchHeader, check: bool = True, from_offset: int = 0) -> list[Record]:
    """The records of one batch."""
    if check:
        check_crc(fetched, header)
    body = payload(fetched, header)
    found = Records(0)
    decode = DECODERS.get(header.codec)
    read_records(bytes(decode(bytes(body))) if decode else body, header, found, from_offset)
    return list(found)


def read_all(fetched: bytes, check: bool = True, from_offset: int = 0) -> list[Record]:
    """The records of all whole batches."""
    return [record for header in headers_in(fetched) for record in read_batch(fetched, header, check, from_offset)]


@st.composite
def damaged(draw: st.DrawFn, fetched: bytes) -> bytes:
    """Some bytes changed, taken out or put in."""
    raw = bytearray(fetched)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        what = draw(st.sampled_from(("change", "change", "change", "cut", "take out", "put in")))
        if what == "change" and raw:
            raw[at] = draw(st.integers(0, 255))
        elif what == "cut":
            del raw[at:]
        elif what == "take out":
            del raw[at : at + draw(st.integers(1, 5))]
        else:
            raw[at:at] = draw(st.binary(min_size=1, max_size=5))
    return bytes(raw)
