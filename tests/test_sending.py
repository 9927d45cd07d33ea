"""The sender's routine without tasks: each batch is sent once, in order, and done by the broker's word."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from random import Random
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
        self.sending = Sending(self.sender, lambda: self.may_send)
        self.at_once = True
        """False: batches are given as aiokafka's `send_batch` does."""

    def put(self, value: bytes, at: TopicPartition = AT) -> asyncio.Future[Any]:
        """Give a batch; its result: the base offset."""
        builder, done = BatchBuilder(10_000), asyncio.get_running_loop().create_future()
        builder.append(0, b"key", value, [])
        if not self.at_once or not self.sending.put(builder, at, done.set_result, done.set_exception):
            queued = self.accumulator._append_batch(builder, at).future
            queued.add_done_callback(lambda _: _pass_on(queued, done))
        return done

    def go(self) -> None:
        """The end of a turn, in which batches were put."""
        self.sending.go()

    @property
    def sent(self) -> list[bytes]:
        return self.client.connection.sent

    def answers(self, number: int, *partitions: tuple[int, int, int]) -> None:
        """The broker's word on a request: partition, error and offset."""
        found = [(partition, error, offset, -1, 0) for partition, error, offset in partitions]
        self.client.connection.receives(answer(number, ProduceResponse_v7([(AT.topic, found)], 0).encode()))


