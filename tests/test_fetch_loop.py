"""The routine that asks for records: what it asks, when, and that it hangs up on what nobody wants any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import (
    CorruptRecordException,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.fetch import FetchResponse_v11
from aiokafka.structs import TopicPartition

from stream_app.kafka.fetch_loop import FETCHES, LONG_WAIT_MS, SHORT_WAIT_MS, FetchLoop
from stream_app.kafka.fetching import is_behind, read_raw, take_fetched
from stream_app.kafka.pause import Pause
from tests.fakes import settle
from tests.record_batches import Row, aiokafka_batch
from tests.test_connections import Connection, answer

A0, A1, B0, CHANGELOG = (
    TopicPartition(topic, number) for topic, number in (("a", 0), ("a", 1), ("b", 0), ("changelog", 0))
)
SOURCES = {A0, A1, B0}
BATCH = aiokafka_batch([Row(0, b"key", b"value")])
NODE = 1


class Client:
    """aiokafka's client, with connections that a test answers by hand."""

    _metadata_max_age_ms = 30_000

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.leaders = dict.fromkeys((*SOURCES, CHANGELOG), NODE)
        self.cluster = SimpleNamespace(
            _partitions={}, leader_for_partition=self.leaders.get, broker_metadata=lambda _: None
        )
        self._conns: dict[Any, Any] = {}
        self.opened: list[Connection] = []
        self.updates = 0

    def leads(self, node_id: int, at: TopicPartition) -> None:
        """Brokers say that a node leads a partition now."""
        self.leaders[at] = node_id
        self.cluster._partitions = {}

    async def ready(self, node_id: int, *, group: int) -> bool:
        connection = Connection()
        connection._versions = {1: (0, 11)}
        self.opened.append(connection)
        self._conns[node_id, group] = connection
        return True

    def force_metadata_update(self) -> asyncio.Future[bool]:
        self.updates += 1
        done: asyncio.Future[bool] = self._loop.create_future()
        done.set_result(True)
        return done


class Bench:
    """A loop that fetches three partitions of two sources; the changelog's is assigned, too."""

    def __init__(self, max_delay: float = 0.0) -> None:
        self.client = Client()
        self.subscriptions = SubscriptionState()
        self.subscriptions.assign_from_user({*SOURCES, CHANGELOG})
        self.assignment = self.subscriptions.subscription.assignment
        for at in (*SOURCES, CHANGELOG):
            self.assignment.state_value(at).seek(100)
        self.fetcher: Any = Fetcher(
            self.client, self.subscriptions, isolation_level="read_committed", retry_backoff_ms=1
        )
        read_raw(self.fetcher)
        self.pause = Pause(max_delay, 4_000)
        self.loop = FetchLoop(self.fetcher, self.pause, {"a", "b"}, lambda: False)
        self.asked: list[Any] = []
        stock = self.loop._fetch

        def noted(assignment: Any, node_id: int, request: Any) -> None:
            if request not in self.asked:
                self.asked.append(request)
            stock(assignment, node_id, request)

        self.loop._fetch = noted  # type: ignore[method-assign]
        self.loop.start()

    @property
    def connection(self) -> Connection:
        return self.client.opened[-1]

    def asked_for(self, number: int = -1) -> dict[TopicPartition, int]:
        return {
            TopicPartition(topic, partition): offset
            for topic, partitions in self.asked[number].topics
            for partition, offset, _ in partitions
        }

    def answers(self, *found: tuple[TopicPartition, int, int, bytes]) -> None:
        """Answer the request that is out: partition, error, end of the log, batches."""
        topics = [(at.topic, [(at.partition, code, end, end, 0, [], -1, data)]) for at, code, end, data in found]
        self.connection.receives(answer(self.connection._number, FetchResponse_v11(0, 0, 0, topics).encode()))

    def take(self) -> Any:
        """What the transport does: take the records, and say what they were."""
        taken = take_fetched(self.fetcher, SOURCES, 4_000)
        self.pause.answered(time.monotonic(), sum(map(len, taken.values())), is_behind(self.fetcher, taken))
        return taken


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    await settle()
    yield bench
    await bench.fetcher.close()


def batch_at(offset: int) -> bytes:
    return offset.to_bytes(8, "big") + BATCH[8:]  # the base offset is not in the checksum


