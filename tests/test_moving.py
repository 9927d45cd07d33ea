"""A stream's state in another partition: the same, but for the source offsets in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.results import WindowRules
from core.engines.state import pack_state, unpack_state
from core.engines.table_keys import HEAD, segment_key
from core.engines.windows import CastWindow, unpack_body
from core.native.streams import StreamState
from core.wire.partition import partition_of
from stream_app.routes import routes
from stream_app.settings import Settings
from stream_app.topics import grow
from stream_app.topics.grown import Grown, grown_of, is_note
from stream_app.topics.moving import TableRows, moved_rows, streams_in, tombstones
from tests.window_blobs import pack_body, pack_segment

KEY, MODEL = b"press-7", "0123456789ab"
FIELDS = ("append_ms", "timestamp_ms", "step", "sequence", "previous", "closed", "sample", "gap_first", "gap_end")


def a_state(offset: int, back: bool = False) -> StreamState:
    state = StreamState()
    state.offset, state.append_ms, state.timestamp_ms, state.step = offset, 1_000, 900, 41
    state.sequence, state.previous, state.gap_first, state.gap_end = "b", "a", 3, 7
    state.sample = (1.0, 2.0, 3.0, 4.0, 5.0)
    if back:
        state.back_step, state.back_ms, state.back_offset = 5, 950, offset + 3
    return state


def a_window(offset: int, samples: int = 120) -> tuple[dict[bytes, tuple[bytes, int]], CastWindow]:
    """A head with its segments."""
    window = CastWindow(WindowRules())
    for step in range(samples):
        window.open(offset - samples + 1 + step)
        window.add(step, (1.0, 2.0, 3.0, 4.0, float(step)))
    head = a_state(offset)
    head.step, head.gap_first, head.gap_end = samples - 1, 0, 0
    rows = {segment_key(KEY, segment.number): (pack_segment(segment), offset) for segment in window.segments}
    rows[HEAD + KEY] = pack_state(head, MODEL, pack_body(window)), offset
    return rows, window


@given(offset=st.integers(0, 2**40), end=st.integers(2, 2**40), back=st.booleans())
def test_a_moved_signal_state_stands_right_before_the_records_to_come(offset: int, end: int, back: bool) -> None:
    before = a_state(offset, back)
    rows = {KEY: (pack_state(before, MODEL, b"h and c"), before.included)}

    moved = moved_rows("step", KEY, rows, {}, end)

    assert moved is not None
    ((key, value, source_offset),) = moved
    after = StreamState()
    assert value is not None
    assert unpack_state(value, after) == (MODEL, b"h and c")
    assert (key, source_offset, after.included) == (KEY, end - 1, end - 1)
    assert [getattr(after, name) for name in FIELDS] == [getattr(before, name) for name in FIELDS]
    assert (after.back_step, after.offset < end) == (before.back_step, True)


@pytest.mark.parametrize("end", [2, 130, 10_000])
def test_a_moved_window_is_the_same_and_its_segments_have_numbers_below_all_to_come(end: int) -> None:
    rows, window = a_window(500)

    moved = moved_rows("window", KEY, rows, {}, end)

    assert moved is not None
    assert moved[-1][0] == HEAD + KEY  # a head that stands there has its segments
    there = {key: value for key, value, _ in moved}
    state, numbers = StreamState(), []

    def segment(number: int) -> bytes | None:
        numbers.append(number)
        return there.get(segment_key(KEY, number))

    _, body = unpack_state(there[HEAD + KEY] or b"", state)
    found = unpack_body(body, state.step, WindowRules(), segment)
    assert found.view().samples.tobytes() == window.view().samples.tobytes()
    assert max(numbers) < end


def test_a_stream_that_has_another_state_there_is_not_moved() -> None:
    rows = {KEY: (pack_state(a_state(7), MODEL), 7)}

    assert moved_rows("step", KEY, rows, {KEY: (b"of its own", 3)}, 10) is None
    assert moved_rows("step", KEY, rows, {KEY: (b"from a run before", 9)}, 10) is not None


def test_a_damaged_state_is_not_moved() -> None:
    rows, _ = a_window(500)
    number = next(key for key in rows if not key.startswith(HEAD))

    assert moved_rows("window", KEY, {key: row for key, row in rows.items() if key != number}, {}, 10) is None
    assert moved_rows("step", KEY, {KEY: (b"damaged", 7)}, {}, 10) is None


def test_all_of_a_stream_is_deleted_where_it_was() -> None:
    rows, _ = a_window(500)
    other = {HEAD + b"other": (b"x", 1), segment_key(b"other", 1): (b"y", 1), segment_key(b"orphan", 1): (b"z", 1)}

    found: dict[bytes, TableRows] = streams_in("window", rows | other)

    assert set(found) == {KEY, b"other"}
    deleted = list(tombstones("window", KEY, found[KEY]))
    assert {key for key, _, _ in deleted} == set(rows)
    assert deleted[0] == (HEAD + KEY, None, 500)
    assert all(value is None for _, value, _ in deleted)


def test_the_note_of_a_growth_says_who_left_and_who_came() -> None:
    note = Grown(2, 5, {0: 10, 4: 2}, 1_000)
    (read,) = grown_of([(note.key, note.value()), (b"stream", b"state")])

    assert read == note
    assert is_note(note.key)
    assert not is_note(b"stream")
    keys = [b"s%d" % number for number in range(50)]
    for partition in range(5):
        came = {key for key in keys if note.came(key, partition, 10)}
        left = {key for key in keys if note.left(key, partition)}
        assert not came & left
    assert any(note.came(key, 4, 2) for key in keys)
    assert not any(note.came(key, 0, 9) for key in keys)


class Reader:
    """Every partition ends at 5, and holds nothing to read."""

    def bounds(self, at: Any) -> tuple[int, int]:
        return 5, 5

    def read(self, starts: Any) -> Iterator[Any]:
        return iter(())


def test_states_that_a_growth_to_another_number_has_moved_before_it_died_are_moved_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(partitions=16)
    route = next(route for route in routes(settings).values() if route.task == "signal")
    keys = [b"s%d" % number for number in range(40)]
    rows: dict[int, dict[bytes, tuple[bytes, int]]] = {partition: {} for partition in range(8)}
    for number, key in enumerate(keys):
        partition = partition_of(key, 8) if number % 2 else 0  # every other one was moved
        rows[partition][key] = pack_state(a_state(4), MODEL), 4
    sent: list[tuple[int, tuple[bytes, bytes | None, int]]] = []
    monkeypatch.setattr(grow, "_read", lambda *_: (rows, [Grown(1, 8)]))
    monkeypatch.setattr(grow, "committed_offsets", lambda _: {})
    monkeypatch.setattr(grow._RoutePlan, "_commit", lambda *_: None)
    monkeypatch.setattr(grow._RoutePlan, "_send", lambda _, rows: sent.extend(rows))
    reader: Any = Reader()
    there = {route.source: 8, route.changelog: 8, route.output: 1}

    grow._RoutePlan(settings, reader, route, there, {}).move(growth := grow.Growth(), reader)

    assert growth.left == 0
    stay = {key for at, of_partition in rows.items() for key in of_partition if partition_of(key, 16) == at}
    moved = {key: at for at, (key, value, _) in sent if value is not None and not is_note(key)}
    assert moved == {key: partition_of(key, 16) for key in keys if key not in stay}
