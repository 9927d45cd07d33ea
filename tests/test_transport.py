"""What the driver asks the broker between two fetches."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import CorruptRecordException, KafkaError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from stream_app.kafka.coverage import Coverage
from stream_app.kafka.fetching import READ_COMMITTED, FetchedPartition, RawBatches, high_watermarks
from stream_app.kafka.pause import Pause
from stream_app.kafka.transport import Consumer, ConsumerService
from tests.conftest import MakeSettings
from tests.record_batches import Row, aiokafka_batch

KEPT = TopicPartition("source", 0)


@pytest.mark.kafka
async def test_a_log_ends_behind_the_records_of_open_transactions(make_settings: MakeSettings) -> None:
    """They may yet become visible, with the append time that they have now."""
    settings = await asyncio.to_thread(make_settings, partitions=2)  # asks the group in an event loop of its own
    topic = settings.topic("signal-samples")
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.broker, isolation_level="read_committed")
    producer = AIOKafkaProducer(bootstrap_servers=settings.broker, transactional_id=f"{topic}-sensor")
    ends = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    async with consumer, producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"value", partition=0)

        assert await consumer.end_offsets(ends) == dict.fromkeys(ends, 0)  # after which it knows the leaders
        assert await high_watermarks(consumer._client, ends) == {ends[0]: 1, ends[1]: 0}

        await producer.abort_transaction()


def test_a_consumer_knows_the_brokers_that_were_named_and_before_its_start_none() -> None:
    consumer = Consumer.__new__(Consumer)
    consumer._thread = SimpleNamespace(_consumer=None)  # type: ignore[assignment]
    assert consumer.known_brokers() == []

    named = [SimpleNamespace(host="b", port=9092), SimpleNamespace(host="::1", port=9093)]
    client = SimpleNamespace(cluster=SimpleNamespace(brokers=lambda: named))
    consumer._thread = SimpleNamespace(_consumer=SimpleNamespace(_client=client))  # type: ignore[assignment]
    assert consumer.known_brokers() == ["[::1]:9093", "b:9092"]


class Assigned:
    """aiokafka's consumer with one partition and its own fetcher, whose requests nobody answers but `arrives`."""

    _closed = False

    def __init__(self) -> None:
        self.subscriptions = SubscriptionState()
        self.subscriptions.assign_from_user({KEPT})
        self.assigned = self.subscriptions.subscription.assignment
        self.state = self.assigned.state_value(KEPT)
        self.state.seek(0)
        fetcher = self._fetcher = Fetcher.__new__(Fetcher)
        fetcher._subscriptions, fetcher._records, fetcher._fetch_waiters = self.subscriptions, OrderedDict(), set()
        fetcher._loop, fetcher._closed, fetcher._wait_consume_future = asyncio.get_running_loop(), False, None
        fetcher._fetch_task = asyncio.get_running_loop().create_future()

    def assignment(self) -> set[TopicPartition]:
        return {KEPT}

    def arrives(self) -> None:
        """A fetch is answered."""
        raw = RawBatches(aiokafka_batch([Row(0, b"key", b"value")]))
        records = FetchedPartition(KEPT, raw, None, 0, None, None, True, READ_COMMITTED)
        self._fetcher._records[KEPT] = FetchResult(KEPT, assignment=self.assigned, partition_records=records, backoff=0)
        for waiter in list(self._fetcher._fetch_waiters):
            waiter.set_result(None)


def service_of(consumer: Assigned) -> Any:
    """A service whose flow is on, as far as `ConsumerService.fetch` and `deliver` need it."""
    queue: asyncio.Queue[Any] = asyncio.Queue(1)
    service: Any = SimpleNamespace(
        consumer=SimpleNamespace(flow_active=True, _get_active_partitions=lambda: {KEPT}),
        app=SimpleNamespace(
            consumer_generation_id=1,
            takes_chunks=True,
            taken_up=set,
            full_topics=list,
            queue_of=lambda _: queue,
            has_place=lambda _: not queue.full(),
            hand=lambda chunks: [queue.put_nowait(chunk) for chunk in chunks],
            flow_control=SimpleNamespace(is_active=lambda: True),
        ),
        _ensure_consumer=lambda: consumer,
        coverage=Coverage(),
        pause=Pause(0.0, 4_000),
        _most=4_000,
        _hold_back=lambda *_: False,
        _may_take=lambda: ConsumerService._may_take(service),
        _cut=lambda *found: ConsumerService._cut(service, *found),
        _flows=lambda fetcher: ConsumerService._flows(service, fetcher),
        _held=False,
        handing=False,
    )
    return service


