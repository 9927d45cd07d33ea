"""Compressed batches: read like aiokafka reads them, as far as a limit; and what a fetch holds of them at a time."""

from __future__ import annotations

import struct

import cramjam
import pytest
from aiokafka import codec as theirs
from aiokafka.errors import CorruptRecordException
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka import fetching
from stream_app.kafka.fetching import FetchedPartition, RawBatches
from stream_app.kafka.uncompress import CODECS, TooLargeError, uncompress
from tests.fuzz.batches import AT, CONTROL, TRANSACTIONAL, batch_of, varint
from tests.record_batches import Row, aiokafka_batch
from tests.strategies import relaxed

LARGE = 2**24
ENCODERS = {1: theirs.gzip_encode, 2: theirs.snappy_encode, 3: theirs.lz4_encode, 4: theirs.zstd_encode}
NAMES = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
READ_UNCOMMITTED, READ_COMMITTED = 0, 1
BODIES = st.binary(max_size=300) | st.builds(
    lambda piece, times: piece * times, st.binary(max_size=9), st.integers(0, 9_999)
)

every_codec = pytest.mark.parametrize("codec", CODECS, ids=NAMES.get)


def fetched(raw: bytes, start: int = 0, check: bool = True, isolation: int = READ_UNCOMMITTED) -> FetchedPartition:
    return FetchedPartition(AT, RawBatches(raw), [(7, 0)], start, None, None, check, isolation)


@every_codec
@relaxed
@given(body=BODIES)
def test_what_a_producer_has_compressed_is_read(codec: int, body: bytes) -> None:
    assert bytes(uncompress(codec, ENCODERS[codec](body), LARGE)) == body


def test_snappy_in_one_block_is_read_too() -> None:
    body = b"sample " * 9_999

    assert uncompress(2, bytes(theirs.snappy_encode(body, xerial_compatible=False)), LARGE) == body


@every_codec
@pytest.mark.parametrize("size", [1_000, 3_000_000])
def test_what_is_larger_than_the_limit_is_not_read(codec: int, size: int) -> None:
    packed = ENCODERS[codec](bytes(size))

    assert bytes(uncompress(codec, packed, size)) == bytes(size)
    with pytest.raises(TooLargeError):
        uncompress(codec, packed, size - 1)
    with pytest.raises(TooLargeError):
        uncompress(codec, packed, -1)


@every_codec
def test_damage_is_not_taken_for_size(codec: int) -> None:
    packed = ENCODERS[codec](b"sample " * 9_999)

    for damaged in (packed[:-9], b"\x00" * 40, packed[:20] + b"\xff" * 9 + packed[29:]):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each codec has errors of its own
            uncompress(codec, damaged, LARGE)
        assert not isinstance(caught.value, TooLargeError)


@pytest.mark.parametrize("size", [-1, -5, -(2**31), 2**31 - 1, 50])
def test_blocks_of_snappy_that_lie_are_refused(size: int) -> None:
    head = theirs.snappy_encode(b"x")[:16]
    block = bytes(cramjam.snappy.compress_raw(b"sample"))

    assert uncompress(2, head + struct.pack(">i", len(block)) + block, LARGE) == b"sample"
    with pytest.raises(ValueError, match=f"a block of {size} bytes"):
        uncompress(2, head + struct.pack(">i", size) + block, LARGE)


# In a fetch.

SMALL = bytes([12, 0, 0, 0, 1, 1, 0])  # a record without key, value and headers


@every_codec
def test_a_batch_of_a_few_kb_that_stands_for_more_than_the_limit_is_refused_by_name(codec: int) -> None:
    body = varint(2**27) + bytes(2**27)

    refused = r"source\[0\]: the batch of 1 records at offset 0 .* take more than 64 MiB .* group to offset 1 "
    with pytest.raises(CorruptRecordException, match=refused):
        fetched(batch_of(body, 1, codec)).take(1)


@every_codec
def test_small_records_count_with_what_they_take_in_memory(codec: int) -> None:
    most = fetching.MAX_UNCOMPRESSED_BYTES // (len(SMALL) + fetching.RECORD_BYTES)

    assert len(fetched(batch_of(SMALL * most, most, codec)).take(10)) == 10
    with pytest.raises(CorruptRecordException, match="more than 64 MiB"):
        fetched(batch_of(SMALL * (most + 1), most + 1, codec)).take(10)


@every_codec
@pytest.mark.parametrize("limit", [1, 200, 1_000, 10**6])
def test_what_lies_past_the_limit_is_left_to_the_next_fetch(
    codec: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fetch gives at least one batch, and nothing is lost between them."""
    rows = [Row(0, b"k", b"%03d" % number) for number in range(60)]
    batches = [aiokafka_batch(rows[first : first + 10], codec, base_offset=first) for first in range(0, 60, 10)]
    monkeypatch.setattr(fetching, "MAX_UNCOMPRESSED_BYTES", max(limit, 1_000))  # no batch is larger alone
    found, start, fetches = [], 0, 0
    while start < 60:
        partition = fetched(b"".join(batches[start // 10 :]), start)
        while len(taken := partition.take(7)):
            found += list(taken)
        assert partition.exhausted
        assert partition.next_fetch_offset > start
        start, fetches = partition.next_fetch_offset, fetches + 1

    assert [record.value for record in found] == [row.value for row in rows]
    assert fetches == (1 if limit == 10**6 else 3)


# What a broker would not send.


@pytest.mark.parametrize("key", [None, b"", b"\x00", b"\x00\x00\x00"])
def test_a_marker_that_cannot_be_read_is_corrupt(key: bytes | None) -> None:
    size = -1 if key is None else len(key)
    record = bytes(3) + varint(size) + (key or b"") + varint(-1) + varint(0)
    raw = batch_of(varint(len(record)) + record, 1, TRANSACTIONAL | CONTROL, producer=7)

    with pytest.raises(CorruptRecordException, match=r"the marker at 0 has the key"):
        fetched(raw, isolation=READ_COMMITTED).take(1)
    assert len(fetched(raw).take(1)) == 0


@pytest.mark.parametrize("size", range(17, 61))
@pytest.mark.parametrize("check", [True, False])
def test_a_batch_that_is_shorter_than_its_header_is_corrupt(size: int, check: bool) -> None:
    """Otherwise what stands there would be passed over without a word."""
    whole = batch_of(SMALL, 1)
    raw = whole[:8] + (size - 12).to_bytes(4) + whole[12:17] + bytes(size)

    with pytest.raises(CorruptRecordException):
        fetched(raw, check=check).take(1)
