"""Answers cut out of what a broker sends, and requests that are called back with them."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.conn import CloseReason
from aiokafka.errors import CorrelationIdError, KafkaConnectionError, RequestTimedOutError
from aiokafka.protocol.group import HeartbeatRequest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.connections import LARGEST_BYTES, ROOM_BYTES, Frames, ask, connected
from tests.strategies import relaxed

HEARTBEAT = HeartbeatRequest("group", 1, "member")
OK = struct.pack(">ih", 0, 0)  # throttle time and error of a heartbeat's answer, version 1


class Connection:
    """aiokafka's connection, as far as `Frames` and `ask` use it."""

    host, port, _client_id, _request_timeout = "broker", 9092, "client", 40.0

    def __init__(self) -> None:
        self._versions = {12: (0, 1)}
        self._requests: deque[Any] = deque()
        self._last_action = 0.0
        self._number = 0
        self.sent: list[bytes] = []
        self._writer = SimpleNamespace(write=self.sent.append)
        self.closed: list[Any] = []
        self.handled: list[bytes] = []
        self._protocol = Frames(self, asyncio.get_running_loop().create_future())

    def _next_correlation_id(self) -> int:
        self._number += 1
        return self._number

    def connected(self) -> bool:
        return not self.closed

    def close(self, reason: Any = None, exc: BaseException | None = None) -> None:
        self.closed.append(reason)
        for *_, reply in self._requests:
            reply.set_exception(KafkaConnectionError(str(exc)))
        self._requests.clear()

    def _handle_frame(self, frame: bytes) -> None:
        self.handled.append(frame)

    def receives(self, data: bytes) -> None:
        while data:
            room = self._protocol.get_buffer(-1)
            part, data = data[: len(room)], data[len(room) :]
            room[: len(part)] = part
            self._protocol.buffer_updated(len(part))


def framed(frame: bytes) -> bytes:
    return struct.pack(">i", len(frame)) + frame


def answer(number: int, body: bytes = OK) -> bytes:
    return framed(struct.pack(">i", number) + body)


class Heard:
    """What a request was called back with."""

    def __init__(self, connection: Connection) -> None:
        self.answers: list[Any] = []
        self.errors: list[BaseException] = []
        ask(connection, HEARTBEAT, self.answers.append, self.errors.append)


@relaxed
@given(st.lists(st.binary(min_size=4, max_size=300), max_size=8), st.lists(st.integers(1, 400), max_size=30))
async def test_answers_are_the_same_in_whatever_pieces_they_arrive(frames: list[bytes], sizes: list[int]) -> None:
    connection = Connection()
    connection._requests.extend((1, None, None) for _ in frames)
    data = b"".join(map(framed, frames))
    for size in sizes:
        connection.receives(data[:size])
        data = data[size:]
    connection.receives(data)

    assert connection.handled == frames


async def test_an_answer_that_is_larger_than_the_room_arrives_whole_and_its_room_is_given_back() -> None:
    connection = Connection()
    connection._requests.extend((1, None, None) for _ in range(3))
    frames = [b"before", bytes(range(256)) * (ROOM_BYTES // 100), b"after"]
    connection.receives(b"".join(map(framed, frames)))

    assert connection.handled == frames
    assert len(connection._protocol.get_buffer(-1)) == ROOM_BYTES


async def test_each_request_is_called_back_with_its_own_answer_at_once() -> None:
    connection = Connection()
    first, second = Heard(connection), Heard(connection)
    connection.receives(answer(1) + answer(2, struct.pack(">ih", 0, 27)))

    assert [one.error_code for one in first.answers] == [0]
    assert [one.error_code for one in second.answers] == [27]
    assert first.errors == second.errors == []


async def test_an_answer_to_another_request_closes_the_connection() -> None:
    connection = Connection()
    first, second = Heard(connection), Heard(connection)
    connection.receives(answer(2))
    await asyncio.sleep(0)

    assert connection.closed == [CloseReason.CONNECTION_BROKEN]
    assert [type(error) for error in first.errors] == [CorrelationIdError]
    assert [type(error) for error in second.errors] == [KafkaConnectionError]


@pytest.mark.parametrize("data", [answer(1, b""), framed(b"")])
async def test_an_answer_that_cannot_be_read_closes_the_connection(data: bytes) -> None:
    connection = Connection()
    heard = Heard(connection)
    connection.receives(data + answer(2))
    await asyncio.sleep(0)

    assert connection.closed == [CloseReason.CONNECTION_BROKEN]
    assert len(heard.errors) == 1
    assert heard.answers == []


async def test_no_room_is_made_for_an_answer_of_absurd_size() -> None:
    connection = Connection()
    heard = Heard(connection)
    connection.receives(struct.pack(">i", LARGEST_BYTES + 1) + b"bytes")
    await asyncio.sleep(0)

    assert connection.closed == [CloseReason.CONNECTION_BROKEN]
    assert len(heard.errors) == 1
    assert len(connection._protocol.get_buffer(-1)) == ROOM_BYTES


async def test_an_answer_that_nobody_has_asked_for_closes_the_connection() -> None:
    connection = Connection()
    connection.receives(answer(1))

    assert connection.closed == [CloseReason.CONNECTION_BROKEN]


async def test_a_request_without_an_answer_fails_after_its_time_and_a_later_answer_is_none() -> None:
    connection = Connection()
    connection._request_timeout = 0.0
    heard = Heard(connection)
    while not heard.errors:
        await asyncio.sleep(0)

    assert [type(error) for error in heard.errors] == [RequestTimedOutError]
    assert connection.closed == [CloseReason.CONNECTION_TIMEOUT]
    connection.receives(answer(1))
    assert heard.answers == []


async def test_a_request_is_given_its_whole_time_however_long_one_before_it_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = Connection()
    loop = asyncio.get_running_loop()
    now, rung = loop.time(), []
    monkeypatch.setattr(loop, "time", lambda: now)
    monkeypatch.setattr(loop, "call_at", lambda due, call: rung.append((due, call)))
    first = Heard(connection)
    now += 39.0
    second = Heard(connection)
    connection.receives(answer(1))
    now += 1.0
    rung.pop()[1]()
    assert (first.errors, second.errors, connection.closed) == ([], [], [])

    ((due, look),) = rung
    assert due == now + 39.0
    now = due
    look()
    monkeypatch.undo()
    await asyncio.sleep(0)
    assert [type(error) for error in second.errors] == [RequestTimedOutError]
    assert connection.closed == [CloseReason.CONNECTION_TIMEOUT]


async def test_requests_fail_once_when_the_broker_closes_the_connection() -> None:
    connection = Connection()
    heard = Heard(connection)
    connection._protocol.eof_received()
    connection._protocol.connection_lost(None)
    await asyncio.sleep(0)

    assert connection.closed == [CloseReason.CONNECTION_BROKEN]
    assert len(heard.errors) == 1
    assert connection._protocol._closed.done()


async def test_a_connection_counts_only_while_it_is_open_and_read_here() -> None:
    connection = Connection()
    client = SimpleNamespace(_conns={(1, 2): connection})

    assert connected(client, 1, 2) is connection
    assert connected(client, 1, 0) is None
    connection._protocol = SimpleNamespace()  # type: ignore[assignment]  # aiokafka's own
    assert connected(client, 1, 2) is None
    connection._protocol = Frames(connection, asyncio.get_running_loop().create_future())
    connection.close()
    assert connected(client, 1, 2) is None