async def test_the_sources_are_asked_for_in_one_request_and_changelogs_are_not(bench: Bench) -> None:
    assert len(bench.asked) == 1
    assert bench.asked_for() == dict.fromkeys(SOURCES, 100)
    assert len(bench.connection.sent) == 1


async def test_after_records_were_taken_all_partitions_are_asked_for_again_from_where_they_stand(bench: Bench) -> None:
    bench.answers((A0, 0, 101, batch_at(100)), (B0, 0, 100, b""))
    await settle()
    assert len(bench.asked) == 1  # nobody has taken them yet

    assert {at: records.first_offset for at, records in bench.take().items()} == {A0: 100}
    await settle()
    assert bench.asked_for() == {A0: 101, A1: 100, B0: 100}


async def test_an_empty_answer_is_followed_by_the_next_request_at_once(bench: Bench) -> None:
    bench.answers((A0, 0, 100, b""))
    await settle()

    assert len(bench.asked) == 2


async def test_after_a_small_chunk_the_next_fetch_waits_for_the_pause() -> None:
    bench = Bench(max_delay=3_600.0)
    await settle()
    bench.pause.answered(time.monotonic(), 1, behind=False)  # so records come often
    bench.pause.began()
    bench.answers((A0, 0, 101, batch_at(100)))
    bench.take()
    await settle()
    assert len(bench.asked) == 1

    bench.pause.due = time.monotonic()
    bench.loop.wake()
    await settle()
    assert len(bench.asked) == 2
    await bench.fetcher.close()


async def test_while_the_log_holds_more_there_is_no_pause() -> None:
    bench = Bench(max_delay=3_600.0)
    await settle()
    bench.answers((A0, 0, 500, batch_at(100)))
    bench.take()
    await settle()

    assert len(bench.asked) == 2
    await bench.fetcher.close()


async def test_a_fetch_that_leaves_partitions_out_is_held_for_a_short_time_only(bench: Bench) -> None:
    assert bench.asked[0].max_wait_ms == LONG_WAIT_MS
    bench.assignment.state_value(A1).pause()
    bench.answers((A0, 0, 100, b""))
    await settle()

    assert bench.asked_for() == {A0: 100, B0: 100}
    assert bench.asked[1].max_wait_ms == SHORT_WAIT_MS
    bench.assignment.state_value(A1).resume()
    bench.answers((A0, 0, 100, b""))
    await settle()
    assert bench.asked_for() == dict.fromkeys(SOURCES, 100)


async def test_a_seek_hangs_up_on_the_fetch_that_was_sent_before(bench: Bench) -> None:
    """It would hold up the next one for as long as no records come."""
    bench.fetcher.seek_to(A0, 7)
    await settle()

    assert bench.client.opened[0].closed
    assert bench.asked_for()[A0] == 7
    assert len(bench.client.opened) == 2


async def test_the_end_of_an_assignment_hangs_up_and_drops_what_was_fetched(bench: Bench) -> None:
    bench.answers((A0, 0, 101, batch_at(100)))
    bench.subscriptions.unsubscribe()
    await settle()

    assert not bench.fetcher._records
    assert not bench.fetcher._in_flight
    bench.subscriptions.assign_from_user({A0})
    bench.subscriptions.subscription.assignment.state_value(A0).seek(5)
    await settle()
    assert bench.asked_for() == {A0: 5}
    assert bench.asked[-1].max_wait_ms == LONG_WAIT_MS


async def test_an_answer_to_a_place_that_was_left_since_is_dropped(bench: Bench) -> None:
    number = bench.connection._number
    bench.assignment.state_value(A0).seek(7)  # and nobody has said so
    topics = [("a", [(0, 0, 101, 101, 0, [], -1, batch_at(100))])]
    bench.connection.receives(answer(number, FetchResponse_v11(0, 0, 0, topics).encode()))
    await settle()

    assert not bench.fetcher._records
    assert bench.asked_for()[A0] == 7


async def test_a_lost_connection_is_opened_again(bench: Bench) -> None:
    bench.connection._protocol.connection_lost(None)
    bench.client._conns.clear()
    async with asyncio.timeout(20):
        while len(bench.client.opened) < 2:
            await asyncio.sleep(0)
    await settle()

    assert bench.asked_for() == dict.fromkeys(SOURCES, 100)
    assert len(bench.connection.sent) == 1


