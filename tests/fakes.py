"""A broker in memory behind the real writer, pipeline and committer: every step of it is taken by the test."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from core.engines.results import ChunkResult, Counts, Evicted
from core.native.records import Outputs, Records
from core.tasks.reading import shipped
from stream_app.flow.commits import Committer
from stream_app.flow.idleness import PastPositions
from stream_app.flow.metrics import Metrics
from stream_app.flow.outputs import OutputWriter
from stream_app.flow.pipeline import Pipeline
from stream_app.flow.published import LogEnds, Published, PublishedSince
from stream_app.flow.tables import PartitionedStore
from stream_app.kafka.chunks import Chunk
from stream_app.native.batches import BatchBuilder
from stream_app.routes import Route
from stream_app.worker.assignment import stored_ends
from tests.changes import by_partition
from tests.strategies import FakeRecord

SOURCE, OUTPUT, DEAD, CHANGELOG = "source", "output", "dead", "changelog"
GENERATION = 1
APP = "app"


class Written(NamedTuple):
    """One record as the broker keeps it."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]

    @property
    def source_offset(self) -> int:
        return int(dict(self.headers)["source-offset"])


def written_in(batch: BatchBuilder) -> list[Written]:
    """The records of a batch as a broker finds them in its bytes: read by aiokafka, its checksum compared."""
    found: list[Written] = []
    batches = MemoryRecords(bytes(batch._build()))
    while batches.has_next():
        read = batches.next_batch()
        assert read.validate_crc()
        found += [Written(record.key, record.value, list(record.headers)) for record in read]
    assert len(found) == batch.record_count()
    return found


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
    keeps = True
    reads_published = True
    _txn_manager = None

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

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[Sent]:
        request = self._ask(f"write {topic}", topic=topic, partition=partition, records=written_in(batch))
        return request.done

    # As a guarantee.

    def producer_of(self, source: tuple[str, int]) -> Any:
        return self

    async def open(self, sources: Sequence[TopicPartition]) -> None: ...

    async def close(self) -> None: ...

    def abandon(self) -> None: ...

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
    """Publishes every record's value and remembers the last one per key, which is all that it ever writes."""

    def __init__(self) -> None:
        self.live: dict[tuple[int, bytes], tuple[int, bytes]] = {}
        self.changed: set[tuple[int, bytes]] = set()
        self.cut_open: dict[int, Records] = {}
        self.to_evict: list[Records] = []
        self.dropped: list[int] = []

    def run(self, records: Iterable[Records]) -> ChunkResult:
        result = ChunkResult()
        for part in records:
            outputs = result.outputs.setdefault(part.partition, Outputs(part.partition))
            for record in part:
                key, value = record.key or b"", record.value or b""
                outputs.append(key, value, record.offset, record.timestamp)
                self.live[part.partition, key] = record.offset, value
                self.changed.add((part.partition, key))
                result.ends[part.partition] = record.offset + 1
        return result

    def cut(self, partitions: Collection[int]) -> dict[int, int]:
        covered = sorted(at for at in self.changed if at[0] in partitions)
        self.changed.difference_update(covered)
        self.cut_open = {}
        for partition, key in covered:
            source_offset, value = self.live[partition, key]
            self.cut_open.setdefault(partition, Records(partition)).append(key, value, source_offset, 0)
        return {partition: len(records) for partition, records in self.cut_open.items()}

    def take_packed(self, partition: int, streams: int) -> Records | None:
        return self.cut_open.pop(partition, None)

    def rewrite(self, partition: int) -> None:
        self.changed.update(at for at in self.live if at[0] == partition)

    def holds(self, partition: int, table_key: bytes) -> bool:
        return (partition, table_key) in self.live

    def may_conclude(self, partition: int, key: bytes, offset: int) -> bool:
        return False

    def evict(self, partition: int, before: int, now_ms: int) -> Iterator[Evicted]:
        for tombstones in self.to_evict:
            for record in tombstones:
                self.live.pop((partition, record.key or b""), None)
            yield Evicted({}, tombstones, Counts())

    def drop(self, partitions: Collection[int]) -> None:
        self.dropped += partitions

    def active(self, partition: int | None = None) -> int:
        return 0

    def warm_up(self) -> None: ...


