"""Fetch requests and their answers in our own packing: byte for byte aiokafka's, and read as it reads them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchResponse_v11
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.wire import OtherMessage, message_of, plain
from stream_app.native.fetches import Fetch, LogPlace, ready_by_node
from tests.strategies import relaxed

VERSIONS = {1: (0, 17)}
HEAD = (7).to_bytes(4, "big")  # the number of the request, before each answer
NOW_MS = 1_700_000_000_000

int16, int32, int64 = (st.integers(-(2**bits), 2**bits - 1) for bits in (15, 31, 63))
partitions = st.tuples(st.text(max_size=20), int32)
requests = st.builds(
    lambda wanted, *limits: Fetch([place(at, offset) for at, offset in wanted.items()], *limits),
    st.dictionaries(partitions, st.integers(0, 2**63 - 1), max_size=8),
    int32,
    int32,
    int32,
    st.integers(0, 1),
)
fetched = st.tuples(
    int16,
    int64,
    int64,
    int64,
    st.none() | st.lists(st.tuples(int64, int64), max_size=3),
    int32,
    st.binary(max_size=50),
)


def place(at: tuple[str, int], offset: int | None = 0, leader: int | None = 1, paused: bool = False) -> LogPlace:
    state = SimpleNamespace(_position=offset, _paused=paused, highwater=None, lso=None, timestamp=None)
    made = LogPlace(TopicPartition(*at), state)
    made.leader = leader
    return made


def fetch(*places: LogPlace) -> Fetch:
    return Fetch(list(places), 1, 2**20, 2**16, 1)


def answer(found: Iterable[tuple[tuple[str, int], tuple[Any, ...]]], code: int = 0) -> bytes:
    topics = [(topic, [(number, *rest)]) for (topic, number), rest in found]
    return HEAD + FetchResponse_v11(0, code, 0, topics).encode()


@relaxed
@given(requests, int32)
def test_a_request_is_packed_as_aiokafka_packs_it(request: Fetch, max_wait_ms: int) -> None:
    request.max_wait_ms = max_wait_ms

    assert message_of(request, VERSIONS) is request
    assert request.write(7, "client \u00e9") == OtherMessage(plain(request).prepare(VERSIONS)).write(7, "client \u00e9")


@relaxed
@given(st.dictionaries(partitions, fetched, max_size=6), int16, st.randoms())
def test_an_answer_is_read_as_aiokafka_reads_it(answered: dict[Any, Any], code: int, random: Any) -> None:
    places = {at: place(at, 5) for at in answered}
    order = random.sample(list(answered), len(answered))
    data = answer(answered.items(), code)
    expected = FetchResponse_v11.decode(io.BytesIO(data[4:]))

    error, todo = fetch(*(places[at] for at in order)).take(memoryview(data), NOW_MS)

    assert error == code
    told = {(topic, number): rest for topic, of_topic in expected.topics for number, *rest in of_topic}
    for at, (error, highwater, stable, *_) in told.items():
        state = places[at].state
        noted = (None, None, None) if error else (highwater, stable, NOW_MS)
        assert (state.highwater, state.lso, state.timestamp) == noted
    assert [(one.at, offset, error, data, aborted) for one, offset, error, data, aborted in todo] == [
        (at, 5, rest[0], rest[-1], rest[4]) for at, rest in told.items() if rest[0] or rest[-1]
    ]


@relaxed
@given(st.dictionaries(partitions, fetched, min_size=1, max_size=4), st.data())
def test_an_answer_that_is_cut_off_is_refused_and_nothing_of_it_noted(answered: Any, data: st.DataObject) -> None:
    places = [place(at) for at in answered]
    whole = answer(answered.items())

    with pytest.raises(ValueError, match="cut off"):
        fetch(*places).take(whole[: data.draw(st.integers(0, len(whole) - 1))], NOW_MS)
    assert all(one.state.timestamp is None for one in places)


def test_an_answer_for_a_partition_that_was_not_asked_for_is_refused_and_nothing_of_it_noted() -> None:
    asked = place(("a", 0))
    found = (0, 9, 9, 0, [], -1, b"batch")

    with pytest.raises(ValueError, match=r"a\[1\]"):
        fetch(asked).take(answer([(("a", 0), found), (("a", 1), found)]), NOW_MS)
    assert asked.state.timestamp is None


def test_a_place_that_was_left_since_is_left_out() -> None:
    stays, sought, reset = (place(("a", number), 5) for number in range(3))
    request = fetch(stays, sought, reset)
    assert not request.is_stale()
    sought.state._position, reset.state._position = 6, None

    found = (0, 9, 9, 0, [], -1, b"batch")
    _, todo = request.take(answer((one.at, found) for one in (stays, sought, reset)), NOW_MS)

    assert request.is_stale()
    assert [one for one, *_ in todo] == [stays]
    assert sought.state.highwater is reset.state.highwater is None


def test_places_are_gathered_by_the_nodes_that_lead_them_but_not_where_a_request_is_out() -> None:
    first, busy, second = place(("a", 0), leader=1), place(("a", 1), leader=2), place(("b", 0), leader=1)

    assert ready_by_node([first, busy, second], {2}) == {1: [first, second]}


@pytest.mark.parametrize(
    "other",
    [place(("b", 0), leader=None), place(("b", 0), leader=-1), place(("b", 0), None), place(("b", 0), paused=True)],
)
def test_where_a_place_needs_more_than_a_fetch_none_is_ready(other: LogPlace) -> None:
    assert ready_by_node([place(("a", 0)), other], set()) is None


def test_a_topic_is_named_once_whatever_the_order_of_its_partitions() -> None:
    request = fetch(place(("a", 1), 7), place(("b", 0), 8), place(("a", 0), 9))

    assert request.topics == [("a", [(1, 7, 2**16), (0, 9, 2**16)]), ("b", [(0, 8, 2**16)])]
    assert len(request) == 3
