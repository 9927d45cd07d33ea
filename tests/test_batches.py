"""Our record batches against aiokafka's: what one writes the other reads; damage is told, whatever it is."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from core.native.records import Records, raw_headers
from stream_app.native import checksum
from stream_app.native.batches import BatchBuilder, next_header
from tests.record_batches import (
    APPEND_TIME,
    ATTRIBUTES_AT,
    BYTES,
    CODECS,
    COUNT_AT,
    HEADERS,
    LAST_DELTA_AT,
    MAX_TIMESTAMP_AT,
    ROWS,
    TIMES,
    Row,
    aiokafka_batch,
    changed,
    damaged,
    headers_in,
    read_all,
    read_batch,
    row_of,
)
from tests.strategies import examples, relaxed

LARGE = 2**30
HEADER_BYTES = 61

many = examples(200)
"""For damage: most of it is told at once."""


def read_by_aiokafka(built: bytes) -> list[Any]:
    batches, found = MemoryRecords(built), []
    while batches.has_next():
        batch = batches.next_batch()
        assert batch.validate_crc()
        found += list(batch)
    return found


@given(st.binary(max_size=300), st.integers(0, 20))
def test_the_checksum_is_the_same_by_the_instruction_and_by_tables(raw: bytes, start: int) -> None:
    by_instruction = checksum.crc32c(memoryview(raw)[start:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checksum, "_HAS_INSTRUCTION", False)
        assert checksum.crc32c(memoryview(raw)[start:]) == by_instruction


def packed(rows: list[tuple[bytes | None, bytes | None]], ties: list[bool] | None = None) -> Records:
    """Records with offsets 1000, 1001 ..."""
    records = Records(0)
    for number, (key, value) in enumerate(rows):
        records.append(key, value, 1_000 + number, 0, tied=ties is not None and ties[number])
    return records


# Written by us.


@relaxed
@given(rows=ROWS, transactional=st.booleans(), producer=st.tuples(st.integers(-1, 2**60), st.integers(-1, 2**15 - 1)))
def test_appended_records_make_the_same_bytes_as_aiokafka_s(
    rows: list[Row], transactional: bool, producer: tuple[int, int]
) -> None:
    ours = BatchBuilder(LARGE, transactional)
    for row in rows:
        assert ours.append(row.timestamp, row.key, row.value, list(row.headers))
    ours._set_producer_state(*producer, 77)
    built = bytes(ours._build())

    (header,) = headers_in(built)
    assert [row_of(record) for record in read_by_aiokafka(built)] == rows
    assert (header.producer_id, header.is_transactional, header.next_offset) == (producer[0], transactional, len(rows))
    assert ours.record_count() == len(rows)
    assert ours.size() == len(built)
    assert bytes(ours._build()) == built  # as it is sent again after a failure

    plain = BatchBuilder(LARGE, transactional)
    for row in rows:
        plain.append(row.timestamp, row.key, row.value, list(row.headers))
    assert bytes(plain._build()) == aiokafka_batch(rows, transactional=transactional)


@relaxed
@given(rows=st.lists(st.tuples(BYTES, BYTES), max_size=12), headers=HEADERS, timestamp=TIMES)
def test_extended_records_carry_their_source_offset_before_the_shared_headers(
    rows: list[tuple[bytes | None, bytes | None]], headers: Any, timestamp: int
) -> None:
    builder = BatchBuilder(LARGE)

    taken = builder.extend(packed(rows), 0, timestamp, raw_headers(headers), len(headers))

    assert taken == builder.record_count() == len(rows)
    assert [row_of(record) for record in read_by_aiokafka(bytes(builder._build()))] == [
        Row(timestamp, key, value, (("source-offset", b"%d" % (1_000 + number)), *headers))
        for number, (key, value) in enumerate(rows)
    ]


@pytest.mark.parametrize("offset", [0, 9, 10, 99, 10**9, 2**53, 2**63 - 1])
def test_source_offsets_are_decimal_numbers(offset: int) -> None:
    records = Records(0)
    records.append(b"k", b"v", offset, 0)
    builder = BatchBuilder(LARGE)
    builder.extend(records, 0, 0, b"", 0)

    (record,) = read_by_aiokafka(bytes(builder._build()))
    assert list(record.headers) == [("source-offset", b"%d" % offset)]


@relaxed
@given(data=st.data(), sizes=st.lists(st.integers(0, 400), min_size=1, max_size=30), limit=st.integers(200, 2_000))
def test_batches_stay_below_their_limit_and_never_part_what_is_tied(data: Any, sizes: list[int], limit: int) -> None:
    ties = [*(data.draw(st.booleans()) for _ in sizes[1:]), False]
    records = packed([(b"%d" % number, b"x" * size) for number, size in enumerate(sizes)], ties)
    found, start = [], 0
    while start < len(records):
        builder = BatchBuilder(limit)
        end = builder.extend(records, start, 5, b"", 0)
        assert builder.closed() is (end < len(records))
        built = bytes(builder._build())
        found += [record.key for record in read_by_aiokafka(built)]
        assert not ties[end - 1]
        if len(built) > limit:
            assert not any(not tied for tied in ties[start : end - 1]), "more than one group, above the limit"
        start = end

    assert found == [record.key for record in records]


def test_a_record_above_the_limit_goes_alone() -> None:
    large, small = b"x" * 2_000_000, b"y"
    builder = BatchBuilder(900_000)

    assert builder.append(0, b"k", large, [])
    assert not builder.append(0, b"k", small, [])
    assert builder.closed()
    assert [record.value for record in read_by_aiokafka(bytes(builder._build()))] == [large]


def test_nothing_is_taken_after_close_or_build() -> None:
    for end in (BatchBuilder.close, BatchBuilder._build):
        builder = BatchBuilder(LARGE)
        assert not builder.closed()
        builder.append(0, b"k", b"first", [])
        end(builder)

        assert builder.closed()
        assert not builder.append(0, b"k", b"late", [])
        assert builder.extend(packed([(b"k", b"late")]), 0, 0, b"", 0) == 0
        assert [record.value for record in read_by_aiokafka(bytes(builder._build()))] == [b"first"]


@pytest.mark.parametrize("wrong", ["text", 7, bytearray(b"x")])
def test_only_bytes_are_taken(wrong: Any) -> None:
    builder = BatchBuilder(LARGE)
    for key, value, headers in ((wrong, b"", []), (b"", wrong, []), (b"", b"", [("name", wrong)])):
        with pytest.raises(TypeError):
            builder.append(0, key, value, headers)
    assert builder.record_count() == 0


def test_more_records_than_an_offset_of_two_bytes_counts() -> None:
    records = packed([(b"%d" % number, b"") for number in range(20_000)])
    builder = BatchBuilder(LARGE)
    builder.extend(records, 0, 0, b"", 0)

    assert [record.offset for record in read_by_aiokafka(bytes(builder._build()))] == list(range(20_000))


# Read by us.


@relaxed
@given(rows=ROWS, codec=st.sampled_from(sorted(CODECS)), base=st.integers(0, 2**62), transactional=st.booleans())
def test_what_aiokafka_has_written_is_read(rows: list[Row], codec: str, base: int, transactional: bool) -> None:
    fetched = aiokafka_batch(rows, CODECS[codec], base, transactional=transactional)

    (header,) = headers_in(fetched)
    records = read_all(fetched)

    assert [row_of(record) for record in records] == rows
    assert [record.offset for record in records] == list(range(base, base + len(rows)))
    assert (header.base_offset, header.next_offset, header.records) == (base, base + len(rows), len(rows))
    assert (header.codec, header.is_transactional, header.is_control) == (CODECS[codec], transactional, False)
    assert (header.timestamp_type, header.start, header.end) == (0, 0, len(fetched))
    assert header.max_timestamp == max(row.timestamp for row in rows)


@relaxed
@given(batches=st.lists(ROWS, min_size=1, max_size=3), data=st.data())
def test_a_batch_that_was_cut_off_is_left_for_the_next_fetch(batches: list[list[Row]], data: Any) -> None:
    written, base = [], 0
    for rows in batches:
        written.append(aiokafka_batch(rows, base_offset=base))
        base += len(rows)
    whole = data.draw(st.integers(0, len(written) - 1))
    cut = data.draw(st.integers(0, len(written[whole]) - 1))

    records = read_all(b"".join(written[:whole]) + written[whole][:cut])

    assert [row_of(record) for record in records] == [row for rows in batches[:whole] for row in rows]


@relaxed
@given(rows=ROWS, skipped=st.integers(-1, 10))
def test_records_before_the_wanted_offset_are_left_out(rows: list[Row], skipped: int) -> None:
    records = read_all(aiokafka_batch(rows, base_offset=100), from_offset=100 + skipped)

    assert [row_of(record) for record in records] == rows[max(0, skipped) :]


def test_of_a_compacted_batch_offsets_and_end_are_kept() -> None:
    rows = [Row(0, b"%d" % number, b"") for number in range(3)]
    fetched = changed(aiokafka_batch(rows, base_offset=50, offsets=[1, 4, 7]), LAST_DELTA_AT, ">i", 9)

    (header,) = headers_in(fetched)
    assert [record.offset for record in read_all(fetched)] == [51, 54, 57]
    assert header.next_offset == 60


def test_the_append_time_is_that_of_all_records() -> None:
    fetched = aiokafka_batch([Row(5, b"k", b""), Row(9, b"k", b"")])
    fetched = changed(changed(fetched, ATTRIBUTES_AT, ">h", APPEND_TIME), MAX_TIMESTAMP_AT, ">q", 1_234)

    assert [record.timestamp for record in read_all(fetched)] == [1_234, 1_234]
    assert [header.timestamp_type for header in headers_in(fetched)] == [1]


def test_an_old_format_has_only_its_magic() -> None:
    old = bytearray(aiokafka_batch([Row(0, b"k", b"v")]))
    old[16] = 1

    header = next_header(bytes(old), 0)
    assert header is not None
    assert (header.magic, header.end) == (1, len(old))


@pytest.mark.parametrize("fetched", [b"", b"\x00", b"\x00" * 16, b"\xff" * 100, b"\x7f" * 100, b"\x00" * 100])
def test_where_no_batch_stands_there_is_no_header(fetched: bytes) -> None:
    assert next_header(fetched, 0) is None
    assert next_header(fetched, len(fetched)) is None


# Damage.


def body_of(*records: bytes, count: int | None = None) -> bytes:
    """A batch with a body of our own, its checksum right."""
    empty = aiokafka_batch([Row(0, None, None)])[:HEADER_BYTES]
    body = b"".join(records)
    raw = changed(empty + body, COUNT_AT, ">i", len(records) if count is None else count)
    return changed(
        raw[:8] + (len(raw) - 12).to_bytes(4) + raw[12:], COUNT_AT, ">i", len(records) if count is None else count
    )


GOOD = bytes([14, 0, 0, 0, 2, 107, 1, 0])  # 7 bytes: no attributes, no deltas, key "k", null value, no headers


def test_a_body_by_hand_is_read() -> None:
    assert [row_of(record) for record in read_all(body_of(GOOD))] == [Row(0, b"k", None)]


@pytest.mark.parametrize(
    "bad",
    [
        body_of(GOOD, count=2),
        body_of(GOOD, GOOD, count=1),
        body_of(GOOD, count=0),
        body_of(GOOD, count=-1),
        body_of(count=1),
        body_of(count=-1),
        body_of(b"\xff" * 11),  # a number that never ends
        body_of(b"\x80"),
        body_of(bytes([1]) + GOOD[1:]),  # a record of -1 bytes
        body_of(bytes([12]) + GOOD[1:]),  # shorter than what it holds
        body_of(bytes([16]) + GOOD[1:] + b"\x00"),  # longer
        body_of(bytes([14, 0, 0, 0, 3, 107, 1, 0])),  # a key of -2 bytes
        body_of(bytes([14, 0, 0, 0, 40, 107, 1, 0])),  # a key of 20 bytes
        body_of(bytes([14, 0, 0, 0, 2, 107, 40, 0])),  # a value of 20 bytes
        body_of(bytes([14, 0, 0, 0, 2, 107, 1, 1])),  # -1 headers
        body_of(bytes([14, 0, 0, 0, 2, 107, 1, 2])),  # a header that is not there
        body_of(bytes([18, 0, 0, 0, 2, 107, 1, 2, 1, 1])),  # one with a null name
        body_of(bytes([18, 0, 0, 0, 2, 107, 1, 2, 0, 3])),  # one with a value of -2 bytes
        body_of(bytes([18, 0, 0, 0, 2, 107, 1, 126, 0, 1])),  # 63 headers
        body_of(bytes([26, 0, 0, 0, 2, 107, 1, *b"\xfe\xff\xff\xff\x0f", 0])),  # 2^31 headers
    ],
)
def test_a_body_that_does_not_hold_what_it_says_is_corrupt(bad: bytes) -> None:
    with pytest.raises(CorruptRecordException, match="the batch at offset 0"):
        read_all(bad)


def test_a_wrong_checksum_is_told_with_its_offset() -> None:
    fetched = bytearray(aiokafka_batch([Row(0, b"k", b"v")], base_offset=41))
    fetched[-1] ^= 1

    with pytest.raises(CorruptRecordException, match="the checksum of the batch at offset 41 does not fit"):
        read_all(bytes(fetched))


@many
@given(batches=st.lists(ROWS, min_size=1, max_size=3), data=st.data())
def test_no_damage_passes_the_checksum(batches: list[list[Row]], data: Any) -> None:
    """Of what the checksum does not cover, a batch's offset and length, nothing makes records out of nothing."""
    fetched = data.draw(damaged(b"".join(aiokafka_batch(rows) for rows in batches)))

    with suppress(CorruptRecordException):
        for header in headers_in(fetched):
            found = [row_of(record) for record in read_batch(fetched, header, from_offset=-(2**63))]
            assert found in batches


@many
@given(rows=ROWS, data=st.data())
def test_no_damage_does_worse_than_wrong_records_where_nobody_looks_at_the_checksum(rows: list[Row], data: Any) -> None:
    head, body = HEADER_BYTES, aiokafka_batch(rows)
    fetched = body[:head] + data.draw(damaged(body[head:]))
    fetched = fetched[:8] + (len(fetched) - 12).to_bytes(4) + fetched[12:]

    with suppress(CorruptRecordException):
        # From the lowest offset on: a record's own may be damaged to one below 0.
        assert len(read_all(fetched, check=False, from_offset=-(2**63))) == len(rows)


@many
@given(fetched=st.binary(max_size=400), start=st.integers(0, 400))
def test_any_bytes_are_read_or_refused(fetched: bytes, start: int) -> None:
    with suppress(CorruptRecordException):
        read_all(fetched, check=False)
    next_header(fetched, min(start, len(fetched)))