@pytest.mark.parametrize(("flows", "takes"), [(True, True), (False, True), (True, False)])
async def test_a_fetch_takes_nothing_while_the_flow_is_stopped(flows: bool, takes: bool) -> None:
    """It may have waited through a rebalance. What it took then would be dropped, and not be read again: the partition
    may have been sought already, and is never sought to offset 0.
    """
    consumer = Assigned()
    service = service_of(consumer)
    fetch = asyncio.create_task(ConsumerService.fetch(service, {KEPT}))
    await asyncio.sleep(0)
    service.consumer.flow_active, service.app.takes_chunks = flows, takes
    consumer.arrives()
    chunks = await fetch

    assert [(chunk.topic, list(chunk.records), chunk.starts) for chunk in chunks] == (
        [(KEPT.topic, [KEPT.partition], {KEPT.partition: 0})] if flows and takes else []
    )
    assert (consumer.state.position > 0) == (flows and takes)


async def test_what_was_fetched_is_handed_on_at_once() -> None:
    consumer = Assigned()
    service = service_of(consumer)
    consumer.arrives()

    assert ConsumerService.deliver(service)
    chunk = service.app.queue_of(KEPT.topic).get_nowait()
    assert (chunk.topic, chunk.generation, list(chunk.records), chunk.starts) == (KEPT.topic, 1, [0], {0: 0})
    assert consumer.state.position == 1


@pytest.mark.parametrize(
    "reason",
    ["handing", "held", "full topic", "full queue", "flow stopped", "no chunks", "queues stopped", "reassignment"],
)
async def test_where_it_may_not_be_handed_on_at_once_nothing_is_taken(reason: str) -> None:
    """Later chunks would overtake those that wait, or be dropped by the rebalance that is on its way."""
    consumer = Assigned()
    service = service_of(consumer)
    app = service.app
    if reason == "handing":
        service.handing = True
    elif reason == "held":
        service._held = True
    elif reason == "full topic":
        app.full_topics = lambda: [KEPT.topic]
    elif reason == "full queue":
        app.queue_of(KEPT.topic).put_nowait("a chunk")
    elif reason == "flow stopped":
        service.consumer.flow_active = False
    elif reason == "no chunks":
        app.takes_chunks = False
    elif reason == "queues stopped":
        app.flow_control.is_active = lambda: False
    else:
        consumer._fetcher._subscriptions = SimpleNamespace(reassignment_in_progress=True)
    consumer.arrives()

    assert not ConsumerService.deliver(service)
    assert consumer.state.position == 0
    assert KEPT in consumer._fetcher._records


async def test_a_fault_in_what_was_fetched_is_raised_to_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Assigned()
    service = service_of(consumer)
    fetch = asyncio.create_task(ConsumerService.fetch(service, {KEPT}))
    await asyncio.sleep(0)

    def broken(*_: object) -> None:
        raise CorruptRecordException("a batch")

    monkeypatch.setattr(FetchedPartition, "take", broken)
    consumer.arrives()
    assert not ConsumerService.deliver(service)

    with pytest.raises(CorruptRecordException):
        await fetch


async def test_what_the_broker_refuses_is_raised_to_who_waits_for_it() -> None:
    """A topic that may not be read any more, or a batch larger than a fetch: nobody else would tell."""
    consumer = Assigned()
    service = service_of(consumer)
    consumer._fetcher._prefetch_backoff = 0.0
    fetch = asyncio.create_task(ConsumerService.fetch(service, {KEPT}))
    await asyncio.sleep(0)
    consumer._fetcher._set_error(KEPT, TopicAuthorizationFailedError(KEPT.topic))

    assert not ConsumerService.deliver(service)
    for waiter in list(consumer._fetcher._fetch_waiters):  # as the routine that fetches does then
        waiter.set_result(None)
    with pytest.raises(TopicAuthorizationFailedError):
        await fetch


async def test_what_has_ended_the_routine_that_fetches_ends_the_worker() -> None:
    consumer = Assigned()
    consumer._fetcher._fetch_task.set_exception(KafkaError("records can no longer be fetched"))

    with pytest.raises(KafkaError, match="can no longer be fetched"):
        await ConsumerService.fetch(service_of(consumer), {KEPT})