class FakeWorker:
    """One pipeline with its committer, on a broker in memory; a failed write is in ``failures``."""

    def __init__(
        self,
        broker: FakeBroker,
        engine: Any | None = None,
        partitions: Sequence[int] = (0,),
        output_headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        self.failures: list[BaseException] = []
        self.broker = broker
        self.engine: Any = engine or FakeEngine()
        self.states = PartitionedStore()
        self.metrics = Metrics()
        self.writer = OutputWriter(broker.producer_of, self.metrics.acked, self.failures.append)
        topics = Route(shipped("signal"), SOURCE, OUTPUT, CHANGELOG, DEAD)
        past = PastPositions(300.0)
        parts = self.engine, self.states, self.writer, self.metrics
        self.pipeline = Pipeline(topics, "table", *parts, APP, past, list(output_headers))
        self.committer = Committer([self.pipeline], self.writer, broker, self.metrics, broker.read_keys)
        self.start(dict.fromkeys(partitions, 0))

    def start(self, positions: dict[int, int], states: Mapping[int, Mapping[bytes, tuple[int, bytes]]] = {}) -> None:
        """A new assignment, whose states have been recovered, and what its owner before has published."""
        for partition, rows in states.items():
            self.states.fill(partition, {key: (value, source_offset) for key, (source_offset, value) in rows.items()})
        self.committer.topic_ids = {SOURCE: "topic-id", CHANGELOG: "changelog-id"}
        self.committer.start()
        self.committer.committed = {TopicPartition(SOURCE, at): offset for at, offset in positions.items()}
        self.committer._take_over_ends()
        self.pipeline.drop()
        self.pipeline.start(GENERATION, positions, {partition: self._found(partition) for partition in positions})

    def _found(self, partition: int) -> PublishedSince:
        """What the broker's log holds of outputs since the last commit."""
        committed = self.broker.committed.get(TopicPartition(SOURCE, partition))
        outputs, letters = self.broker.written(OUTPUT, partition), self.broker.written(DEAD, partition)
        now = LogEnds(len(outputs), len(letters))
        since = stored_ends(committed.metadata) if committed else LogEnds(0, 0)
        assert since is not None
        published = Published((SOURCE, partition), APP.encode())
        published.add_outputs(_records(partition, outputs[since.outputs :]))
        published.add_letters(_records(partition, letters[since.dead_letters :]))
        return PublishedSince(published, since, now)

    def run(self, *records: FakeRecord, generation: int = GENERATION, start: int | None = None) -> None:
        """Apply records as one chunk, with no record missing before them, or before ``start``."""
        parts, following = by_partition(records), self.pipeline.next_offset
        starts = {number: min(part.first_offset, following.get(number, 0)) for number, part in parts.items()}
        if start is not None:
            starts = dict.fromkeys(parts, start)
        self.pipeline.run(Chunk(SOURCE, generation, 0, parts, starts))

    def evict(self, *tombstones: Records, partition: int = 0, before: int = 1) -> None:
        """Evict a partition's idle streams: a fake engine's are those of the tombstones."""
        if tombstones:
            self.engine.to_evict = list(tombstones)
        for _ in self.pipeline.evict(partition, before, 0):
            pass


def _records(partition: int, written: Sequence[Written]) -> Records:
    records = Records(partition)
    for at, one in enumerate(written):
        records.add(FakeRecord(partition, at, 0, one.key, one.value, tuple(one.headers)))
    return records


def record(offset: int, value: bytes = b"value", key: bytes = b"key", partition: int = 0) -> FakeRecord:
    return FakeRecord(partition, offset, 1_000 + offset, key, value)


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)
