"""Requests as bytes: those of every turn, fetch and produce, are packed and read here, the others by aiokafka.

aiokafka packs and reads each number in calls of its own: 500 calls for a fetch of eight partitions, a fifth of what a
record cost at low load. Brokers that do not know these versions (before Kafka 2.3) get aiokafka's requests. The format:
https://kafka.apache.org/protocol
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka.protocol.fetch import FetchRequest

from stream_app.native.fetches import Fetch

FETCH, PRODUCE = 1, 0
FETCH_VERSION, PRODUCE_VERSION = 11, 7

_HEADER = struct.Struct(">hhih")  # API, version, number of the request, length of the client's name
_SIZE = struct.Struct(">i")
_NAME = struct.Struct(">h")
_COUNT = struct.Struct(">i")
_PRODUCE = struct.Struct(">hhii")  # length of the transaction's name, acks, timeout, topics
_PRODUCE_PARTITION = struct.Struct(">ii")  # number, size
_PRODUCED_PARTITION = struct.Struct(">ihqqq")  # number, error, base offset, append time, start of the log

Frame = bytes | memoryview


class Message(Protocol):
    """A request, and how its answer is read."""

    def write(self, number: int, client_id: str) -> bytes:
        """Return it with its header and size, as it is sent."""

    def read(self, frame: Frame) -> Any:
        """Read the answer, as it came without its size; the frame's bytes are kept by copies only."""


@dataclass(frozen=True)
class Answer:
    """An answer, in the form of aiokafka's."""

    topics: list[tuple[str, list[tuple[Any, ...]]]]
    API_VERSION: int
    """As aiokafka names it."""
    error_code: int = 0


def message_of(request: Any, versions: dict[int, tuple[int, int]]) -> Message:
    """Return the message of a `Fetch` or an aiokafka request to a broker that knows these versions of each."""
    if isinstance(request, Fetch):
        low, high = versions.get(FETCH, (0, -1))
        return request if low <= FETCH_VERSION <= high else OtherMessage(plain(request).prepare(versions))
    low, high = versions.get(request.API_KEY, (0, -1))
    if request.API_KEY == PRODUCE and low <= PRODUCE_VERSION <= high and request._transactional_id is None:
        return ProduceMessage(request)
    return OtherMessage(request.prepare(versions))


def plain(fetch: Fetch) -> FetchRequest:
    """The same request in aiokafka's form."""
    return FetchRequest(fetch.max_wait_ms, fetch.least, fetch.most, fetch.isolation, fetch.topics)


class OtherMessage:
    """Any request, packed and read by aiokafka."""

    def __init__(self, prepared: Any) -> None:
        self._prepared = prepared

    def write(self, number: int, client_id: str) -> bytes:
        header = self._prepared.build_request_header(correlation_id=number, client_id=client_id)
        message = header.encode() + self._prepared.encode()
        return bytes(_SIZE.pack(len(message)) + message)

    def read(self, frame: Frame) -> Any:
        stream = io.BytesIO(frame)
        self._prepared.parse_response_header(stream)
        return self._prepared.RESPONSE_TYPE.decode(stream)


class ProduceMessage:
    """An aiokafka ``ProduceRequest`` without a transaction."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def write(self, number: int, client_id: str) -> bytes:
        request = self._request
        parts: list[Any] = [_PRODUCE.pack(-1, request._required_acks, request._timeout, len(request._topics))]
        for topic, partitions in request._topics:
            parts += (_name(topic), _COUNT.pack(len(partitions)))
            for at, batch in partitions:
                parts += (_PRODUCE_PARTITION.pack(at, len(batch)), batch)
        return _framed(PRODUCE, PRODUCE_VERSION, number, client_id, parts)

    def read(self, frame: Frame) -> Answer:
        (count,), at = _COUNT.unpack_from(frame, _SIZE.size), _SIZE.size + _COUNT.size
        topics = []
        for _ in range(count):
            topic, partitions, at = _topic(frame, at)
            end = at + partitions * _PRODUCED_PARTITION.size
            topics.append((topic, list(_PRODUCED_PARTITION.iter_unpack(frame[at:end]))))
            at = end
        return Answer(topics, PRODUCE_VERSION)


def _framed(api: int, version: int, number: int, client_id: str, parts: list[Any]) -> bytes:
    client = client_id.encode()
    size = _HEADER.size + len(client) + sum(map(len, parts))
    return b"".join((_SIZE.pack(size), _HEADER.pack(api, version, number, len(client)), client, *parts))


def _name(name: str) -> bytes:
    encoded = name.encode()
    return _NAME.pack(len(encoded)) + encoded


def _topic(frame: Frame, at: int) -> tuple[str, int, int]:
    """Read a topic's name and its number of partitions, which stand behind it."""
    (size,) = _NAME.unpack_from(frame, at)
    at += _NAME.size
    name = str(frame[at : at + size], "utf-8")
    at += size
    return name, _COUNT.unpack_from(frame, at)[0], at + _COUNT.size
