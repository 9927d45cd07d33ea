"""The pipeline of one source topic: chunk in, outputs and dead letters out, states ready for the next commit.

Everything here is synchronous. A chunk is applied in one step of the event loop, so that a commit's cut, which is
another such step, never falls inside a chunk.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from core.engines.base import Engine
from core.engines.results import ChunkResult, DeadLetter, Evicted
from core.errors import RunError
from core.native.records import Outputs, Records
from stream_app.flow.deferred import DeferredOutputs
from stream_app.flow.hints import Hints
from stream_app.flow.idleness import PastPositions
from stream_app.flow.letter_record import letter_record
from stream_app.flow.metrics import Metrics
from stream_app.flow.outputs import OutputWriter, header_bytes
from stream_app.flow.published import LogEnds, Published, PublishedSince
from stream_app.flow.tables import PartitionedStore
from stream_app.flow.task_metrics import TaskMetrics
from stream_app.headers import APP_ID
from stream_app.kafka.chunks import Chunk
from stream_app.routes import Route

log = logging.getLogger(__name__)

NO_GENERATION = -2  # -1 is what aiokafka has without a group
CREATE_TIME = 0  # Kafka's timestamp_type of a record; 1 is LogAppendTime


@dataclass(frozen=True)
class Cut:
    """The extent of one commit, fixed in one step: the states, the acks to wait for, the offsets to commit.

    The states stay in the engine: `Pipeline.take_states` gives them, as they were at the cut, bit by bit.
    """

    changed: dict[int, int]
    """Partition -> streams whose states are to be written."""
    extra: dict[int, Records]
    """Table records that no stream in memory stands for, by partition."""
    acks: list[asyncio.Future[Any]]
    offsets: dict[int, int]
    """Offset of the next record to apply, by partition: the partitions that this worker has."""
    ends: dict[int, LogEnds]
    """Partition -> where the outputs that are covered end in the log."""
    settled: list[int]
    """Partitions whose former owner's outputs are settled by this commit: none of them can come again."""


class Missing(NamedTuple):
    """Records that were not handed over: a partition's from ``expected`` up to ``start``."""

    partition: int
    expected: int
    start: int