def _pass_on(queued: asyncio.Future[Any], done: asyncio.Future[Any]) -> None:
    if (error := queued.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(queued.result().offset)


@pytest.fixture(params=["put", "queued"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """Batches are given in either way; what is promised holds for both."""
    bench = Bench()
    bench.at_once = request.param == "put"
    await bench.sender.start()
    yield bench
    await bench.sender.close()


async def test_batches_of_one_turn_leave_in_one_request_and_are_done_by_its_answer(bench: Bench) -> None:
    first, second = bench.put(b"first"), bench.put(b"second", OTHER)
    bench.go()
    await settle()
    assert [request.count(b"first") + request.count(b"second") for request in bench.sent] == [2]
    assert not first.done()

    bench.answers(1, (0, 0, 40), (1, 0, 70))
    await settle()

    assert (first.result(), second.result()) == (40, 70)
    assert not bench.sender._in_flight
    assert not bench.sender._muted_partitions


async def test_what_comes_while_a_request_is_out_leaves_after_its_answer(bench: Bench) -> None:
    bench.put(b"first")
    bench.go()
    await settle()
    second = bench.put(b"second")
    bench.go()
    await settle()
    assert len(bench.sent) == 1

    bench.answers(1, (0, 0, 40))
    await settle()
    assert b"second" in bench.sent[1]
    bench.answers(2, (0, 0, 41))
    await settle()
    assert second.result() == 41


async def test_a_batch_that_may_be_sent_again_is_sent_before_those_behind_it(bench: Bench) -> None:
    first = bench.put(b"first")
    bench.go()
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
    await settle()
    assert (first.result(), second.result()) == (40, 41)


async def test_a_batch_of_which_an_answer_says_nothing_is_sent_again_before_those_behind_it(bench: Bench) -> None:
    told, untold = bench.put(b"told"), bench.put(b"untold", OTHER)
    bench.go()
    await settle()
    behind = bench.put(b"behind", OTHER)
    bench.answers(1, (0, 0, 40))
    await settle()

    assert [b"untold" in request for request in bench.sent] == [True, True]
    assert bench.sent[0].endswith(bench.sent[1][-60:])  # the same numbers in sequence
    assert (told.result(), untold.done(), behind.done()) == (40, False, False)
    bench.answers(2, (1, 0, 70))
    await settle()
    bench.answers(3, (1, 0, 71))
    await settle()
    assert (untold.result(), behind.result()) == (70, 71)


async def test_a_batch_that_the_broker_refuses_for_good_fails(bench: Bench) -> None:
    refused = bench.put(b"refused")
    bench.go()
    await settle()
    bench.answers(1, (0, TopicAuthorizationFailedError.errno, -1))
    await settle()

    with pytest.raises(TopicAuthorizationFailedError):
        refused.result()


async def test_without_the_right_to_send_nothing_leaves_and_it_is_tried_again(bench: Bench) -> None:
    """The lease may end between two batches of one turn."""
    bench.may_send = False
    waiting = bench.put(b"later")
    bench.go()
    await settle()
    assert bench.sent == []
    assert not waiting.done()

    bench.may_send = True
    async with asyncio.timeout(20):
        while not bench.sent:
            await asyncio.sleep(0)
    bench.answers(1, (0, 0, 40))
    await settle()
    assert waiting.result() == 40


async def test_a_lost_connection_is_opened_again_and_the_batch_sent_again(bench: Bench) -> None:
    sent = bench.put(b"lost")
    bench.go()
    await settle()
    bench.client.connection._protocol.connection_lost(None)
    bench.client._conns.clear()
    async with asyncio.timeout(20):
        while not sent.done():
            await asyncio.sleep(0)

    assert sent.result() == 50  # by aiokafka's own way, which opens a connection


async def test_an_answer_that_breaks_the_order_ends_the_sender_and_fails_what_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = bench.put(b"first")
    bench.go()
    await settle()

    def broken(*_: object) -> None:
        raise OutOfOrderSequenceNumber

    monkeypatch.setattr("aiokafka.producer.sender.SendProduceReqHandler.handle_response", broken)
    waiting = bench.put(b"second")
    bench.answers(1, (0, OutOfOrderSequenceNumber.errno, -1))
    await settle()
    await asyncio.wait([bench.sender.sender_task])
    await settle()

    for failed in (sent, waiting):
        with pytest.raises(KafkaError):
            failed.result()
    bench.sender._sender_task = None


# Batches that are put, alone.


@pytest.fixture
async def putting() -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.sender.start()
    await settle()
    yield bench
    await bench.sender.close()


async def test_what_is_put_leaves_with_the_go_of_the_same_turn_and_is_done_in_the_turn_of_its_answer(
    putting: Bench,
) -> None:
    first, second = putting.put(b"first"), putting.put(b"second", OTHER)
    assert putting.sent == []
    putting.go()
    assert [request.count(b"first") + request.count(b"second") for request in putting.sent] == [2]

    putting.answers(1, (0, 0, 40), (1, 0, 70))
    assert (first.result(), second.result()) == (40, 70)
    assert not putting.accumulator._pending_batches


async def test_what_waits_for_an_answer_leaves_in_its_turn_under_the_next_number(putting: Bench) -> None:
    putting.put(b"first")
    putting.go()
    second = putting.put(b"second")
    putting.go()
    assert len(putting.sent) == 1

    putting.answers(1, (0, 0, 40))
    assert b"second" in putting.sent[1]
    assert [sequence_in(request, b"output") for request in putting.sent] == [0, 1]
    putting.answers(2, (0, 0, 41))
    assert second.result() == 41


async def test_a_broker_that_has_not_answered_gets_no_second_request(putting: Bench) -> None:
    putting.put(b"first")
    putting.go()
    putting.put(b"second", OTHER)
    putting.go()
    assert len(putting.sent) == 1

    putting.answers(1, (0, 0, 40))
    assert len(putting.sent) == 2


async def test_a_batch_does_not_overtake_one_that_is_on_its_way_to_the_leader_before(putting: Bench) -> None:
    putting.put(b"first")
    putting.go()
    putting.client._conns[NODE + 1, 0] = putting.client.connection
    putting.client.cluster.leader_for_partition = lambda _: NODE + 1
    putting.put(b"second")
    putting.go()
    assert len(putting.sent) == 1

    putting.answers(1, (0, 0, 40))
    assert b"second" in putting.sent[1]


async def test_behind_a_batch_that_waits_nothing_is_put(putting: Bench) -> None:
    putting.may_send = False
    assert putting.sending.put(BatchBuilder(100), AT, print, print)
    putting.go()
    assert not putting.sending.put(BatchBuilder(100), AT, print, print)
    assert putting.sending.put(BatchBuilder(100), OTHER, print, print)


async def test_where_no_leader_is_known_one_is_looked_for_and_the_batch_leaves(putting: Bench) -> None:
    leaders = iter([None, None, NODE])
    putting.client.cluster.leader_for_partition = lambda _: next(leaders, NODE)
    putting.put(b"first")
    putting.go()
    assert putting.sent == []
    async with asyncio.timeout(20):
        while not putting.sent:
            await asyncio.sleep(0)
    assert putting.client.updates >= 1


async def test_a_flush_waits_for_what_was_put(putting: Bench) -> None:
    putting.put(b"first")
    putting.go()
    putting.put(b"second")
    flushing = asyncio.ensure_future(putting.accumulator.flush())
    await settle()
    putting.answers(1, (0, 0, 40))
    await settle()
    assert not flushing.done()
    putting.answers(2, (0, 0, 41))
    await settle()
    assert flushing.done()


async def test_a_sender_that_ends_by_an_error_fails_what_was_put_and_takes_no_more(putting: Bench) -> None:
    sent = putting.put(b"first")
    putting.go()
    waits = putting.put(b"second")
    putting.accumulator.fail_all(KafkaError("the end"))
    await settle()

    for failed in (sent, waits):
        with pytest.raises(KafkaError, match="the end"):
            failed.result()
    assert not putting.sending.put(BatchBuilder(100), OTHER, print, print)


async def test_a_flush_that_begins_in_the_turn_in_which_a_batch_is_refused_ends(putting: Bench) -> None:
    refused = putting.put(b"first")
    putting.go()
    putting.answers(1, (0, TopicAuthorizationFailedError.errno, -1))
    async with asyncio.timeout(20):
        await putting.accumulator.flush()
    with pytest.raises(TopicAuthorizationFailedError):
        refused.result()


async def test_a_fault_while_batches_leave_ends_the_sender(putting: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the turn of an answer nobody else would hear of it."""

    def broken() -> None:
        raise ValueError("a fault")

    putting.put(b"first")
    putting.go()
    monkeypatch.setattr(putting.sending, "_ready", broken)
    waits = putting.put(b"second")
    putting.answers(1, (0, 0, 40))
    await settle()
    with pytest.raises(KafkaError, match="can no longer be sent"):
        waits.result()


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_the_broker_answers_every_batch_arrives_once_and_in_order(putting: Bench, seed: int) -> None:
    """Against a broker that takes a batch only under the number that comes next, and may refuse any for now."""
    random = Random(seed)
    log: dict[int, list[bytes]] = {0: [], 1: []}
    given: dict[int, list[bytes]] = {0: [], 1: []}
    done, answered = [], 0
    for number in range(30):
        at = random.choice((AT, OTHER))
        value = b"<%03d>" % number
        if at not in putting.accumulator._batches:  # a lane puts nothing behind what waits
            given[at.partition].append(value)
            done.append(putting.put(value, at))
            putting.go()
        answered = _answer_some(putting, random, log, answered)
        if random.random() < 0.5:
            await settle()
    async with asyncio.timeout(20):
        while not all(each.done() for each in done):
            answered = _answer_some(putting, random, log, answered)
            await asyncio.sleep(0)

    assert log == given


def _answer_some(bench: Bench, random: Random, log: dict[int, list[bytes]], answered: int) -> int:
    while answered < len(bench.sent) and random.random() < 0.8:
        request, answered = bench.sent[answered], answered + 1
        found = []
        for partition, number, value in batches_in(request):
            refused = random.random() < 0.3
            if not refused:
                assert number == len(log[partition])
                log[partition].append(value)
            found.append((partition, NotLeaderForPartitionError.errno if refused else 0, number))
        bench.answers(answered, *found)
    return answered


def batches_in(request: bytes) -> list[tuple[int, int, bytes]]:
    """Partition, number in sequence and value of each batch of one record."""
    found, at = [], request.index(b"output") + len(b"output")
    (count,) = struct.unpack_from(">i", request, at)
    at += 4
    for _ in range(count):
        partition, size = struct.unpack_from(">ii", request, at)
        batch = request[at + 8 : at + 8 + size]
        at += 8 + size
        value = batch[batch.index(b"key", 61) + 4 :][:5]
        found.append((partition, struct.unpack_from(">i", batch, 53)[0], value))
    return found


def sequence_in(request: bytes, topic: bytes) -> int:
    """The number in sequence of a request's only batch."""
    at = request.index(topic) + len(topic) + 4 + 8
    return int(struct.unpack_from(">i", request, at + 53)[0])