async def test_a_partition_without_a_leader_is_looked_for_and_the_others_go_on(bench: Bench) -> None:
    bench.client.leads(-1, A1)
    bench.answers((A0, NotLeaderForPartitionError.errno, -1, b""))
    async with asyncio.timeout(20):
        while len(bench.asked) < 2:
            await asyncio.sleep(0)

    assert bench.client.updates >= 2
    assert bench.asked_for() == {A0: 100, B0: 100}


async def test_an_offset_that_is_not_in_the_log_is_looked_for_again(bench: Bench) -> None:
    bench.fetcher._default_reset_strategy = -2  # the earliest
    looked: list[Any] = []

    async def offsets(node_id: int, wanted: Any) -> dict[TopicPartition, tuple[int, None]]:
        looked.append(wanted)
        return {A0: (42, None)}

    bench.fetcher._proc_offset_request = offsets
    bench.answers((A0, OffsetOutOfRangeError.errno, -1, b""))
    async with asyncio.timeout(20):
        while len(bench.asked) < 2:
            await asyncio.sleep(0)

    assert [dict(wanted) for wanted in looked] == [{"a": [(0, -2)]}]
    assert bench.asked_for() == {A0: 42, A1: 100, B0: 100}


async def test_a_topic_that_may_not_be_read_is_told_to_whoever_takes_records(bench: Bench) -> None:
    bench.answers((A0, TopicAuthorizationFailedError.errno, -1, b""))

    with pytest.raises(TopicAuthorizationFailedError):
        bench.take()


async def test_an_answer_that_makes_no_sense_is_asked_for_again(bench: Bench) -> None:
    not_asked_for = TopicPartition("a", 7)
    bench.answers((A0, 0, 101, batch_at(100)), (not_asked_for, 0, 101, batch_at(100)))
    async with asyncio.timeout(20):
        while len(bench.asked) < 2:
            await asyncio.sleep(0)

    assert bench.client.opened[0].closed
    assert bench.asked_for() == dict.fromkeys(SOURCES, 100)
    assert bench.take() == {}


async def test_a_request_that_is_refused_as_a_whole_is_asked_again_after_a_pause(bench: Bench) -> None:
    bench.fetcher._retry_backoff = 3_600.0
    bench.connection.receives(answer(bench.connection._number, FetchResponse_v11(0, 70, 0, []).encode()))
    await settle()

    assert len(bench.asked) == 1


async def test_what_was_taken_before_a_damaged_batch_is_handed_out_and_then_the_damage_is_told(bench: Bench) -> None:
    damaged = batch_at(100)[:-1] + bytes([batch_at(100)[-1] ^ 1])
    bench.answers((A0, 0, 101, batch_at(100)), (A1, 0, 101, damaged))

    assert list(bench.take()) == [A0]
    for _ in range(2):
        with pytest.raises(CorruptRecordException):
            bench.take()
    assert bench.assignment.state_value(A1).position == 100


async def test_a_fault_ends_the_routine_with_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    bench.assignment.state_value(A0)._position = None
    monkeypatch.setattr(bench.fetcher, "_update_fetch_positions", broken)
    bench.answers((A1, 0, 100, b""))
    await asyncio.wait([bench.fetcher.error_future], timeout=20)

    assert "can no longer be fetched" in str(bench.fetcher.error_future.exception())
    monkeypatch.setattr(bench.fetcher, "_fetch_task", asyncio.create_task(asyncio.sleep(0)))


async def test_a_fault_in_handing_over_what_was_taken_ends_the_routine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions have moved: to go on would leave these records out."""

    def taken_and_lost() -> bool:
        bench.take()
        raise RuntimeError("a fault")

    bench.loop._deliver = taken_and_lost
    bench.answers((A0, 0, 101, batch_at(100)))
    await asyncio.wait([bench.fetcher.error_future], timeout=20)

    assert "can no longer be fetched" in str(bench.fetcher.error_future.exception())
    monkeypatch.setattr(bench.fetcher, "_fetch_task", asyncio.create_task(asyncio.sleep(0)))


async def test_fetches_have_connections_of_their_own(bench: Bench) -> None:
    assert list(bench.client._conns) == [(NODE, FETCHES)]
