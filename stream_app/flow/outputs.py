"""Publishing: encoded records go out in batches, in order per topic-partition, and nothing is forgotten before its
ack.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalStateError
from aiokafka.structs import TopicPartition

from core.arrays import Int64s
from core.errors import RunError
from core.native.records import Records, raw_headers
from stream_app.headers import SOURCE_TOPIC, Headers
from stream_app.native.batches import BatchBuilder
from stream_app.routes import Partition
from stream_app.sizes import KAFKAS_DEFAULT, LARGEST_BATCH_BYTES

log = logging.getLogger(__name__)

# Bytes that wait for the broker before agents wait too: about two seconds of output at full speed.
ROOM_BYTES = 64 * 1024 * 1024

NO_HEADERS = (b"", 0)


class Batch:
    """A batch under construction or in flight.

    Args:
        builder: takes the records.
    """

    __slots__ = ("_acked", "_base", "_error", "appended_ms", "builder", "counted_bytes", "needs")

    def __init__(self, builder: BatchBuilder) -> None:
        self.builder = builder
        self.appended_ms: list[Int64s] = []
        """Append times of the source records behind it (their arrival here, where the source has CreateTime)."""
        self.counted_bytes = 0
        self.needs = 0
        """Number of openings that must be confirmed before the batch leaves (`OutputWriter.opened`)."""
        self._acked: asyncio.Future[int] | None = None
        self._base: int | None = None
        self._error: BaseException | None = None

    @property
    def records(self) -> int:
        """The number of records that it holds so far."""
        return self.builder.record_count()

    @property
    def acked(self) -> asyncio.Future[int]:
        """Done with the base offset that the broker assigned. It is made when it is first asked for."""
        if self._acked is None:
            self._acked = asyncio.get_running_loop().create_future()
            self._tell()
        return self._acked

    def end(self, base: int | None, error: BaseException | None = None) -> None:
        """The broker has it, or never will; the first word counts."""
        if self._base is None and self._error is None:
            self._base, self._error = base, error
            self._tell()

    def _tell(self) -> None:
        if self._acked is None or self._acked.done():
            return
        if self._error is not None:
            self._acked.set_exception(self._error)
            self._acked.exception()  # retrieved here: whoever waits gets it too, nobody is warned in vain
        elif self._base is not None:
            self._acked.set_result(self._base)


class Lane:
    """The batches for one topic-partition, which leave in the order in which they were made.

    What may leave at once does so at the end of the turn of the loop, for all lanes together. For what has to wait, a
    task per lane sends one after the other, because aiokafka lets concurrent waiters of `send_batch` through in any
    order. A batch that waits for its turn takes further records, so batches grow with load and never wait without it.
    """

    def __init__(self, writer: OutputWriter, producer: AIOKafkaProducer, topic: str, partition: int) -> None:
        self.writer = writer
        self.producer = producer
        self.topic = topic
        self.partition = partition
        self._put_now = getattr(producer, "put", None)  # transactional producers have none
        self._go = getattr(producer, "go", None)
        self.waiting: deque[Batch] = deque()
        self.sent: set[Batch] = set()
        self.task: asyncio.Task[None] | None = None
        self.begun = 0
        """Batches so far."""
        self.acked_end = -1
        """All acknowledged outputs of this lane stand before this offset, the others at it or behind; -1: unknown."""

    def append(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Add one record to the last waiting batch, or to a new one when that is full."""
        now_ms, batch = _now_ms(), self.waiting[-1] if self.waiting else self.new_batch()
        before = batch.builder.size()
        if not batch.builder.append(now_ms, key, value, list(headers)):
            batch = self.new_batch()
            before = batch.builder.size()
            batch.builder.append(now_ms, key, value, list(headers))
        self.writer.grew(batch, batch.builder.size() - before)

    def extend(self, batch: Batch, records: Records, headers: tuple[bytes, int]) -> list[Batch]:
        """Add records to a waiting batch and, as each gets full, to new ones behind it; those that took any."""
        now_ms, start, took = _now_ms(), 0, [batch]
        while True:
            start = batch.builder.extend(records, start, now_ms, *headers)
            if start == len(records):
                return took
            batch = self.new_batch()
            took.append(batch)

    def publish(self, records: Records, headers: tuple[bytes, int], times_ms: Int64s) -> None:
        """Add outputs, whose source records were appended at ``times_ms``."""
        now_ms, start = _now_ms(), 0
        while start < len(records):
            batch = self.waiting[-1] if self.waiting else self.new_batch()
            before, first = batch.builder.size(), start
            start = batch.builder.extend(records, first, now_ms, *headers)
            batch.appended_ms.append(times_ms[first:start])
            self.writer.grew(batch, batch.builder.size() - before)
            if start < len(records):
                self.new_batch()

    def new_batch(self) -> Batch:
        """Queue an empty batch behind the waiting ones."""
        batch = Batch(self.writer.new_builder(self.producer, self.topic))
        self.waiting.append(batch)
        self.begun += 1
        self.writer.took(batch)
        self.writer.soon(self)
        return batch

    def begin(self) -> None:
        """Hand over what waits: at once as far as that goes, the rest in a task."""
        if self.task is not None and not self.task.done():
            return
        while self.waiting and self._put(self.waiting[0]):
            self.waiting.popleft()
        if self.waiting:
            self.task = asyncio.create_task(self._send())

    def go(self) -> None:
        """Have the producer send what the lanes have handed over."""
        if self._go is not None:
            self._go()

    def _put(self, batch: Batch) -> bool:
        """Give a batch to the producer; False where it has to wait."""
        if self._put_now is None or self.writer.confirmed < batch.needs:
            return False
        arrived, refused = partial(self._arrived, batch), partial(self._refused, batch)
        if not self._put_now(batch.builder, self.topic, self.partition, arrived, refused):
            return False
        self.sent.add(batch)
        return True

    async def _send(self) -> None:
        while self.waiting:
            batch = self.waiting.popleft()
            self.sent.add(batch)
            await self.writer.until_confirmed(batch.needs)
            try:
                sent = await self.producer.send_batch(batch.builder, self.topic, partition=self.partition)
            except Exception as error:
                self._failed(batch, error)
                return
            sent.add_done_callback(partial(self._done, batch))

    def abandon(self) -> None:
        """Give up the batches that are not acknowledged by now: they are neither sent nor waited for."""
        if self.task is not None:
            self.task.cancel()
        self._give_up((*self.sent, *self.waiting), IllegalStateError(f"{self.topic}: not a member any more"))

    @property
    def idle(self) -> bool:
        """True if everything is acknowledged."""
        return not self.sent and not self.waiting

    def _done(self, batch: Batch, done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            self._refused(batch, RunError("cancelled"))
        elif (error := done.exception()) is not None:
            self._refused(batch, error)
        else:
            self._arrived(batch, done.result().offset)

    def _arrived(self, batch: Batch, base: int) -> None:
        if batch not in self.sent:
            return  # abandoned
        self.sent.remove(batch)
        batch.end(base)
        self.acked_end = max(self.acked_end, base + batch.records)
        self.writer.finished(self.topic, batch)

    def _refused(self, batch: Batch, error: BaseException) -> None:
        if batch in self.sent:
            self._failed(batch, error)

    def _failed(self, batch: Batch, error: BaseException) -> None:
        failure = RunError(f"{self.topic}[{self.partition}]: {batch.records} records were not accepted: {error!r}")
        self._give_up((batch, *self.waiting), failure)
        self.writer.on_failed(failure)

    def _give_up(self, batches: Collection[Batch], error: BaseException) -> None:
        for lost in batches:
            self.sent.discard(lost)
            lost.end(None, error)
        self.waiting.clear()


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
        producer_of: Callable[[Partition], AIOKafkaProducer],
        on_acked: Callable[[str, Int64s], None],
        on_failed: Callable[[RunError], None],
    ) -> None:
        self.producer_of = producer_of
        self.on_acked = on_acked
        self.on_failed = on_failed
        self._lanes: dict[tuple[str, int, Partition], Lane] = {}
        self._due: list[Lane] = []
        self._held = False
        self._in_flight: set[Batch] = set()
        self._bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._open = True
        self.last_ack = time.monotonic()
        """Time at which the broker last acknowledged a batch of outputs, dead letters or states."""
        self.on_opened: Callable[[], None] | None = None
        """Called when something is to be confirmed; None: all is at once."""
        self.openings = self.confirmed = 0
        self._news = asyncio.Event()
        self.limits: dict[str, int] = {}
        """Topic -> the bytes of a batch that it takes (``max.message.bytes``)."""
        self._of_topic: dict[str, tuple[bytes, int]] = {}

    def opened(self) -> None:
        """Note that a stream without state was met. What is published from now on leaves when that is `confirmed`: if
        partitions were added to its topic, its state is in another one, and nothing of it may be published here.
        """
        self.openings += 1
        if self.on_opened is None:
            self.confirmed = self.openings
        else:
            self.on_opened()

    def confirm(self, openings: int) -> None:
        """The first ``openings`` calls of `opened` were of new streams."""
        self.confirmed = openings
        self._news.set()
        self._news = asyncio.Event()

    async def until_confirmed(self, openings: int) -> None:
        """Wait for `confirm`."""
        while self.confirmed < openings:
            await self._news.wait()

    def limit(self, topic: str) -> int:
        """The bytes of a batch that a topic takes."""
        return self.limits.get(topic, KAFKAS_DEFAULT)

    def publish(
        self,
        source: Partition,
        topic: str,
        records: Records,
        headers: tuple[bytes, int] = NO_HEADERS,
        arrived_ms: int | None = None,
    ) -> None:
        """Queue outputs for the partition of their own number; returns at once.

        Args:
            source: the topic-partition that caused them.
            topic: where they go.
            records: each gets its offset as header ``source-offset``.
            headers: more headers, and how many, as `header_bytes` gives them.
            arrived_ms: since when latency counts, where the records' own times do not say.
        """
        times_ms = records.timestamps()
        if arrived_ms is not None:
            times_ms[:] = arrived_ms
        self._lane(source, topic, records.partition).publish(records, headers, times_ms)

    def publish_one(
        self,
        source: Partition,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
    ) -> None:
        """Queue one record with headers of its own."""
        self._lane(source, topic, partition).append(key, value, headers)

    def publish_states(self, source: Partition, topic: str, records: Records) -> list[Batch]:
        """Queue table records, tied ones in one batch; returns the batches, in order.

        The first batch is a new one, so that the returned batches hold these records and no others. Each record says
        whose state it is (`stream_app.topics.ownership`).
        """
        lane = self._lane(source, topic, records.partition)
        headers = self._of_topic.setdefault(source[0], header_bytes([(SOURCE_TOPIC, source[0].encode())]))
        return lane.extend(lane.new_batch(), records, headers)

    def hold(self) -> None:
        """Keep what is published from now on until `leave`."""
        self._held = True

    def leave(self) -> None:
        """Send what is due, in this turn of the loop."""
        self._held = False
        self._begin()

    def pending(self) -> list[asyncio.Future[int]]:
        """The acks that are still out, of everything published until now."""
        return [batch.acked for batch in self._in_flight]

    @property
    def has_room(self) -> bool:
        """True if `room` would not wait."""
        return self._has_room.is_set()

    async def room(self) -> None:
        """Wait while more bytes are out than the broker keeps up with."""
        await self._has_room.wait()

    def acked_end(self, source: Partition, topic: str, partition: int) -> int:
        """See `Lane.acked_end`: of what a source's records cause in a partition."""
        lane = self._lanes.get((topic, partition, source))
        return -1 if lane is None else lane.acked_end

    def quiet(self) -> dict[Lane, int]:
        """The lanes that have nothing under way, as they stand now: for `reached`."""
        return {lane: lane.begun for lane in self._lanes.values() if lane.idle}

    def reached(self, quiet: Mapping[Lane, int], ends: Mapping[TopicPartition, int]) -> None:
        """Take up where partitions end, asked for after ``quiet``: other writers' records are passed over with that."""
        for lane, begun in quiet.items():
            if lane.begun == begun:  # whatever it sends next will stand behind
                lane.acked_end = max(lane.acked_end, ends.get(TopicPartition(lane.topic, lane.partition), -1))

    def open(self, source: Partition, topic: str, partition: int, end: int) -> None:
        """Begin a new assignment: the outputs of a source's records will stand at ``end`` or behind."""
        self._lane(source, topic, partition).acked_end = end

    def abandon(self) -> bool:
        """End the assignment: batches that are not acknowledged by now are left to the next owner. Return whether there
        were any. Until `reopen` no new ones are taken, because nobody would send them.
        """
        self._open = False
        lanes, self._lanes = self._lanes, {}
        busy = [lane for lane in lanes.values() if not lane.idle]
        for lane in busy:
            lane.abandon()
        self._in_flight.clear()
        self._bytes = 0
        self._has_room.set()
        return bool(busy)

    def reopen(self) -> None:
        """Accept outputs again: a new assignment begins."""
        self._open = True

    def _lane(self, source: Partition, topic: str, partition: int) -> Lane:
        if not self._open:
            raise IllegalStateError(f"{topic}[{partition}]: the assignment is over")
        key = (topic, partition, source)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self, self.producer_of(source), topic, partition)
        return lane

    # Called by the lanes.

    def soon(self, lane: Lane) -> None:
        """Let a lane begin to send when the turn of the loop is over: until then, more may be published."""
        if not self._due and not self._held:
            asyncio.get_running_loop().call_soon(self._begin)
        self._due.append(lane)

    def _begin(self) -> None:
        due, self._due = self._due, []
        for lane in due:
            lane.begin()
        for lane in due:
            lane.go()

    def new_builder(self, producer: AIOKafkaProducer, topic: str) -> BatchBuilder:
        """An empty batch, of the producer's transaction where it has one, as large as the topic takes."""
        manager = producer._txn_manager
        transactional = manager is not None and manager.transactional_id is not None
        return BatchBuilder(min(self.limit(topic), LARGEST_BATCH_BYTES), transactional)

    def took(self, batch: Batch) -> None:
        """A batch was begun: it is pending until it is acknowledged, a refused one for ever."""
        batch.needs = self.openings
        self._in_flight.add(batch)

    def grew(self, batch: Batch, size_bytes: int) -> None:
        """Outputs were added to a batch."""
        batch.needs = self.openings
        batch.counted_bytes += size_bytes
        self._bytes += size_bytes
        if self._bytes > ROOM_BYTES:
            self._has_room.clear()

    def finished(self, topic: str, batch: Batch) -> None:
        """The broker has acknowledged a batch."""
        self.last_ack = time.monotonic()
        self._in_flight.discard(batch)
        self._bytes -= batch.counted_bytes
        if self._bytes <= ROOM_BYTES:
            self._has_room.set()
        if batch.appended_ms:
            times = batch.appended_ms
            self.on_acked(topic, times[0] if len(times) == 1 else np.concatenate(times))


async def all_acked(acks: Collection[asyncio.Future[Any]]) -> None:
    """Wait for acks that others wait for too: `asyncio.gather` would cancel them all when one waiter is cancelled.

    Raises:
        RunError: the broker has refused a batch.
        IllegalStateError: the assignment is over, and what was to be acknowledged is given up.
    """
    if acks:
        done, _ = await asyncio.wait(acks, return_when=asyncio.FIRST_EXCEPTION)
        for ack in done:
            if ack.cancelled():
                raise IllegalStateError("outputs were given up before they were acknowledged")
            ack.result()


def header_bytes(headers: Headers) -> tuple[bytes, int]:
    """Headers that many records share, as they are written, and their number."""
    return raw_headers(headers), len(headers)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