@dataclass
class Pipeline:
    """The way of one source topic from chunks to outputs and states; all of it runs on the event loop."""

    topics: Route
    table: str
    engine: Engine[Any]
    states: PartitionedStore
    writer: OutputWriter
    metrics: Metrics
    app_id: str
    past: PastPositions
    output_headers: list[tuple[str, bytes]] = field(default_factory=list)
    """Headers of every output, beside ``source-offset`` and ``app-id``."""
    state_bytes: int = 0
    """The most that must fit into one batch of the changelog."""
    generation: int = NO_GENERATION
    next_offset: dict[int, int] = field(default_factory=dict)
    """Partition -> offset of the next record to apply; the partitions at hand."""
    went_back: dict[int, int] = field(default_factory=dict)
    """Partition -> the offset that was expected when records before it came, to be looked into after the next
    commit.
    """
    _extra: dict[int, Records] = field(default_factory=dict)
    """Changelog records of the next commit that no live stream stands for: tombstones, and rows to be written again."""
    _published: dict[int, Published] = field(default_factory=dict)
    """Outputs that a former owner has published of records that may run again, by partition."""
    _ends: dict[int, LogEnds] = field(default_factory=dict)
    """The ends in the log of the outputs of the last commit, by partition."""

    def __post_init__(self) -> None:
        self._app_header = (APP_ID, self.app_id.encode())
        self._raw_headers = header_bytes([self._app_header, *self.output_headers])
        self.shown = TaskMetrics(self.metrics, self.topics)
        self._hints = Hints(self.topics.source)
        self.scores = DeferredOutputs(self.publish_outputs, self.writer, self.shown, self._count_outputs)
        """Outputs for which a model is running."""

    # In the life of an assignment.

    def start(self, generation: int, positions: Mapping[int, int], found: Mapping[int, PublishedSince] = {}) -> None:
        """Take up partitions whose tables have been restored, beside those that were kept, if any.

        Args:
            generation: the consumer group's.
            positions: partition -> offset of the first record to read.
            found: partition -> the outputs published already, where they were looked for.
        """
        self.generation = generation
        for partition, position in positions.items():
            self.next_offset[partition] = position
            if (overtaken := self.states.overtaken.pop(partition, None)) is not None:
                self._extra[partition] = overtaken
            if (one := found.get(partition)) is not None:
                self._look_out_for(partition, one)

    def _look_out_for(self, partition: int, found: PublishedSince) -> None:
        self._published[partition] = found.published
        self._ends[partition] = found.since
        source = (self.topics.source, partition)
        self.writer.open(source, self.topics.output, partition, found.now.outputs)
        self.writer.open(source, self.topics.dead_letters, partition, found.now.dead_letters)

    def suspend(self) -> None:
        """Apply no chunk until the next `start`; applied chunks can still be committed."""
        self.generation = NO_GENERATION

    def drop(self, kept: Collection[int] = ()) -> None:
        """Forget all live state, but of ``kept`` partitions: what counts now is the changelog and the committed
        offsets.
        """
        self.suspend()
        self.scores.drop()
        gone = [partition for partition in self.next_offset if partition not in kept]
        self.engine.drop(gone)
        for partition in gone:
            self.past.drop(partition)
            for of_partition in (self.next_offset, self._extra, self._published, self._ends):
                of_partition.pop(partition, None)
        self.went_back.clear()

    # Records.

    def run(self, chunk: Chunk) -> None:
        """Apply a chunk: every stream in it advances, outputs are on their way."""
        if chunk.generation != self.generation:
            return  # of an assignment that is gone, or the worker is stopping; nothing of it has been committed
        started_s = time.perf_counter()
        for gap in self.missing_before(chunk):
            raise RunError(
                f"{self.topics.source}[{gap.partition}]: records {gap.expected} to {gap.start - 1} were never handed "
                "over; this worker ends, so that the next one reads them"
            )
        fresh = [self._not_yet_applied(partition, records) for partition, records in chunk.records.items()]
        result = self.engine.run(fresh)
        if result.opened:
            self.writer.opened()
        self._publish(result.outputs, result.dead_letters, _arrivals(chunk))
        if result.deferred is not None:
            self.scores.add(result.deferred, _arrivals(chunk))
        self.shown.observe_stages(result, time.perf_counter() - started_s)
        self.next_offset.update(result.ends)
        self.shown.count(result)
        self._tell(result)

    def _tell(self, result: ChunkResult) -> None:
        """Log the lines that are written once for a stream or topic."""
        self._log(result.notes)
        self._hints.tell(result)
        for key, first, second in result.moved:
            log.warning(
                "%s: stream %r came in partition %d and now in %d; each has a state of its own",
                self.topics.source,
                _readable(key),
                first,
                second,
            )
        for key, partition, offset in result.repeating:
            log.warning(
                "%s[%d] offset %d: stream %r sends only steps that it has sent before, ten in a row by now; they are "
                "dropped as duplicates. If its counter started again, its samples need a timestamp_ms or another "
                "sequence",
                self.topics.source,
                partition,
                offset,
                _readable(key),
            )

    def _count_outputs(self, result: ChunkResult | Evicted) -> None:
        self.shown.count_outputs(result.counts)
        self._log(result.notes)

    def _log(self, notes: Iterable[str]) -> None:
        for note in notes:
            log.warning("%s: %s", self.topics.source, note)

    def missing_before(self, chunk: Chunk) -> list[Missing]:
        """Find records that are missing before a chunk: streams would show a gap that is not theirs."""
        if chunk.generation != self.generation:
            return []
        found = []
        for partition, start in chunk.starts.items():
            if (expected := self.next_offset.get(partition, start)) < start:
                found.append(Missing(partition, expected, start))
        return found

    def pass_over(self, partition: int, first: int, end: int) -> bool:
        """Mark ``[first, end)``, which holds no record, as applied if it directly follows the last applied offset;
        otherwise a transaction marker would look like lag. Returns True if it did.
        """
        follows = first <= self.next_offset.get(partition, end) < end
        if follows:
            self.next_offset[partition] = end
        return follows

    def _not_yet_applied(self, partition: int, records: Records) -> Records:
        """The seek after a recovery can deliver records again: what this worker has applied is cut off here."""
        expected = self.next_offset.get(partition)
        if expected is None:
            return Records(partition)
        if records.first_offset >= expected:
            return records
        self.went_back[partition] = expected
        return records.since(expected)

    def evict(self, partition: int, before: int, now_ms: int) -> Iterator[None]:
        """Free the streams whose last record lies before an offset, and is committed and older than the idle timeout,
        bit by bit: final scores go out now, tombstones with the next commit.

        Not while suspended: the last commit of the assignment may have taken its cut, and would make the scores final
        without the tombstones.
        """
        generation = self.generation
        steps = self.engine.evict(partition, before, now_ms)
        while generation != NO_GENERATION and generation == self.generation:
            evicted = next(steps, None)
            if evicted is None:
                return
            self._publish(evicted.outputs, [], {})
            if evicted.deferred is not None:
                self.scores.add(evicted.deferred, {})
            self._add_extra(evicted.tombstones)
            self._count_outputs(evicted)
            yield

    def publish_outputs(self, outputs: Mapping[int, Outputs], arrivals: Mapping[int, int]) -> None:
        """Queue outputs, by partition. ``arrivals``: since when their latency counts, where not since the append."""
        for partition, records in outputs.items():
            if partition in self._published:
                records = self._not_yet_published(partition, records)
            source = (self.topics.source, partition)
            self.writer.publish(source, self.topics.output, records, self._raw_headers, arrivals.get(partition))

    def _not_yet_published(self, partition: int, outputs: Outputs) -> Outputs:
        kept = self._published[partition].leave_out(outputs, self.output_headers)
        self.shown.left_out.inc(len(outputs) - len(kept))
        return kept

    def _publish(
        self,
        outputs: Mapping[int, Outputs],
        dead_letters: Sequence[DeadLetter],
        arrivals: Mapping[int, int],
    ) -> None:
        self.publish_outputs(outputs, arrivals)
        for letter in dead_letters:
            published = self._published.get(letter.partition)
            if published is not None and published.leaves_out_letter(letter.offset):
                self.shown.left_out.inc()
                continue
            source = (self.topics.source, letter.partition)
            to = self.topics.dead_letters
            record = letter_record(letter, self.topics.source, self._app_header, self.writer.limit(to))
            self.writer.publish_one(source, to, letter.partition, *record)

    # Commits.

    def write_again(self, partition: int, foreign: Collection[bytes], committed: int) -> None:
        """Let the next commit write every state of a partition again, after another writer's records.

        Args:
            partition: the one where they were found.
            foreign: their keys. One that has no state here was deleted: it is deleted again.
            committed: the last committed source offset, that of the deletions: whatever state the key gets later, also
                from records that are processed again, is newer.
        """
        self.engine.rewrite(partition)
        stored = dict(self.states.rows(partition))
        gone = [key for key in sorted(foreign) if key not in stored and not self.engine.holds(partition, key)]
        records = Records(partition)
        for key, (value, source_offset) in stored.items():
            records.append(key, value, source_offset, 0)
        for key in gone:
            records.append(key, None, max(committed, 0), 0)
        self._add_extra(records)

    def cut(self) -> Cut:
        """Fix states, acks and offsets as they stand now, in one step."""
        with self.shown.stage("pack"):
            extra, self._extra = self._extra, {}
            settled = [
                partition
                for partition, found in self._published.items()
                if found.is_settled(self.next_offset[partition], self.engine.may_conclude)
            ]
            changed = self.engine.cut(list(self.next_offset))
            acks: list[asyncio.Future[Any]] = [*self.writer.pending(), *self.scores.pending()]
            ends = {partition: self._covered(partition, settled) for partition in self.next_offset}
            return Cut(changed, extra, acks, dict(self.next_offset), ends, settled)

    def _covered(self, partition: int, settled: Collection[int]) -> LogEnds:
        """Return where the outputs of all that was applied until now end in the log, as far as acknowledged."""
        if partition in self._published and partition not in settled:
            return self._ends[partition]  # of what stands behind it, some is still to be left out
        source, topics = (self.topics.source, partition), self.topics
        now = LogEnds(*(self.writer.acked_end(source, to, partition) for to in (topics.output, topics.dead_letters)))
        return now if partition not in self._ends else LogEnds(*map(max, now, self._ends[partition]))

    def committed(self, cut: Cut) -> None:
        """The cut's offsets are final."""
        self._ends.update(cut.ends)
        for partition in cut.settled:
            self._published.pop(partition, None)

    def take_states(self, cut: Cut, partition: int, streams: int) -> Records | None:
        """The next table records of a cut, of about ``streams`` streams; None when all have been taken."""
        with self.shown.stage("pack"):
            return cut.extra.pop(partition, None) or self.engine.take_packed(partition, streams)

    def _add_extra(self, records: Records) -> None:
        if not len(records):
            return
        before = self._extra.setdefault(records.partition, records)
        if before is not records:
            before.extend(records)


def _readable(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")


def _arrivals(chunk: Chunk) -> dict[int, int]:
    """Partition -> arrival of its fetch in ms, where record timestamps are the producers' (CreateTime) and so say
    nothing about latency.
    """
    return {
        partition: chunk.fetched_ms
        for partition, records in chunk.records.items()
        if records.timestamp_type == CREATE_TIME
    }
