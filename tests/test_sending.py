"""The sender's routine without tasks: each batch is sent once, in order, and done by the broker's word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaError,
    NotLeaderForPartitionError,
    OutOfOrderSequenceNumber,
    TopicAuthorizationFailedError,
)
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.protocol.produce import ProduceResponse_v7
from aiokafka.structs import TopicPartition

from stream_app.kafka.sending import Sending
from stream_app.native.batches import BatchBuilder
from tests.fakes import settle
from tests.test_connections import Connection, answer

AT, OTHER = TopicPartition("output", 0), TopicPartition("output", 1)
NODE = 1


class Client:
    """aiokafka's client with one connection to one broker."""

    def __init__(self) -> None:
        self.connection = Connection()
        self.connection._versions = {0: (0, 7)}
        self._conns: dict[Any, Any] = {(NODE, 0): self.connection}
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: NODE)
        self.updates = 0

    def force_metadata_update(self) -> asyncio.Future[bool]:
        self.updates += 1
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done

    async def _maybe_wait_metadata(self) -> None: ...

    async def send(self, node_id: int, request: Any, **_: Any) -> Any:
        """aiokafka's own way, after a connection was opened."""
        self._conns[node_id, 0] = self.connection
        return ProduceResponse_v7([(AT.topic, [(0, 0, 50, -1, 0)])], 0)


class Bench:
    """A sender whose routine runs."""

    def __init__(self) -> None:
        self.client = Client()
        transactions = TransactionManager(None, 60_000)
        transactions.set_pid_and_epoch(7, 0)
        self.accumulator = MessageAccumulator(self.client.cluster, 10_000, 0, 30, txn_manager=transactions)
        self.sender = Sender(
            self.client,
            acks=-1,
            txn_manager=transactions,
            message_accumulator=self.accumulator,
            retry_backoff_ms=0,
            request_timeout_ms=40_000,
        )
        self.may_send = True
        Sending(self.sender, lambda: self.may_send)

    def put(self, value: bytes, at: TopicPartition = AT) -> asyncio.Future[Any]:
        batch = BatchBuilder(10_000)
        batch.append(0, b"key", value, [])
        done: asyncio.Future[Any] = self.accumulator._append_batch(batch, at).future
        return done

    @property
    def sent(self) -> list[bytes]:
        return self.client.connection.sent

    def answers(self, number: int, *partitions: tuple[int, int, int]) -> None:
        """The broker's word on a request: partition, error and offset."""
        found = [(partition, error, offset, -1, 0) for partition, error, offset in partitions]
        self.client.connection.receives(answer(number, ProduceResponse_v7([(AT.topic, found)], 0).encode()))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.sender.start()
    yield bench
    await bench.sender.close()


async def test_batches_of_one_turn_leave_in_one_request_and_are_done_by_its_answer(bench: Bench) -> None:
    first, second = bench.put(b"first"), bench.put(b"second", OTHER)
    await settle()
    assert [request.count(b"first") + request.count(b"second") for request in bench.sent] == [2]
    assert not first.done()

    bench.answers(1, (0, 0, 40), (1, 0, 70))

    assert (first.result().offset, second.result().offset) == (40, 70)
    assert not bench.sender._in_flight
    assert not bench.sender._muted_partitions


async def test_what_comes_while_a_request_is_out_leaves_after_its_answer(bench: Bench) -> None:
    bench.put(b"first")
    await settle()
    second = bench.put(b"second")
    await settle()
    assert len(bench.sent) == 1

    bench.answers(1, (0, 0, 40))
    await settle()
    assert b"second" in bench.sent[1]
    bench.answers(2, (0, 0, 41))
    assert second.result().offset == 41


async def test_a_batch_that_may_be_sent_again_is_sent_before_those_behind_it(bench: Bench) -> None:
    first = bench.put(b"first")
    await settle()
    second = bench.put(b"second")
    bench.answers(1, (0, NotLeaderForPartitionError.errno, -1))
    await settle()

    assert bench.client.updates == 1
    assert [b"first" in request for request in bench.sent] == [True, True]
    assert not first.done()
    bench.answers(2, (0, 0, 40))
    await settle()
    bench.answers(3, (0, 0, 41))
    assert (first.result().offset, second.result().offset) == (40, 41)


async def test_a_batch_of_which_an_answer_says_nothing_is_sent_again_before_those_behind_it(bench: Bench) -> None:
    told, untold = bench.put(b"told"), bench.put(b"untold", OTHER)
    await settle()
    behind = bench.put(b"behind", OTHER)
    bench.answers(1, (0, 0, 40))
    await settle()

    assert [b"untold" in request for request in bench.sent] == [True, True]
    assert bench.sent[0].endswith(bench.sent[1][-60:])  # the same numbers in sequence
    assert (told.result().offset, untold.done(), behind.done()) == (40, False, False)
    bench.answers(2, (1, 0, 70))
    await settle()
    bench.answers(3, (1, 0, 71))
    assert (untold.result().offset, behind.result().offset) == (70, 71)


async def test_a_batch_that_the_broker_refuses_for_good_fails(bench: Bench) -> None:
    refused = bench.put(b"refused")
    await settle()
    bench.answers(1, (0, TopicAuthorizationFailedError.errno, -1))

    with pytest.raises(TopicAuthorizationFailedError):
        refused.result()


async def test_without_the_right_to_send_nothing_leaves_and_it_is_tried_again(bench: Bench) -> None:
    """The lease may end between two batches of one turn."""
    bench.may_send = False
    waiting = bench.put(b"later")
    await settle()
    assert bench.sent == []
    assert not waiting.done()

    bench.may_send = True
    async with asyncio.timeout(20):
        while not bench.sent:
            await asyncio.sleep(0)
    bench.answers(1, (0, 0, 40))
    assert waiting.result().offset == 40


async def test_a_lost_connection_is_opened_again_and_the_batch_sent_again(bench: Bench) -> None:
    sent = bench.put(b"lost")
    await settle()
    bench.client.connection._protocol.connection_lost(None)
    bench.client._conns.clear()
    async with asyncio.timeout(20):
        while not sent.done():
            await asyncio.sleep(0)

    assert sent.result().offset == 50  # by aiokafka's own way, which opens a connection


async def test_an_answer_that_breaks_the_order_ends_the_sender_and_fails_what_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = bench.put(b"first")
    await settle()

    def broken(*_: object) -> None:
        raise OutOfOrderSequenceNumber

    monkeypatch.setattr("aiokafka.producer.sender.SendProduceReqHandler.handle_response", broken)
    waiting = bench.put(b"second")
    bench.answers(1, (0, 0, 40))
    await asyncio.wait([bench.sender.sender_task])

    for failed in (sent, waiting):
        with pytest.raises(KafkaError):
            failed.result()
    bench.sender._sender_task = None
