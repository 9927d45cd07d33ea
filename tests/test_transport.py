"""What the driver asks the broker between two fetches."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition

from stream_app.coverage import Coverage
from stream_app.fetching import READ_COMMITTED, FetchedPartition, RawBatches
from stream_app.transport import ConsumerService
from tests.record_batches import Row, aiokafka_batch

KEPT, REVOKED = TopicPartition("source", 0), TopicPartition("source", 1)


class RevokedMeanwhile:
    """aiokafka's consumer, as far as it is asked here; while the ends are on their way a partition is revoked."""

    def __init__(self) -> None:
        self.assigned = {KEPT, REVOKED}

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        self.assigned = {KEPT}
        return dict.fromkeys(partitions, 7)

    def highwater(self, partition: TopicPartition) -> int:
        assert partition in self.assigned, "Partition is not assigned"
        return 7


async def test_a_partition_that_is_revoked_while_the_ends_are_asked_for_is_left_out() -> None:
    consumer = RevokedMeanwhile()
    service: Any = SimpleNamespace(_ensure_consumer=lambda: consumer)

    assert await ConsumerService.log_ends(service, [REVOKED, KEPT]) == {KEPT: 7}


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
    """A service whose flow is on, as far as `ConsumerService.fetch` needs it."""
    conf = SimpleNamespace(broker_max_poll_records=4_000)
    service: Any = SimpleNamespace(
        consumer=SimpleNamespace(flow_active=True),
        app=SimpleNamespace(conf=conf, consumer_generation_id=1, takes_chunks=True),
        _ensure_consumer=lambda: consumer,
        _coverage=Coverage(),
        _hold_back=lambda *_: False,
        _may_take=lambda: ConsumerService._may_take(service),
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
