"""Publishing: encoded records go out in batches, in order per topic-partition, and nothing is forgotten before its
ack.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from core.errors import RunError
from stream_app.transport import MAX_BATCH_BYTES

log = logging.getLogger(__name__)

# Bytes that wait for the broker before agents wait too: about two seconds of output at full speed.
ROOM_BYTES = 64 * 1024 * 1024
# Upper bound of what a record needs beside key, value and headers (Kafka's record format 2: varints, attributes).
RECORD_OVERHEAD_BYTES = 32

Headers = Sequence[tuple[str, bytes]]


class Outgoing(NamedTuple):
    """One record to publish. ``appended_ms`` is the append time of the source record behind it (its arrival here, where
    the source has CreateTime), None without one.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers
    appended_ms: int | None = None


@dataclass(slots=True, eq=False)
class Batch:
    """A batch under construction or in flight; ``acked`` gives the base offset that the broker assigned."""

    builder: Any
    acked: asyncio.Future[int]
    appended_ms: list[int] = field(default_factory=list)
    counted_bytes: int = 0

    @property
    def records(self) -> int:
        return int(self.builder.record_count())


class Lane:
    """One topic-partition: batches leave in the order in which they were made.

    aiokafka lets concurrent waiters of `send_batch` through in any order, therefore one task per lane sends one after
    the other. A batch that waits for its turn takes further records, so batches grow with load and never wait without
    it.
    """

    def __init__(self, writer: OutputWriter, producer: AIOKafkaProducer, topic: str, partition: int) -> None:
        self.writer = writer
        self.producer = producer
        self.topic = topic
        self.partition = partition
        self.waiting: deque[Batch] = deque()
        self.task: asyncio.Task[None] | None = None

    def append(self, record: Outgoing, now_ms: int) -> Batch:
        """Add one record to the last waiting batch, or to a new one when that is full."""
        batch = self.waiting[-1] if self.waiting else self.new_batch()
        if not self._put(batch, record, now_ms):
            batch = self.new_batch()
            self._put(batch, record, now_ms)
        return batch

    def append_together(self, records: Sequence[Outgoing], now_ms: int) -> Batch:
        """Add records that must not be parted by a batch's end: the broker takes a batch whole or not at all."""
        batch = self.waiting[-1] if self.waiting else self.new_batch()
        if batch.records and batch.builder.size() + sum(map(_size_bytes, records)) > MAX_BATCH_BYTES:
            batch = self.new_batch()
        for record in records:
            if not self._put(batch, record, now_ms):
                raise RunError(
                    f"{self.topic}[{self.partition}]: the state of one stream needs more than {MAX_BATCH_BYTES:,} bytes"
                )
        return batch

    def new_batch(self) -> Batch:
        """Queue an empty batch behind the waiting ones."""
        batch = Batch(self.producer.create_batch(), asyncio.get_running_loop().create_future())
        self.waiting.append(batch)
        self.writer.took(batch)
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._send())
        return batch

    def _put(self, batch: Batch, record: Outgoing, now_ms: int) -> bool:
        added = batch.builder.append(timestamp=now_ms, key=record.key, value=record.value, headers=record.headers)
        if added is None:
            return False
        if record.appended_ms is not None:
            batch.appended_ms.append(record.appended_ms)
        self.writer.grew(batch, added.size)
        return True

    async def _send(self) -> None:
        while self.waiting:
            batch = self.waiting.popleft()
            try:
                sent = await self.producer.send_batch(batch.builder, self.topic, partition=self.partition)
            except Exception as error:
                self._failed(batch, error)
                return
            sent.add_done_callback(lambda done, batch=batch: self._done(batch, done))

    def _done(self, batch: Batch, done: asyncio.Future[Any]) -> None:
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is not None:
            self._failed(batch, error or RunError("cancelled"))
        elif not batch.acked.done():
            batch.acked.set_result(done.result().offset)
            self.writer.finished(self.topic, batch)

    def _failed(self, batch: Batch, error: BaseException) -> None:
        failure = RunError(f"{self.topic}[{self.partition}]: {batch.records} records were not accepted: {error!r}")
        for lost in (batch, *self.waiting):
            if not lost.acked.done():
                lost.acked.set_exception(failure)
                lost.acked.exception()  # retrieved here: whoever waits gets it too, nobody is warned in vain
        self.waiting.clear()
        self.writer.on_failed(failure)


def _size_bytes(record: Outgoing) -> int:
    headers = sum(len(name) + len(value) + 10 for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + RECORD_OVERHEAD_BYTES


class OutputWriter:
    """All lanes of a worker.

    Args:
        producer_of: the producer to use for what comes from a source partition: under at_least_once always the same
            one, under exactly_once the partition's transactional one.
        on_acked: called with (topic, append times of the source records in ms) when the broker has a batch.
        on_failed: called when the broker has refused a batch for good. The worker must end: going on would lose an
            output.
    """

    def __init__(
        self,
        producer_of: Callable[[tuple[str, int]], AIOKafkaProducer],
        on_acked: Callable[[str, list[int]], None],
        on_failed: Callable[[RunError], None],
    ) -> None:
        self.producer_of = producer_of
        self.on_acked = on_acked
        self.on_failed = on_failed
        self._lanes: dict[tuple[str, int, tuple[str, int]], Lane] = {}
        self._in_flight: set[Batch] = set()
        self._bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    def publish(self, source: tuple[str, int], topic: str, partition: int, records: Iterable[Outgoing]) -> None:
        """Queue records for a topic-partition; returns at once. ``source`` is the partition that caused them."""
        lane = self._lane(source, topic, partition)
        now_ms = time.time_ns() // 1_000_000
        for record in records:
            lane.append(record, now_ms)

    def publish_groups(
        self, source: tuple[str, int], topic: str, partition: int, groups: Iterable[Sequence[Outgoing]]
    ) -> list[Batch]:
        """Queue groups of records, each group whole in one batch; returns the batches, in order.

        The first batch is a new one, so that the returned batches hold these records and no others.
        """
        lane = self._lane(source, topic, partition)
        now_ms = time.time_ns() // 1_000_000
        batches = [lane.new_batch()]
        for group in groups:
            batch = lane.append_together(group, now_ms)
            if batch is not batches[-1]:
                batches.append(batch)
        return batches

    def pending(self) -> list[asyncio.Future[int]]:
        """The acks that are still out, of everything published until now."""
        return [batch.acked for batch in self._in_flight]

    async def room(self) -> None:
        """Wait while more bytes are out than the broker keeps up with."""
        await self._has_room.wait()

    def forget_lanes(self) -> None:
        """After a rebalance: producers may have changed."""
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.waiting}

    def _lane(self, source: tuple[str, int], topic: str, partition: int) -> Lane:
        key = (topic, partition, source)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self, self.producer_of(source), topic, partition)
        return lane

    # Called by the lanes.

    def took(self, batch: Batch) -> None:
        """A batch was begun: it is pending until it is acknowledged, a refused one for ever."""
        self._in_flight.add(batch)

    def grew(self, batch: Batch, size_bytes: int) -> None:
        """A record was added to a batch."""
        batch.counted_bytes += size_bytes
        self._bytes += size_bytes
        if self._bytes > ROOM_BYTES:
            self._has_room.clear()

    def finished(self, topic: str, batch: Batch) -> None:
        """The broker has acknowledged a batch."""
        self._in_flight.discard(batch)
        self._bytes -= batch.counted_bytes
        if self._bytes <= ROOM_BYTES:
            self._has_room.set()
        if batch.appended_ms:
            self.on_acked(topic, batch.appended_ms)
