"""Fetch and produce requests in our own packing: byte for byte those of aiokafka, and read as it reads them."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v11
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.produce import ProduceRequest, ProduceResponse_v7
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.wire import FetchMessage, OtherMessage, ProduceMessage, message_of
from tests.strategies import relaxed

VERSIONS = {0: (0, 12), 1: (0, 17), 12: (0, 4)}
HEAD = (7).to_bytes(4, "big")  # the number of the request, before each answer

int16, int32, int64 = (st.integers(-(2**bits), 2**bits - 1) for bits in (15, 31, 63))
names = st.text(max_size=20)


def topics_of(partition: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.tuples(names, st.lists(partition, max_size=4)), max_size=3)


fetches = st.builds(
    FetchRequest, int32, int32, int32, st.integers(0, 1), topics_of(st.tuples(int32, int64, int32)), names
)
produces = st.builds(ProduceRequest, st.none(), int16, int32, topics_of(st.tuples(int32, st.binary(max_size=50))))
fetched = st.tuples(
    int32,
    int16,
    int64,
    int64,
    int64,
    st.none() | st.lists(st.tuples(int64, int64), max_size=3),
    int32,
    st.binary(max_size=50),
)
produced = st.tuples(int32, int16, int64, int64, int64)


@relaxed
@given(fetches | produces)
def test_a_request_is_packed_as_aiokafka_packs_it(request: Any) -> None:
    message = message_of(request, VERSIONS)

    assert isinstance(message, FetchMessage | ProduceMessage)
    assert message.write(7, "client é") == OtherMessage(request.prepare(VERSIONS)).write(7, "client é")


@relaxed
@given(int32, int16, int32, topics_of(fetched))
def test_a_fetchs_answer_is_read_as_aiokafka_reads_it(throttle: int, code: int, session: int, topics: Any) -> None:
    answer = FetchResponse_v11(throttle, code, session, topics).encode()
    expected = FetchResponse_v11.decode(io.BytesIO(answer))

    found = FetchMessage(None).read(HEAD + answer)

    assert found.topics == expected.topics  # type: ignore[attr-defined]
    assert (found.API_VERSION, found.error_code) == (11, code)


@relaxed
@given(topics_of(produced), int32)
def test_a_produce_requests_answer_is_read_as_aiokafka_reads_it(topics: Any, throttle: int) -> None:
    answer = ProduceResponse_v7(topics, throttle).encode()

    found = ProduceMessage(None).read(HEAD + answer)

    assert found.topics == ProduceResponse_v7.decode(io.BytesIO(answer)).topics  # type: ignore[attr-defined]
    assert found.API_VERSION == 7


@relaxed
@given(topics_of(fetched), st.data())
def test_an_answer_that_is_cut_off_is_refused(topics: Any, data: st.DataObject) -> None:
    answer = HEAD + FetchResponse_v11(0, 0, 0, [("topic", [(0, 0, 1, 1, 0, [], -1, b"batch")]), *topics]).encode()
    end = data.draw(st.integers(4, len(answer) - 1))

    with pytest.raises((ValueError, struct.error)):
        FetchMessage(None).read(answer[:end])


@pytest.mark.parametrize(
    ("request_", "versions"),
    [
        (FetchRequest(1, 1, 1, 1, []), {1: (0, 10)}),
        (FetchRequest(1, 1, 1, 1, []), {1: (4, 10)}),
        (ProduceRequest(None, -1, 1, []), {0: (0, 6)}),
        (ProduceRequest("transaction", -1, 1, []), VERSIONS),
        (HeartbeatRequest("group", 1, "member"), VERSIONS),
    ],
)
def test_what_is_not_packed_here_is_left_to_aiokafka(request_: Any, versions: dict[int, tuple[int, int]]) -> None:
    assert isinstance(message_of(request_, versions), OtherMessage)
