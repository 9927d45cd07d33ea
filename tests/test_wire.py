"""Produce requests in our own packing: byte for byte those of aiokafka, and read as it reads them."""

from __future__ import annotations

import io
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.produce import ProduceRequest, ProduceResponse_v7
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.wire import OtherMessage, ProduceMessage, message_of
from stream_app.native.fetches import Fetch
from tests.strategies import relaxed

VERSIONS = {0: (0, 12), 1: (0, 17), 12: (0, 4)}
HEAD = (7).to_bytes(4, "big")  # the number of the request, before each answer

int16, int32, int64 = (st.integers(-(2**bits), 2**bits - 1) for bits in (15, 31, 63))
names = st.text(max_size=20)


def topics_of(partition: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.tuples(names, st.lists(partition, max_size=4)), max_size=3)


produces = st.builds(ProduceRequest, st.none(), int16, int32, topics_of(st.tuples(int32, st.binary(max_size=50))))
produced = st.tuples(int32, int16, int64, int64, int64)


@relaxed
@given(produces)
def test_a_request_is_packed_as_aiokafka_packs_it(request: Any) -> None:
    message = message_of(request, VERSIONS)

    assert isinstance(message, ProduceMessage)
    assert message.write(7, "client é") == OtherMessage(request.prepare(VERSIONS)).write(7, "client é")


@relaxed
@given(topics_of(produced), int32)
def test_a_produce_requests_answer_is_read_as_aiokafka_reads_it(topics: Any, throttle: int) -> None:
    answer = ProduceResponse_v7(topics, throttle).encode()

    found = ProduceMessage(None).read(HEAD + answer)

    assert found.topics == ProduceResponse_v7.decode(io.BytesIO(answer)).topics  # type: ignore[attr-defined]
    assert found.API_VERSION == 7


@pytest.mark.parametrize(
    ("request_", "versions"),
    [
        (Fetch([], 1, 1, 1, 1), {1: (0, 10)}),
        (FetchRequest(1, 1, 1, 1, []), VERSIONS),
        (ProduceRequest(None, -1, 1, []), {0: (0, 6)}),
        (ProduceRequest("transaction", -1, 1, []), VERSIONS),
        (HeartbeatRequest("group", 1, "member"), VERSIONS),
    ],
)
def test_what_is_not_packed_here_is_left_to_aiokafka(request_: Any, versions: dict[int, tuple[int, int]]) -> None:
    assert isinstance(message_of(request_, versions), OtherMessage)
