"""A producer that may send only while the lease is held, on the real broker."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.structs import TopicPartition

from stream_app.flow.guarantees import ExactlyOnce
from stream_app.kafka.fencing import FencedProducer
from stream_app.kafka.lease import Lease
from stream_app.kafka.transport import Producer
from stream_app.native.batches import BatchBuilder
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics
from tests.broker import consume_all
from tests.conftest import MakeSettings

pytestmark = pytest.mark.kafka

SESSION = 1_000.0
TIMEOUT = 20.0


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(clock: Clock) -> Lease:
    lease = Lease(SESSION, clock.now)
    lease.renew(0.0)
    return lease


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    settings = make_settings(partitions=1)
    create_topics(settings)
    return settings


@pytest.fixture
async def producer(settings: Settings, lease: Lease) -> AsyncIterator[FencedProducer]:
    producer = FencedProducer(
        lease, bootstrap_servers=settings.broker, enable_idempotence=True, acks="all", max_batch_size=900_000
    )
    await producer.start()
    yield producer
    producer.discard()


async def send(producer: FencedProducer, settings: Settings, value: bytes) -> asyncio.Future[Any]:
    batch = BatchBuilder(900_000)
    batch.append(0, b"key", value, [])
    acked: asyncio.Future[Any] = await producer.send_batch(batch, settings.topic("dead-letters"), partition=0)
    return acked


async def values(settings: Settings) -> list[bytes | None]:
    records = await asyncio.to_thread(consume_all, settings, settings.topic("dead-letters"))
    return [record.value for record in records]


async def test_without_the_lease_batches_wait_and_leave_in_order_when_it_is_back(
    producer: FencedProducer, settings: Settings, lease: Lease, clock: Clock
) -> None:
    await asyncio.wait_for(await send(producer, settings, b"1"), TIMEOUT)
    clock.time = SESSION

    waiting = [await send(producer, settings, b"2")]
    await asyncio.wait(waiting, timeout=0.5)
    assert not waiting[0].done()
    assert await values(settings) == [b"1"]

    lease.renew(clock.time)
    waiting.append(await send(producer, settings, b"3"))
    await asyncio.wait_for(asyncio.gather(*waiting), TIMEOUT)
    assert await values(settings) == [b"1", b"2", b"3"]


async def test_the_lease_is_asked_after_a_connection_was_waited_for(
    producer: FencedProducer, settings: Settings, lease: Lease, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection may take longer than what is left of the session."""
    stock = producer.client.ready

    async def slow(*given: Any, **options: Any) -> bool:
        clock.time += SESSION
        return await stock(*given, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(producer.client, "ready", slow)
    await producer.client._wait_on_metadata(settings.topic("dead-letters"))
    for connection in producer.client._conns.values():
        connection.close()  # over an open one there is nothing to wait for
    acked = await send(producer, settings, b"late")
    await asyncio.wait([acked], timeout=0.5)

    assert not acked.done()
    assert await values(settings) == []

    monkeypatch.setattr(producer.client, "ready", stock)
    lease.renew(clock.time)
    await asyncio.wait_for(acked, TIMEOUT)
    assert await values(settings) == [b"late"]


async def test_what_a_discarded_producer_still_had_is_never_sent(
    producer: FencedProducer, settings: Settings, lease: Lease, clock: Clock
) -> None:
    clock.time = SESSION
    acked = await send(producer, settings, b"never")
    producer.discard()

    lease.renew(clock.time)
    await asyncio.wait([acked], timeout=0.5)

    assert await values(settings) == []
    await asyncio.wait_for(producer.stop(), TIMEOUT)  # at once, whatever it still holds


@pytest.fixture
async def complaints() -> list[str]:
    """What asyncio would print with a traceback."""
    found: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context["message"]))
    return found


async def test_a_fenced_producer_leaves_no_error_unretrieved(
    settings: Settings, lease: Lease, complaints: list[str]
) -> None:
    driver: Any = SimpleNamespace(app=SimpleNamespace(settings=settings, lease=lease))
    driver._new_producer = partial(Producer._new_producer, driver)
    older, newer = (ExactlyOnce(lambda: driver, settings.app_id) for _ in range(2))
    at = TopicPartition(settings.topic("signal-samples"), 0)
    await older.open([at])
    await newer.open([at])

    acked = await send(older.producer_of((at.topic, at.partition)), settings, b"late")
    with pytest.raises(ProducerFenced):
        await asyncio.wait_for(acked, TIMEOUT)
    await older.close()
    await newer.close()
    del older, acked
    gc.collect()
    await asyncio.sleep(0)

    assert complaints == []


async def test_a_sender_that_fails_without_transactions_leaves_no_error_unretrieved(
    producer: FencedProducer, settings: Settings, monkeypatch: pytest.MonkeyPatch, complaints: list[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a fault in the sender")

    monkeypatch.setattr(producer._message_accumulator, "drain_by_nodes", fail)
    acked = await send(producer, settings, b"late")
    await asyncio.wait([producer._sender.sender_task], timeout=TIMEOUT)
    with pytest.raises(KafkaError):
        await asyncio.wait_for(acked, TIMEOUT)
    del acked
    gc.collect()
    await asyncio.sleep(0)

    assert complaints == []


@pytest.mark.parametrize("waits", ["before", "after"])
async def test_nobody_waits_for_what_a_discarded_producer_still_had(
    producer: FencedProducer, settings: Settings, clock: Clock, waits: str
) -> None:
    """A rebalance flushes the producer: it would never end, and nor would the worker's standing still."""
    clock.time = SESSION
    await send(producer, settings, b"never")
    if waits == "before":
        flushing = asyncio.create_task(producer.flush())
        await asyncio.sleep(0)
    producer.discard()
    if waits == "after":
        flushing = asyncio.create_task(producer.flush())

    await asyncio.wait_for(flushing, TIMEOUT / 10)


async def test_at_the_leases_end_connections_are_cut_and_a_batch_on_its_way_is_not_doubled(
    producer: FencedProducer, settings: Settings, lease: Lease, clock: Clock
) -> None:
    """It may have arrived or not. With the lease back it is sent again, under a number that the broker knows."""
    await asyncio.wait_for(await send(producer, settings, b"1"), TIMEOUT)
    before = list(producer.client._conns.values())
    acked = await send(producer, settings, b"2")
    clock.time += SESSION
    async with asyncio.timeout(TIMEOUT):
        while any(connection.connected() for connection in before):
            await asyncio.sleep(0.01)

    lease.renew(clock.time)
    await asyncio.wait_for(acked, TIMEOUT)
    assert await values(settings) == [b"1", b"2"]
