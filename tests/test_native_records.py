"""Records in one piece of memory against plain lists of the same records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.native.records import Outputs, Record, Records, parts_of
from tests.strategies import FakeRecord, relaxed

BYTES = st.none() | st.binary(max_size=300)
HEADERS = st.lists(st.tuples(st.text(max_size=200), st.none() | st.binary(max_size=200)), max_size=4).map(tuple)
TIMES = st.none() | st.integers(-1, 2**62)


@st.composite
def rows(draw: st.DrawFn, partition: int = 3) -> list[FakeRecord]:
    """Records of one partition in offset order."""
    offsets = sorted(draw(st.sets(st.integers(0, 2**62), max_size=12)))
    return [FakeRecord(partition, at, draw(TIMES), draw(BYTES), draw(BYTES), draw(HEADERS)) for at in offsets]


def packed(records: Sequence[Any], partition: int = 3, kind: type[Records] = Records) -> Records:
    found = kind(partition)
    for record in records:
        found.add(record)
    return found


def fields(record: Any) -> tuple[Any, ...]:
    time = -1 if record.timestamp is None else record.timestamp
    return record.partition, record.offset, time, record.key, record.value, tuple(record.headers)


@relaxed
@given(given_rows=rows())
def test_every_record_comes_out_as_it_went_in(given_rows: list[FakeRecord]) -> None:
    records = packed(given_rows)

    assert len(records) == len(given_rows)
    assert [fields(record) for record in records] == [fields(row) for row in given_rows]
    assert [fields(records[i]) for i in range(-len(records), len(records))] == [fields(row) for row in given_rows] * 2
    times = [-1 if row.timestamp is None else row.timestamp for row in given_rows]
    np.testing.assert_array_equal(records.timestamps(), np.array(times, np.int64))


@relaxed
@given(data=st.data(), given_rows=rows())
def test_slices_of_slices_are_those_of_a_list(data: Any, given_rows: list[FakeRecord]) -> None:
    records, expected = packed(given_rows), given_rows
    for _ in range(3):
        ends = st.none() | st.integers(-15, 15)
        part = slice(data.draw(ends), data.draw(ends))
        records, expected = records[part], expected[part]

        assert (records.partition, len(records)) == (3, len(expected))
        assert [fields(record) for record in records] == [fields(row) for row in expected]
        if expected:
            assert (records.first_offset, records.last_offset) == (expected[0].offset, expected[-1].offset)
        times = [-1 if row.timestamp is None else row.timestamp for row in expected]
        assert records.timestamps().tolist() == times


@relaxed
@given(given_rows=rows(), data=st.data())
def test_since_gives_the_records_from_an_offset_on(given_rows: list[FakeRecord], data: Any) -> None:
    start = data.draw(st.integers(0, len(given_rows)))
    near = [row.offset + change for row in given_rows for change in (-1, 0, 1)]
    offset = data.draw(st.sampled_from([-1, 2**62 + 1, *near]))

    found = packed(given_rows)[start:].since(offset)

    assert [record.offset for record in found] == [row.offset for row in given_rows[start:] if row.offset >= offset]


@relaxed
@given(data=st.data(), given_rows=rows())
def test_groups_keep_together_what_is_tied(data: Any, given_rows: list[FakeRecord]) -> None:
    records, expected, group = Records(3), [], []
    for row in given_rows:
        tied = row is not given_rows[-1] and data.draw(st.booleans())
        records.append(row.key, row.value, row.offset, 7, tied=tied)
        group.append((row.key, row.value, row.offset))
        if not tied:
            expected.append(group)
            group = []

    assert [[(record.key, record.value, record.offset) for record in group] for group in records.groups()] == expected


@relaxed
@given(first=rows(), second=rows())
def test_extend_adds_everything_but_the_headers(first: list[FakeRecord], second: list[FakeRecord]) -> None:
    records, more = packed(first), packed(second)

    records.extend(more[1:])
    records.extend(Records(3))

    expected = [fields(row) for row in first] + [(*fields(row)[:-1], ()) for row in second[1:]]
    assert [fields(record) for record in records] == expected
    assert [fields(record) for record in more] == [fields(row) for row in second]


def test_extend_keeps_what_is_tied_together() -> None:
    more = Records(0)
    more.append(b"a", None, 5, 0, tied=True)
    more.append(b"b", b"", 5, 0)
    records = Records(0)
    records.append(b"first", b"1", 4, 0)

    records.extend(more)

    assert [[record.key for record in group] for group in records.groups()] == [[b"first"], [b"a", b"b"]]


@relaxed
@given(given_rows=rows())
def test_outputs_are_read_as_tuples(given_rows: list[FakeRecord]) -> None:
    outputs = Outputs(3)
    for row in given_rows:
        outputs.append(row.key, row.value, row.offset, 12)

    expected = [(row.key, row.value, row.offset, 12) for row in given_rows]
    assert list(outputs) == expected
    assert [outputs[i] for i in range(len(outputs))] == expected
    assert list(outputs[1:]) == expected[1:]
    assert isinstance(outputs[1:], Outputs)
    assert repr(outputs) == repr(expected)


def test_a_slice_sees_its_records_after_the_whole_has_grown() -> None:
    """They share their memory, which moves when it grows."""
    records = Records(0)
    records.append(b"key", b"first", 0, 0)
    part = records[:]
    for offset in range(1, 5_000):
        records.append(b"key", b"x" * 100, offset, 0)

    assert [record.value for record in part] == [b"first"]
    assert records[-1].offset == 4_999


def test_a_slice_outlives_the_whole() -> None:
    part = packed([FakeRecord(3, offset, 0, b"key", b"%d" % offset) for offset in range(100)])[50:52]

    assert [record.value for record in part] == [b"50", b"51"]


def test_null_and_empty_are_two_things() -> None:
    records = Records(0)
    for key, value in [(None, None), (b"", b""), (None, b""), (b"", None)]:
        records.append(key, value, 0, 0)
        records.add(Record(0, 0, 0, key, value))

    expected = [(None, None), (b"", b""), (None, b""), (b"", None)]
    assert [(record.key, record.value) for record in records][::2] == expected
    assert [(record.key, record.value) for record in records][1::2] == expected


def test_without_records_there_is_no_offset() -> None:
    empty = Records(0)

    assert (len(empty), list(empty), list(empty.groups()), empty.timestamps().tolist()) == (0, [], [], [])
    assert len(empty.since(0)) == 0
    for name in ("first_offset", "last_offset"):
        with pytest.raises(IndexError, match="no records"):
            getattr(empty, name)
    for index in (0, -1):
        with pytest.raises(IndexError):
            empty[index]


def test_slices_have_no_steps() -> None:
    with pytest.raises(ValueError, match="without steps"):
        Records(0)[::2]


@pytest.mark.parametrize("wrong", ["text", 7, bytearray(b"x"), memoryview(b"x")])
def test_only_bytes_are_taken(wrong: Any) -> None:
    """What is copied is the memory behind the object."""
    records = Records(0)

    for key, value in ((wrong, b""), (b"", wrong)):
        with pytest.raises(TypeError):
            records.append(key, value, 0, 0)
        with pytest.raises(TypeError):
            records.add(FakeRecord(0, 0, 0, key, value))
    assert len(records) == 0


def test_parts_are_runs_of_a_partition_and_records_pass_as_they_are() -> None:
    whole = packed([FakeRecord(1, 9, 0, b"w", None)], partition=1)
    loose = [FakeRecord(partition, offset, None, b"k", b"v") for partition, offset in [(0, 1), (0, 2), (1, 5), (0, 3)]]

    parts = parts_of([*loose[:3], whole, *loose[3:]])

    assert [(part.partition, [record.offset for record in part]) for part in parts] == [
        (0, [1, 2]),
        (1, [5]),
        (1, [9]),
        (0, [3]),
    ]
    assert parts[2] is whole
    assert parts_of([]) == []


def test_a_record_says_what_it_holds() -> None:
    record = Record(1, 2, 3, b"k", None, [("h", b"x")])

    assert repr(record) == "Record(partition=1, offset=2, timestamp=3, key=b'k', value=None, headers=(('h', b'x'),))"
