"""A cast's window against a list of all its samples, and its way through the table."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.results import WindowRules
from core.engines.table_keys import HEAD, head_at, segment_at, segment_key, state_at, state_key, stream_of
from core.engines.windows import CastWindow, unpack_body, unpack_segment
from core.errors import StateError
from core.tasks.declaration import Kind
from tests.strategies import relaxed
from tests.window_blobs import pack_body, pack_segment

RULES = WindowRules(window_length=12, window_min=5, hop=3, segment=4)


def fill(window: CastWindow, records: list[int], first_step: int = 0, first_offset: int = 100) -> int:
    """Records of the given numbers of samples; a sample holds its step. The step after the last."""
    step = first_step
    for offset, samples in enumerate(records, first_offset):
        window.open(offset)
        for _ in range(samples):
            window.add(step, (float(step), 0.0, 1.0, 2.0, 3.0))
            step += 1
        window.trim()
    return step


def stored(window: CastWindow) -> dict[int, bytes]:
    return {segment.number: pack_segment(segment) for segment in window.segments}


@relaxed
@given(records=st.lists(st.integers(1, 6), min_size=1, max_size=30), segment=st.integers(1, 9))
def test_the_window_is_the_tail_of_all_samples(records: list[int], segment: int) -> None:
    window = CastWindow(WindowRules(window_length=12, window_min=5, hop=3, segment=segment))

    total = fill(window, records)

    expected = np.arange(total)[-12:]
    assert total == window.count
    assert expected.tolist() == window.view().steps.tolist()
    assert expected.tolist() == window.view().samples[:, 0].tolist()
    assert (len(expected), 5) == window.view().samples.shape


@relaxed
@given(records=st.lists(st.integers(1, 6), min_size=1, max_size=30))
def test_segments_end_at_records_and_are_let_go_when_the_window_has_passed(records: list[int]) -> None:
    window = CastWindow(RULES)
    fill(window, records)
    starts = dict(zip(range(100, 100 + len(records)), np.cumsum([0, *records]).tolist(), strict=False))

    for segment in window.segments:
        assert starts[segment.number] == segment.steps[0]
    assert all(len(segment) >= RULES.segment for segment in window.segments[:-1])
    assert sum(map(len, window.segments[1:])) < RULES.window_length


@relaxed
@given(first=st.integers(1, 30), hop=st.integers(1, 9))
def test_scores_are_due_at_the_first_count_and_every_hop_after(first: int, hop: int) -> None:
    window = CastWindow(WindowRules(window_length=40, window_min=first, hop=hop))
    due = []
    for step in range(60):
        fill(window, [1], step)
        due += [window.count] if window.due else []

    assert list(range(first, 61, hop)) == due


@relaxed
@given(records=st.lists(st.integers(1, 6), min_size=1, max_size=30))
def test_a_stored_window_comes_back(records: list[int]) -> None:
    window = CastWindow(RULES)
    last = fill(window, records) - 1

    again = unpack_body(pack_body(window), last, RULES, stored(window).get)

    assert window.count == again.count
    assert window.view().steps.tolist() == again.view().steps.tolist()
    assert window.view().samples.tolist() == again.view().samples.tolist()
    assert not any(segment.changed for segment in again.segments)


def test_samples_past_the_head_s_step_are_cut() -> None:
    window = CastWindow(RULES)
    fill(window, [1] * 6)
    head = pack_body(window)
    fill(window, [1] * 2, 6, 106)

    again = unpack_body(head, 5, RULES, stored(window).get)

    assert again.view().steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert again.count == 6


def test_shorter_rules_than_the_writer_s_trim_the_window() -> None:
    window = CastWindow(RULES)
    fill(window, [1] * 12)
    shorter = WindowRules(window_length=5, window_min=2, hop=3, segment=4)

    again = unpack_body(pack_body(window), 11, shorter, stored(window).get)

    assert again.view().steps.tolist() == [7, 8, 9, 10, 11]
    assert [segment.number for segment in again.segments] == [104, 108]


def test_an_empty_window_needs_no_segment() -> None:
    again = unpack_body(pack_body(CastWindow(RULES)), 7, RULES, {}.get)

    assert again.segments == []


def test_clearing_gives_up_every_segment() -> None:
    window = CastWindow(RULES)
    fill(window, [1] * 9)

    assert window.clear() == [100, 104, 108]
    assert window.count == 0


def test_a_damaged_or_missing_segment_or_body_is_found() -> None:
    window = CastWindow(RULES)
    fill(window, [1] * 6)
    body, segments = pack_body(window), stored(window)
    broken = segments | {104: segments[104][:-1] + b"\x00"}
    wrong = [(body, {}), (body, broken), (body[:-1], segments), (b"", segments), (body, segments | {104: b""})]

    for bad_body, table in wrong:
        with pytest.raises(StateError) as caught:
            unpack_body(bad_body, 5, RULES, table.get)
        assert caught.value.reason == "corrupt_state"
    with pytest.raises(StateError, match="do not reach step 9"):
        unpack_body(body, 9, RULES, segments.get)


WIDTHS = st.integers(1, 40)


@relaxed
@given(records=st.lists(st.integers(1, 6), min_size=1, max_size=20), width=WIDTHS, other=WIDTHS)
def test_a_window_of_any_width_comes_back_and_as_no_other_width(records: list[int], width: int, other: int) -> None:
    window, step = CastWindow(RULES, width), 0
    for offset, samples in enumerate(records):
        window.open(offset)
        for _ in range(samples):
            window.add(step, [step + number / 64 for number in range(width)])
            step += 1
        window.trim()
    body, segments = pack_body(window), stored(window)

    found = unpack_body(body, step - 1, RULES, segments.get, width)

    assert found.count == step
    np.testing.assert_array_equal(found.view().samples, window.view().samples)
    np.testing.assert_array_equal(found.view().steps, window.view().steps)
    if other != width:
        with pytest.raises(StateError, match="do not fit"):
            unpack_body(body, step - 1, RULES, segments.get, other)


def test_a_cut_segment_keeps_nothing_it_was_not_asked_for() -> None:
    window = CastWindow(RULES)
    fill(window, [4], first_step=10)

    assert len(unpack_segment(100, stored(window)[100], 9)) == 0
    assert len(unpack_segment(100, stored(window)[100], 11)) == 2


@pytest.mark.parametrize("key", [b"a", b"h", b"s", b"s" * 20, "ü".encode()])
def test_a_table_key_says_whose_it_is(key: bytes) -> None:
    head, segment = HEAD + key, segment_key(key, 2**40)

    assert [head_at(head), segment_at(head), stream_of("window", head)] == [key, None, key]
    assert [head_at(segment), segment_at(segment), stream_of("window", segment)] == [None, (key, 2**40), key]


@pytest.mark.parametrize("table_key", [b"", b"s", b"s1234567", b"s12345678", b"x" * 20])
def test_another_key_is_nobodys(table_key: bytes) -> None:
    assert stream_of("window", table_key) is None


def test_the_layout_of_table_keys_is_that_of_tables_there_are() -> None:
    assert (HEAD + b"key", segment_key(b"key", 3)) == (b"hkey", b"s\0\0\0\0\0\0\0\x03key")


@given(key=st.binary(min_size=1, max_size=20))
def test_a_signals_state_stands_at_the_streams_key_and_a_casts_behind_a_letter(key: bytes) -> None:
    assert (state_key("step", key), state_key("window", key)) == (key, HEAD + key)
    assert [state_at(kind, state_key(kind, key)) for kind in get_args(Kind)] == [key, key]
    assert stream_of("step", segment_key(key, 1)) == segment_key(key, 1)
