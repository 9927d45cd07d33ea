"""The chunked Faust driver: one chunk per topic and fetch instead of one event per record.

Stock Faust makes two asyncio tasks per message, about 10,000 messages a second at best; a chunk makes none. It is a
subclass of Faust's aiokafka driver, registered under the entry point ``faust.transports``, and changes these things:

- a fetch's records of one topic, over all its partitions, travel as one `Chunk`, read by `stream_app.kafka.fetching`;
- after a small chunk the next fetch waits a little, so that records gather (`stream_app.kafka.pause`);
- requests and answers of each turn go without a task of their own (`stream_app.kafka.connections`, `fetch_loop`,
  `sending`);
- the consumer runs on the application's event loop, not in a thread (see `NoThread`);
- a topic for whose records there is no room is paused, so that the other is fetched as before;
- the sources are read with isolation level read_committed (Faust would do so only under exactly_once);
- offsets are committed by `stream_app.flow.commits` alone: with chunks, Faust's own bookkeeping by acked messages would
  commit past a message in flight (faust-streaming/faust#606);
- the producer is idempotent, so that a retry neither repeats nor reorders a batch, and sends only while this worker
  surely is a member of its group (`stream_app.kafka.fencing`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import aiokafka
from aiokafka.errors import ConsumerStoppedError, InconsistentGroupProtocolError, InvalidSessionTimeoutError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from core.errors import StartupError
from core.native.records import Records
from stream_app.clients.knock import address_of
from stream_app.clients.security import aiokafka_config
from stream_app.kafka import lease
from stream_app.kafka.application import Application
from stream_app.kafka.chunks import Chunk
from stream_app.kafka.connections import read_by_frames
from stream_app.kafka.coverage import Coverage
from stream_app.kafka.fencing import FencedProducer, QuietProducer
from stream_app.kafka.fetch_loop import FetchLoop
from stream_app.kafka.fetching import (
    high_watermarks,
    is_behind,
    partition_counts,
    read_raw,
    take_fetched,
    wait_for_fetched,
)
from stream_app.kafka.pause import Pause
from stream_app.logs import FAUST
from stream_app.sizes import LARGEST_BATCH_BYTES

# A dead letter carries the record that it is about: it must fit whatever a source topic may hold.
MAX_REQUEST_BYTES = 16 * 1024 * 1024
FETCH_TIMEOUT_S = 1.0
# Kafka's default. The broker aborts a transaction that stays open for longer, so it must outlast the longest commit
# interval; twice that keeps within the broker's limit of 15 minutes.
TRANSACTION_TIMEOUT_MS = 60_000
# A member learns with its next heartbeat that the group rebalances, and all wait for the last: at a third of the
# session, as is usual, the first one's streams would stand still for up to 2 s.
HEARTBEAT_S = 0.3
# While a topic has no room, it is looked so often whether it has some again.
HELD_PAUSE_S = 0.02
LOOK_AGAIN_S = 0.5


class NoThread:
    """Stands for the thread in which Faust would run its consumer service: runs it as a task of the same loop.

    A thread for fetches shares the interpreter's lock with the one that applies chunks, and waits up to 5 ms each time
    it wants it back: at 5,000 samples/s on two cores predictions came 10 to 13 ms after their samples (p50), not 3.
    What a fetch costs is a copy of its bytes, so there is nothing to be done side by side.
    """

    def __init__(self, service: Any) -> None:
        self._service = service
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Serve until the service is stopped."""
        self._task = asyncio.get_running_loop().create_task(self._service._serve())

    def stop(self) -> None:
        """Do nothing: the service's own shutdown has been waited for."""


