"""The two processing guarantees: who produces, and how a commit's three steps become final.

at_least_once: one idempotent producer; outputs are acknowledged, then states, then the group's offsets. What a crash
leaves in between is done again; outputs of it that are published already are left out (`stream_app.flow.published`).

exactly_once: a transactional producer per source partition. Outputs, states and offsets of a commit become visible
together or not at all. A new owner's producer has the same transactional id and fences the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalStateError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from stream_app.kafka.fencing import throw_away
from stream_app.kafka.transport import Consumer, Producer
from stream_app.routes import Partition

Offsets = Mapping[TopicPartition, OffsetAndMetadata]


class Guarantee(Protocol):
    """The part of a commit that depends on the processing guarantee."""

    exclusive: bool
    """No chunk may be applied while a commit runs: everything published before its end belongs to it."""
    changelog_gaps: bool
    """Offsets of a changelog have holes of their own (transaction markers), so holes say nothing about other
    writers.
    """
    keeps: bool
    """True if a worker may keep its streams over a rebalance."""
    reads_published: bool
    """Outputs of records that will be processed again may be published already: they are looked for and left out."""

    async def open(self, sources: Sequence[TopicPartition]) -> None:
        """Prepare for a new assignment, before its tables are read: former owners can write no more."""

    async def close(self) -> None:
        """The assignment is over."""

    def abandon(self) -> None:
        """Never send what the producers have not sent yet."""

    def producer_of(self, source: Partition) -> AIOKafkaProducer:
        """The producer for everything that comes from a source partition."""

    async def confirm(self, committed: Offsets) -> None:
        """Before states are written: raise when this worker has lost its partitions."""

    async def commit(self, offsets: Offsets) -> None:
        """Step 3: make the offsets final, and with them everything else."""


class AtLeastOnce:
    """Faust's own producer for everything; the group's offsets by the consumer."""

    exclusive = False
    changelog_gaps = False
    keeps = True
    reads_published = True

    def __init__(self, producer: Callable[[], Producer], consumer: Callable[[], Consumer]) -> None:
        self._producer = producer
        self._consumer = consumer
        self._abandoned = False

    async def open(self, sources: Sequence[TopicPartition]) -> None:
        """Make a new producer after `abandon`; otherwise do nothing, because the lease is asked before each request."""
        if self._abandoned:
            await self._producer().renew()
            self._abandoned = False

    async def close(self) -> None:
        """Nothing."""

    def abandon(self) -> None:
        self._abandoned = True
        self._producer().discard()

    def producer_of(self, source: Partition) -> AIOKafkaProducer:
        return self._producer()._ensure_producer()

    async def confirm(self, committed: Offsets) -> None:
        """Commit the committed offsets again: refused when this worker is not a member any more.

        A worker that was stopped for longer than its session must not write its old states over those of the new owner.
        """
        if committed:
            await self._consumer().commit_offsets(committed)

    async def commit(self, offsets: Offsets) -> None:
        await self._consumer().commit_offsets(offsets)


class ExactlyOnce:
    """One transaction per source partition and commit."""

    exclusive = True
    changelog_gaps = True
    keeps = False  # producers are opened for a whole assignment
    reads_published = False

    def __init__(self, producer: Callable[[], Producer], app_id: str) -> None:
        self._producer = producer
        self._app_id = app_id
        self._producers: dict[Partition, AIOKafkaProducer] = {}
        self._opening: list[asyncio.Task[AIOKafkaProducer]] = []

    async def open(self, sources: Sequence[TopicPartition]) -> None:
        """Raises IllegalStateError where `close` comes in between: a producer that is opened later would fence the
        next owner's.
        """
        await self.close()
        opening = self._opening = [asyncio.create_task(self._open(source)) for source in sources]
        try:
            opened = await asyncio.gather(*opening, return_exceptions=True)
        finally:
            for task in opening:  # where this one is cancelled
                task.cancel()
        producers = {(at.topic, at.partition): one for at, one in zip(sources, opened, strict=True)}
        errors = [one for one in opened if isinstance(one, BaseException)]
        self._producers = {source: one for source, one in producers.items() if not isinstance(one, BaseException)}
        if errors or opening is not self._opening:
            await self.close()
        for error in errors:
            if not isinstance(error, asyncio.CancelledError):
                raise error
        if opening is not self._opening:
            raise IllegalStateError("the assignment ended while transactional producers were opened")

    async def _open(self, source: TopicPartition) -> AIOKafkaProducer:
        producer = self._producer()._new_producer(f"{self._app_id}-{source.topic}-{source.partition}")
        try:
            await producer.start()
            await producer.begin_transaction()  # waits for the producer id: the old owner is fenced from here on
        except BaseException:
            await throw_away(producer)
            raise
        return producer

    async def close(self) -> None:
        """Leave open transactions to the next owner, who aborts them by taking over the transactional id."""
        for task in self._opening:
            task.cancel()
        self._opening = []
        producers, self._producers = self._producers, {}
        await asyncio.gather(*map(throw_away, producers.values()))

    def abandon(self) -> None:
        """Do nothing: records sent after the transaction was left open never become visible."""

    def producer_of(self, source: Partition) -> AIOKafkaProducer:
        return self._producers[source]

    async def confirm(self, committed: Offsets) -> None:
        """Do nothing: a fenced producer's records never become visible."""

    async def commit(self, offsets: Offsets) -> None:
        """Commit all partitions at once: one transaction after the other would add up.

        Raises:
            ProducerFenced: another worker owns a partition.
        """
        results = await asyncio.gather(
            *(self._commit(at, offset) for at, offset in offsets.items()), return_exceptions=True
        )
        errors = [result for result in results if isinstance(result, BaseException)]
        # A fenced producer says that partitions are lost; that is the milder end, so it is told first.
        for error in sorted(errors, key=lambda error: not isinstance(error, ProducerFenced)):
            raise error

    async def _commit(self, at: TopicPartition, offset: OffsetAndMetadata) -> None:
        producer = self._producers.get((at.topic, at.partition))
        if producer is None:  # closed by a revocation meanwhile; aiokafka's consumer says the same of its offsets
            raise IllegalStateError(f"Partition {at} is not assigned")
        await producer.send_offsets_to_transaction({at: offset}, self._app_id)
        await producer.commit_transaction()
        await producer.begin_transaction()
