"""A partition's part of a fetch, as the driver reads it: transactions, offsets, pieces."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException, UnsupportedVersionError
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from core.native.records import Record
from stream_app.kafka.fetching import READ_COMMITTED, FetchedPartition, RawBatches
from tests.record_batches import (
    APPEND_TIME,
    ATTRIBUTES_AT,
    CODECS,
    CONTROL,
    LAST_DELTA_AT,
    ROWS,
    Row,
    aiokafka_batch,
    changed,
    damaged,
    row_of,
)
from tests.strategies import relaxed

AT = TopicPartition("source", 3)
READ_UNCOMMITTED = 0
ABORT, COMMIT = 0, 1


def fetched_partition(
    fetched: bytes,
    start: int = 0,
    aborted: list[tuple[int, int]] | None = None,
    isolation: int = READ_COMMITTED,
    check: bool = True,
) -> FetchedPartition:
    return FetchedPartition(AT, RawBatches(fetched), aborted, start, None, None, check, isolation)


def offsets_of(partition: FetchedPartition, most: int = 10**6) -> list[int]:
    return [record.offset for record in partition.take(most)]


def plain(base: int, count: int = 2, producer: int = -1, transactional: bool = False) -> bytes:
    rows = [Row(0, b"k", b"%d" % number) for number in range(count)]
    return aiokafka_batch(rows, base_offset=base, producer_id=producer, transactional=transactional)


def marker(base: int, producer: int, kind: int) -> bytes:
    """The end of a transaction, as the broker writes it."""
    batch = aiokafka_batch(
        [Row(0, struct.pack(">HH", 0, kind), b"\0" * 6)], base_offset=base, producer_id=producer, transactional=True
    )
    (attributes,) = struct.unpack_from(">h", batch, ATTRIBUTES_AT)
    return changed(batch, ATTRIBUTES_AT, ">h", attributes | CONTROL)


# Transactions.


def test_markers_are_no_records_and_their_offsets_are_passed() -> None:
    for isolation in (READ_COMMITTED, READ_UNCOMMITTED):
        fetched = plain(0, 2, producer=7, transactional=True) + marker(2, 7, COMMIT) + plain(3, 1) + marker(4, 8, ABORT)
        partition = fetched_partition(fetched, isolation=isolation)

        assert offsets_of(partition) == [0, 1, 3]
        assert partition.next_fetch_offset == 5


def test_what_an_aborted_transaction_has_written_is_left_out() -> None:
    """Producer 7 aborts, writes again and commits; producer 9 writes in between, and one without transactions too."""
    fetched = b"".join(
        [
            plain(0, 2, producer=7, transactional=True),
            plain(2, 1, producer=9, transactional=True),
            plain(3, 1, producer=7, transactional=True),
            plain(4, 1, producer=7),
            marker(5, 7, ABORT),
            plain(6, 1, producer=7, transactional=True),
            marker(7, 7, COMMIT),
            marker(8, 9, COMMIT),
        ]
    )

    assert offsets_of(fetched_partition(fetched, aborted=[(7, 0)])) == [2, 4, 6]
    assert offsets_of(fetched_partition(fetched, aborted=[(7, 0)], isolation=READ_UNCOMMITTED)) == [0, 1, 2, 3, 4, 6]
    assert offsets_of(fetched_partition(fetched, aborted=[])) == [0, 1, 2, 3, 4, 6]
    assert offsets_of(fetched_partition(fetched, aborted=None)) == [0, 1, 2, 3, 4, 6]


def test_a_transaction_that_began_before_the_fetch_is_left_out_too() -> None:
    fetched = plain(10, 2, producer=7, transactional=True) + marker(12, 7, ABORT) + plain(13, 1, 7, transactional=True)

    assert offsets_of(fetched_partition(fetched, 10, aborted=[(7, 3)])) == [13]


def test_transactions_that_were_aborted_one_after_the_other_each_end_with_their_marker() -> None:
    """The broker names them in any order."""
    first = plain(0, 1, producer=7, transactional=True) + marker(1, 7, ABORT)
    second = plain(2, 1, producer=7, transactional=True) + marker(3, 7, ABORT)
    good = plain(4, 1, producer=7, transactional=True) + marker(5, 7, COMMIT)

    assert offsets_of(fetched_partition(first + second + good, aborted=[(7, 2), (7, 0)])) == [4]


def test_a_fetch_of_nothing_visible_still_moves_on() -> None:
    partition = fetched_partition(plain(0, 3, producer=7, transactional=True) + marker(3, 7, ABORT), aborted=[(7, 0)])

    assert offsets_of(partition) == []
    assert partition.exhausted
    assert partition.next_fetch_offset == 4


# Offsets and pieces.


def test_a_fetch_from_the_middle_of_a_batch_begins_there() -> None:
    partition = fetched_partition(plain(0, 5) + plain(5, 2), start=3)

    assert offsets_of(partition) == [3, 4, 5, 6]
    assert partition.next_fetch_offset == 7


def test_after_each_piece_the_next_fetch_would_begin_behind_it() -> None:
    partition = fetched_partition(plain(0, 3) + plain(3, 3) + marker(6, 7, COMMIT))
    assert partition.next_fetch_offset == 0

    assert offsets_of(partition, 2) == [0, 1]
    assert (partition.next_fetch_offset, partition.exhausted) == (2, False)
    assert offsets_of(partition, 3) == [2, 3, 4]
    assert (partition.next_fetch_offset, partition.exhausted) == (5, False)
    assert offsets_of(partition, 1) == [5]
    assert (partition.next_fetch_offset, partition.exhausted) == (7, True)
    assert offsets_of(partition, 9) == []
    assert partition.next_fetch_offset == 7


def test_offsets_that_compaction_took_from_the_end_of_a_batch_are_passed() -> None:
    """Otherwise the same batch would be fetched for ever."""
    partition = fetched_partition(changed(plain(10, 2), LAST_DELTA_AT, ">i", 9), start=10)

    assert offsets_of(partition) == [10, 11]
    assert partition.next_fetch_offset == 20


@pytest.mark.parametrize("codec", [0, CODECS["lz4"]])
def test_a_batch_that_compaction_has_emptied_is_passed(codec: int) -> None:
    header = changed(changed(plain(10, 1)[:61], LAST_DELTA_AT, ">i", 4), 57, ">i", 0)
    header = changed(header[:8] + (61 - 12).to_bytes(4) + header[12:], ATTRIBUTES_AT, ">h", codec)
    partition = fetched_partition(header + plain(15, 1), start=10)

    assert offsets_of(partition) == [15]
    alone = fetched_partition(header, start=10)
    assert offsets_of(alone) == []
    assert alone.next_fetch_offset == 15


@relaxed
@given(
    batches=st.lists(st.tuples(ROWS, st.sampled_from(sorted(CODECS))), min_size=1, max_size=4),
    start=st.integers(0, 12),
    pieces=st.lists(st.integers(1, 9), max_size=5),
)
def test_any_pieces_together_are_what_was_written(
    batches: list[tuple[list[Row], str]], start: int, pieces: list[int]
) -> None:
    rows = [row for rows, _ in batches for row in rows]
    bases = [0, *itertools.accumulate(len(rows) for rows, _ in batches)]
    written = [aiokafka_batch(part, CODECS[codec], base) for (part, codec), base in zip(batches, bases, strict=False)]
    cut_off = aiokafka_batch([Row(0, b"", b"")], base_offset=len(rows))[:-1]
    partition = fetched_partition(b"".join([*written, cut_off]), start)

    found: list[Record] = []
    for most in [*pieces, 10**6]:
        taken = partition.take(most)
        assert len(taken) <= most
        assert taken.partition == AT.partition
        found += taken
        behind = max(start, len(rows)) if partition.exhausted else found[-1].offset + 1
        assert partition.next_fetch_offset == behind

    assert partition.exhausted
    assert [record.offset for record in found] == list(range(start, len(rows)))
    assert [row_of(record) for record in found] == rows[start:]


def test_whether_times_are_the_producers_or_the_brokers_is_told() -> None:
    created, appended = plain(0), changed(plain(0), ATTRIBUTES_AT, ">h", APPEND_TIME)

    assert fetched_partition(created).take(1).timestamp_type == 0
    assert fetched_partition(appended).take(1).timestamp_type == 1


def test_a_batch_larger_than_the_fetch_is_not_there_and_its_size_is() -> None:
    """aiokafka raises then: with another limit of the fetch it would be read."""
    raw = RawBatches(plain(0)[:-1])

    assert not raw.has_next()
    assert raw.size_in_bytes() == len(plain(0)) - 1
    assert RawBatches(plain(0)).has_next()
    assert (RawBatches(b"").has_next(), RawBatches(b"").size_in_bytes()) == (False, 0)


# What cannot be read.


def test_a_format_from_before_kafka_0_11_is_refused_by_name() -> None:
    old = bytearray(plain(0))
    old[16] = 1

    with pytest.raises(UnsupportedVersionError, match=r"source\[3\] holds records of format 1, .*only format 2"):
        fetched_partition(bytes(old)).take(1)


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_an_unknown_codec_is_corrupt(codec: int) -> None:
    said = (
        rf"source\[3\]: the batch of 2 records at offset 4 cannot be read: its codec is {codec}\. To go on .* offset 6 "
    )
    with pytest.raises(CorruptRecordException, match=said):
        fetched_partition(changed(plain(4), ATTRIBUTES_AT, ">h", codec), 4).take(1)


@pytest.mark.parametrize("codec", [number for number in CODECS.values() if number])
def test_what_cannot_be_uncompressed_is_corrupt_whatever_the_codec_says(codec: int) -> None:
    with pytest.raises(CorruptRecordException, match="records at offset 4 cannot be read"):
        fetched_partition(changed(plain(4), ATTRIBUTES_AT, ">h", codec), 4).take(1)


@relaxed
@given(batches=st.lists(st.tuples(ROWS, st.sampled_from(sorted(CODECS))), min_size=1, max_size=3), data=st.data())
def test_damage_is_told_or_the_fetch_ends_before_it(batches: list[tuple[list[Row], str]], data: Any) -> None:
    """Except in the offset of a batch, which no checksum covers, as the broker gives it."""
    written = [aiokafka_batch(rows, CODECS[codec]) for rows, codec in batches]
    fetched = data.draw(damaged(b"".join(written)))
    expected = [row for rows, _ in batches for row in rows]

    try:
        found = [row_of(record) for record in fetched_partition(fetched, start=-(2**63)).take(10**6)]
    except (CorruptRecordException, UnsupportedVersionError):
        return
    assert all(row in expected for row in found)


@relaxed
@given(rows=ROWS, codec=st.sampled_from(sorted(CODECS)), data=st.data())
def test_damage_without_checksums_gives_records_or_an_error_of_kafka(rows: list[Row], codec: str, data: Any) -> None:
    fetched = data.draw(damaged(aiokafka_batch(rows, CODECS[codec])))

    try:
        list(fetched_partition(fetched, check=False).take(10**6))
    except (CorruptRecordException, UnsupportedVersionError):
        return