class ConsumerService(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer, on the application's own event loop."""

    logger = FAUST
    app: Application  # type: ignore[assignment]  # Faust types the application whole

    def __post_init__(self) -> None:
        super().__post_init__()
        self.coverage = Coverage()
        self._most = self.app.conf.broker_max_poll_records
        self.pause = Pause(self.app.settings.max_delay, self._most)
        self._held = False
        self.handing = False
        """True while chunks that were taken wait for room: later ones may not overtake them."""

    async def _gather_remaining_tasks(self) -> None:
        """Do nothing: Faust would cancel every task of the thread's loop, which everybody shares here."""

    async def _keepalive2(self) -> None:
        """Do nothing: there is no thread that could stand still."""

    @Service.task
    async def _thread_keepalive(self) -> None:
        """Do nothing: the loop is the application's, which has enough to do."""

    async def on_start(self) -> None:
        await super().on_start()
        fetcher = self._ensure_consumer()._fetcher
        read_raw(fetcher)
        FetchLoop(fetcher, self.pause, self.app.source_topics, self.deliver).start()
        lease.keep(self.app.lease, self._ensure_consumer()._coordinator)

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        settings = self.app.settings
        consumer = aiokafka.AIOKafkaConsumer(
            client_id=settings.app_id,
            group_id=settings.app_id,
            partition_assignment_strategy=[self.app.assignor],
            enable_auto_commit=False,
            # A group without offsets starts at the beginning; `stream_app.worker.assignment` decides whether it may.
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_records=self.app.conf.broker_max_poll_records,
            session_timeout_ms=int(settings.session_timeout * 1000),
            heartbeat_interval_ms=int(min(settings.session_timeout / 3, HEARTBEAT_S) * 1000),
            rebalance_timeout_ms=60_000,
            # aiokafka leaves the group when nothing is fetched for so long, and joins again with the next fetch.
            # A standby has no partitions, so it never fetches and would be evicted.
            max_poll_interval_ms=2**31 - 1,
            metadata_max_age_ms=30_000,
            **aiokafka_config(settings),
        )
        read_by_frames(consumer._client)
        return consumer

    async def fetch(self, active: set[TP]) -> list[Chunk]:
        """The next records, a chunk for each topic, as soon as there are any.

        The generation is read in the same step in which the records leave the fetcher. Read before the call, it would
        be that of the assignment in which the call began to wait, and records of the next assignment would be dropped
        as old. And nothing is taken while the flow is stopped, though the wait may have begun before a rebalance: Faust
        seeks partition by partition before it lets the flow go on, and not at all to offset 0, so records that are
        taken and dropped in between would not be read again.
        """
        if not self.consumer.flow_active or not active:
            return []
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        if (routine := fetcher.error_future).done() and not routine.cancelled():
            routine.result()  # nothing will be fetched any more: nobody else would tell
        timeout_s = HELD_PAUSE_S if self._hold_back(consumer, active) else FETCH_TIMEOUT_S
        with fetcher._subscriptions.fetch_context():
            records = await wait_for_fetched(fetcher, active, self._most, timeout_s, self._may_take, self.coverage)
        return self._cut(fetcher, records)

    def deliver(self) -> bool:
        """Hand what was fetched to the agents, in the turn of the loop in which it came.

        Returns:
            False where some of it is left: then `fetch` takes it, which may wait.
        """
        fetcher = self._ensure_consumer()._fetcher
        if self.handing or not self._flows(fetcher):
            return False
        active = self.app.taken_up(self.consumer._get_active_partitions().intersection(fetcher._records))
        try:
            taken = take_fetched(fetcher, active, self._most, self.coverage, leave_errors=True)
        except Exception:  # `fetch` raises it again, for whoever can do something about it
            return False
        self.app.hand(self._cut(fetcher, taken))
        return not fetcher._records

    def _flows(self, fetcher: Any) -> bool:
        """True if all that was fetched may be taken, and has room."""
        if not self._may_take() or not self.app.flow_control.is_active() or fetcher._closed:
            return False
        if self._held or self.app.full_topics() or fetcher._subscriptions.reassignment_in_progress:
            return False
        return all(map(self.app.has_place, {at.topic for at in fetcher._records}))

    def _cut(self, fetcher: Any, records: Mapping[TopicPartition, Records]) -> list[Chunk]:
        """Make chunks of what was taken in this step."""
        if not records:
            return []
        self.pause.answered(time.monotonic(), sum(map(len, records.values())), is_behind(fetcher, records))
        generation, fetched_ms = self.app.consumer_generation_id, time.time_ns() // 1_000_000
        chunks = {
            topic: Chunk(topic, generation, fetched_ms, {}, {}) for topic in dict.fromkeys(at.topic for at in records)
        }
        for at, found in records.items():
            chunk = chunks[at.topic]
            chunk.records[at.partition] = found
            chunk.starts[at.partition] = self.coverage.handed(at, found.last_offset + 1)
        return list(chunks.values())

    def _may_take(self) -> bool:
        return self.consumer.flow_active and self.app.takes_chunks

    def _hold_back(self, consumer: aiokafka.AIOKafkaConsumer, active: set[TP]) -> bool:
        """Pause the partitions of topics that have no room, and resume those that have; whether any are paused.

        Fetched all the same, their chunks would fill the agent's queue, and the other topic's would wait behind them.
        What was fetched of a paused partition is dropped and fetched again.
        """
        full = self.app.full_topics()
        if full or self._held:
            for partition in active & consumer.assignment():
                (consumer.pause if partition.topic in full else consumer.resume)(TopicPartition(*partition))
            self._held = bool(full)
        return self._held


class Consumer(driver.Consumer):
    """Delivers chunks; commits what it is told."""

    logger = FAUST
    app: Application  # type: ignore[assignment]  # Faust types the application whole
    _thread: ConsumerService

    def __post_init__(self) -> None:
        super().__post_init__()
        self._news = asyncio.Event()

    def _get_active_partitions(self) -> set[TP]:
        """The partitions that may be read. Faust looks at the type of each, each time."""
        found = self._active_partitions
        return self._set_active_tps(self.assignment()) if found is None else found

    def _new_consumer_thread(self) -> ConsumerService:
        worker: Any = NoThread
        return ConsumerService(self, loop=self.loop, thread_loop=self.loop, Worker=worker, beacon=self.beacon)

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: the loop below waits for room in the agent's queue, which is enough back-pressure.

        Faust would take one partition out of the fetch, while a chunk has records of many.
        """

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing: see `on_buffer_full`."""

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch and deliver until the consumer or the fetcher stops."""
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                await self._deliver_one_fetch()
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    async def _deliver_one_fetch(self) -> None:
        active = self.app.taken_up(self._get_active_partitions())
        if not self.flow_active or not active:
            await self._wait_for_work()
            return
        chunks = await self._thread.fetch(active)
        self._thread.handing = True
        try:
            for chunk in chunks:
                # A fetch that spans a rebalance is dropped: the seek after the rebalance reads its records again.
                if self.flow_active and chunk.generation == self.app.consumer_generation_id:
                    await self._hand_over(chunk)
        finally:
            self._thread.handing = False

    async def _wait_for_work(self) -> None:
        """Wait until there may be partitions to read from. Faust would sleep 1 s, and delay every rebalance by it."""
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), LOOK_AGAIN_S)

    def look(self) -> None:
        """Look at once whether there are partitions to read from."""
        self._news.set()

    def resume_flow(self) -> None:
        super().resume_flow()
        self.look()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        super().resume_partitions(tps)
        self.look()

    async def _hand_over(self, chunk: Chunk) -> None:
        """Put a chunk into its agent's queue. Where there is no room in it, wait, until the flow is stopped."""
        queue = self.app.queue_of(chunk.topic)
        if queue.full() or not self.app.flow_control.is_active():
            await self.wait_first(queue.put(chunk), self.suspend_flow.wait())
        else:
            queue.put_nowait(chunk)

    def check_group(self) -> None:
        """Raise the coordinator's error, such as a group that may not be joined. Calls for records raise it too, but
        before the first assignment there are none, and until it is raised the coordinator does nothing.

        Raises:
            StartupError: it will be the same at every start.
            KafkaError: it may be better next time.
        """
        settings, consumer = self.app.settings, self._thread._consumer
        try:
            if consumer is not None:
                consumer._coordinator.check_errors()
        except InvalidSessionTimeoutError as error:
            raise StartupError(
                f"the broker does not accept session_timeout = {settings.session_timeout:g} s: it lies outside of its "
                "group.min.session.timeout.ms and group.max.session.timeout.ms; change one of them"
            ) from error
        except InconsistentGroupProtocolError as error:
            raise StartupError(
                f"the group {settings.app_id!r} has members that are no caststream workers: stop them, or choose "
                "another app_id"
            ) from error

    def known_brokers(self) -> list[str]:
        """Return the brokers' addresses, host:port, as the brokers last said; the client asks no others. Before its
        start there are none.
        """
        consumer = self._thread._consumer
        brokers = consumer._client.cluster.brokers() if consumer else ()
        return sorted(address_of(one.host, one.port) for one in brokers)

    async def commit_offsets(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit exactly these offsets; aiokafka's errors pass through."""
        await self._thread._ensure_consumer().commit(dict(offsets))

    async def committed(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return the offsets that the group has committed for these partitions; -1 if there is none."""
        coordinator = self._thread._ensure_consumer()._coordinator
        found: dict[TopicPartition, OffsetAndMetadata] = await coordinator.fetch_committed_offsets(list(partitions))
        return found

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset that the broker still holds, per partition."""
        found: dict[TopicPartition, int] = await self._thread._ensure_consumer().beginning_offsets(list(partitions))
        return found

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset after the last stable record, per partition."""
        found: dict[TopicPartition, int] = await self._thread._ensure_consumer().end_offsets(list(partitions))
        return found

    async def partition_counts(self, topics: Sequence[str]) -> dict[str, int]:
        """Ask how many partitions topics have now, of those that a broker knows.

        Raises:
            KafkaError: no broker has answered.
        """
        return await partition_counts(self._thread._ensure_consumer()._client, topics)

    async def log_ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the ends of these logs now, with records of open transactions, which may yet become visible."""
        return await high_watermarks(self._thread._ensure_consumer()._client, partitions)

    def behind(self, partition: TopicPartition) -> tuple[int, int]:
        """See `Coverage.behind`."""
        return self._thread.coverage.behind(partition)


class Producer(driver.Producer):
    """An idempotent aiokafka producer, used batch by batch (`stream_app.flow.outputs`)."""

    logger = FAUST
    app: Application  # type: ignore[assignment]  # Faust types the application whole
    _producer: FencedProducer | None

    def _new_producer(self, transactional_id: str | None = None) -> aiokafka.AIOKafkaProducer:
        config: dict[str, Any] = {
            "client_id": self.app.settings.app_id,
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 0,
            "max_batch_size": LARGEST_BATCH_BYTES,
            "max_request_size": MAX_REQUEST_BYTES,
            **aiokafka_config(self.app.settings),
        }
        if transactional_id is None:
            return FencedProducer(self.app.lease, **config)
        timeout_ms = max(TRANSACTION_TIMEOUT_MS, int(2000 * self.app.settings.max_commit_interval))
        # Fenced by its transactional id.
        return QuietProducer(transactional_id=transactional_id, transaction_timeout_ms=timeout_ms, **config)

    def discard(self) -> None:
        """Never send what the producer has not sent yet; no use of it until `renew`."""
        if self._producer is not None:
            self._producer.discard()

    async def renew(self) -> None:
        """Start another producer in place of one that was discarded."""
        self._producer = self._new_producer()
        await self._producer.start()


class Transport(driver.Transport):
    """Faust's name for the driver: ``caststream://``."""

    Consumer: ClassVar[type] = Consumer
    Producer: ClassVar[type] = Producer
