"""A broker in memory behind the real writer, pipeline and committer: every step of it is taken by the test."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka.structs import OffsetAndMetadata, TopicPartition
from strategies import FakeRecord

from core.chunk import Change, ChunkResult, Evicted
from stream_app.chunks import Chunk
from stream_app.commits import Committer
from stream_app.metrics import Metrics
from stream_app.outputs import OutputWriter
from stream_app.pipeline import Pipeline, StreamEngine, Topics
from stream_app.tables import PartitionedStore
from stream_app.transport import MAX_BATCH_BYTES

SOURCE, OUTPUT, DEAD, CHANGELOG = "source", "output", "dead", "changelog"
GENERATION = 1


class Written(NamedTuple):
    """One record as the broker keeps it."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]

    @property
    def source_offset(self) -> int:
        return int(dict(self.headers)["source-offset"])


class _Added(NamedTuple):
    size: int


class FakeBatch:
    """Takes records as aiokafka's builder does: the first one whatever its size, None when full."""

    def __init__(self) -> None:
        self.records: list[Written] = []
        self._bytes = 0

    def append(
        self, *, timestamp: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> _Added | None:
        size = len(key or b"") + len(value or b"") + 20
        if self.records and self._bytes + size > MAX_BATCH_BYTES:
            return None
        self.records.append(Written(key, value, headers))
        self._bytes += size
        return _Added(size)

    def size(self) -> int:
        return self._bytes

    def record_count(self) -> int:
        return len(self.records)


class Sent(NamedTuple):
    """Where the broker has put a batch."""

    offset: int


@dataclass
class Request:
    """Something the broker was asked and has not done yet; `done` is what the asker waits for."""

    what: str
    done: asyncio.Future[Any]
    topic: str = ""
    partition: int = 0
    records: list[Written] = field(default_factory=list)
    offsets: Mapping[TopicPartition, OffsetAndMetadata] = field(default_factory=dict)


class FakeBroker:
    """Producer, guarantee and broker in one. With ``prompt`` it does at once what it is asked, else `take` decides."""

    exclusive = False
    changelog_gaps = False

    def __init__(self, prompt: bool = True) -> None:
        self.prompt = prompt
        self.logs: defaultdict[tuple[str, int], list[Written]] = defaultdict(list)
        self.committed: dict[TopicPartition, OffsetAndMetadata] = {}
        self.journal: list[str] = []
        """What was done, in order: "write <topic>", "confirm", "commit"."""
        self.waiting: list[Request] = []
        self.refusals: dict[str, Exception] = {}
        """What to answer instead: by "write <topic>", "confirm" or "commit"."""

    # As a producer.

    def create_batch(self) -> FakeBatch:
        return FakeBatch()

    async def send_batch(self, batch: FakeBatch, topic: str, *, partition: int) -> asyncio.Future[Sent]:
        request = self._ask(f"write {topic}", topic=topic, partition=partition, records=batch.records)
        return request.done

    # As a guarantee.

    def producer_of(self, source: tuple[str, int]) -> Any:
        return self

    async def open(self, sources: Sequence[TopicPartition]) -> None: ...

    async def close(self) -> None: ...

    async def confirm(self, committed: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        await self._ask("confirm").done

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        await self._ask("commit", offsets=offsets).done

    # As a broker.

    def take(self, request: Request) -> None:
        """Do what was asked: from here on it has happened, whatever becomes of the worker."""
        self.waiting.remove(request)
        self.journal.append(request.what)
        if request.what in self.refusals:
            request.done.set_exception(self.refusals[request.what])
            return
        log = self.logs[request.topic, request.partition]
        base = len(log)
        log.extend(request.records)
        self.committed.update(request.offsets)
        request.done.set_result(Sent(base))

    def next_ones(self) -> list[Request]:
        """The requests that it may do next: of each topic-partition the oldest, as an idempotent producer sees to."""
        first: dict[tuple[str, str, int], Request] = {}
        for request in self.waiting:
            first.setdefault((request.what, request.topic, request.partition), request)
        return list(first.values())

    def _ask(self, what: str, **details: Any) -> Request:
        request = Request(what, asyncio.get_running_loop().create_future(), **details)
        self.waiting.append(request)
        if self.prompt:
            self.take(request)
        return request

    def written(self, topic: str, partition: int = 0) -> list[Written]:
        return self.logs[topic, partition]

    async def read_keys(self, at: TopicPartition, start: int, end: int) -> set[bytes]:
        return {written.key or b"" for written in self.logs[at.topic, at.partition][start:end]}

    def committed_offset(self, partition: int = 0) -> int | None:
        found = self.committed.get(TopicPartition(SOURCE, partition))
        return found.offset if found else None


class FakeEngine:
    """Publishes every record's value and remembers the last one per key; a value of b"?" is a dead letter."""

    def __init__(self) -> None:
        self.changed: dict[tuple[int, bytes], tuple[int, bytes]] = {}
        self.to_evict: list[Change] = []
        self.dropped: list[int] = []

    def run(self, records: Iterable[FakeRecord]) -> ChunkResult:
        result = ChunkResult()
        for record in records:
            key, value = record.key or b"", record.value or b""
            result.outputs.setdefault(record.partition, []).append((key, value, record.offset, record.timestamp or 0))
            self.changed[record.partition, key] = record.offset, value
        return result

    def take_changed(self, partitions: Collection[int]) -> list[Change]:
        taken = {at: state for at, state in self.changed.items() if at[0] in partitions}
        for at in taken:
            del self.changed[at]
        return [Change(partition, offset, [(key, value)]) for (partition, key), (offset, value) in taken.items()]

    def evict(self, partition: int, now_ms: int, committed_offset: int) -> Evicted:
        return Evicted(tombstones=self.to_evict)

    def drop(self, partitions: Collection[int]) -> None:
        self.dropped += partitions

    def active(self, partition: int | None = None) -> int:
        return 0

    def warm_up(self) -> None: ...


class FakeWorker:
    """One pipeline with its committer, on a broker in memory; a failed write is in ``failures``."""

    def __init__(self, broker: FakeBroker, engine: StreamEngine | None = None, partitions: Sequence[int] = (0,)):
        self.failures: list[BaseException] = []
        self.broker = broker
        self.engine: Any = engine or FakeEngine()
        self.states = PartitionedStore()
        self.metrics = Metrics()
        self.writer = OutputWriter(broker.producer_of, self.metrics.acked, self.failures.append)
        topics = Topics(SOURCE, OUTPUT, DEAD, CHANGELOG)
        self.pipeline = Pipeline(topics, "table", self.engine, self.states, self.writer, self.metrics)
        self.committer = Committer([self.pipeline], self.writer, broker, self.metrics, broker.read_keys)
        self.start(dict.fromkeys(partitions, 0))

    def start(self, positions: dict[int, int], states: Mapping[int, Mapping[bytes, tuple[int, bytes]]] = {}) -> None:
        """A new assignment, whose states have been recovered."""
        for partition, rows in states.items():
            for key, (source_offset, value) in rows.items():
                self.states.put(partition, key, value, source_offset)
        self.committer.topic_ids = {SOURCE: "topic-id", CHANGELOG: "changelog-id"}
        self.committer.start({TopicPartition(SOURCE, at): offset for at, offset in positions.items()})
        self.pipeline.start(GENERATION, positions)

    def run(self, *records: FakeRecord, generation: int = GENERATION) -> None:
        """Apply records as one chunk."""
        by_partition: dict[int, list[Any]] = {}
        for record in records:
            by_partition.setdefault(record.partition, []).append(record)
        self.pipeline.run(Chunk(SOURCE, generation, 0, by_partition))


def record(offset: int, value: bytes = b"value", key: bytes = b"key", partition: int = 0) -> FakeRecord:
    return FakeRecord(partition, offset, 1_000 + offset, key, value)


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)
