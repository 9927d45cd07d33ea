"""Commits: the points at which outputs, states and offsets agree.

A commit runs in three steps: (1) wait until the broker has acknowledged every output; (2) write the changed streams'
states, each with the source offset that it includes, to the changelogs and wait; (3) commit the offsets. A worker may
die anywhere in between: docs/architecture.md has the table of what its successor sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    ProducerFenced,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from stream_app.flow.guarantees import Guarantee
from stream_app.flow.metrics import Metrics
from stream_app.flow.outputs import Batch, OutputWriter, all_acked
from stream_app.flow.pipeline import Cut, Pipeline
from stream_app.flow.published import LogEnds
from stream_app.routes import Partition

log = logging.getLogger(__name__)

# The group has moved on without us: partitions may have another owner already.
MEMBERSHIP_LOST = (
    CommitFailedError,
    IllegalGenerationError,
    UnknownMemberIdError,
    RebalanceInProgressError,
    IllegalStateError,
    ProducerFenced,
)
ReadKeys = Callable[[TopicPartition, int, int], Awaitable[set[bytes]]]
# States are packed and handed over this many at a time, and one such batch waits for the broker while the next one is
# packed: outputs go out in between. A small commit goes in steps of some 50 kB, so that no output has to wait for long.
FEWEST_AT_ONCE, MOST_AT_ONCE = 50, 500
STEPS = 20
BATCHES_IN_FLIGHT = 2
# Records that other applications may add to an output topic before a commit says, just for that, where it ends now: the
# next owner reads them.
FAR_BEHIND = 50_000
# Above this many changed streams a commit is worth waiting longer for: settings.max_commit_interval.
MANY_CHANGES = 20_000


class Committer:
    """Commits the pipelines' progress.

    Args:
        pipelines: one per source topic.
        writer: publishes the state records.
        guarantee: who produces, and how offsets become final.
        metrics: where commits are counted.
        read_keys: the keys that stand in a changelog partition from one offset up to another.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        writer: OutputWriter,
        guarantee: Guarantee,
        metrics: Metrics,
        read_keys: ReadKeys,
    ) -> None:
        self.pipelines = pipelines
        self.writer = writer
        self.guarantee = guarantee
        self.metrics = metrics
        self.read_keys = read_keys
        self.committed: dict[TopicPartition, int] = {}
        """The committed offsets of the partitions at hand."""
        self._handed_over: dict[TopicPartition, int] = {}
        """The committed offsets of the assignment before."""
        self.topic_ids: dict[str, str] = {}
        """Topic -> its id. Those of source and changelog are kept with every commit: a new one has another id."""
        self.last_changes = 0
        self._ends: dict[TopicPartition, LogEnds] = {}
        """The ends in the log of the outputs that ``committed`` covers, as far as they are known."""
        self._next_base: dict[Partition, int] = {}
        self._refuses = False
        self._assignment = 0
        self._lock = asyncio.Lock()
        self._may_process = asyncio.Event()
        self._may_process.set()

    def start(self, kept: Collection[TopicPartition] = ()) -> None:
        """Begin a new assignment, in which the source partitions ``kept`` continue as they were."""
        changelogs = {pipeline.topics.source: pipeline.topics.changelog for pipeline in self.pipelines}
        written = {(changelogs[at.topic], at.partition) for at in kept}
        self.committed = {at: offset for at, offset in self._handed_over.items() if at in kept}
        self._ends = {at: ends for at, ends in self._ends.items() if at in kept}
        self._next_base = {at: base for at, base in self._next_base.items() if at in written}
        self._refuses = False

    async def take_up(self, offsets: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, LogEnds]) -> None:
        """Begin with source partitions whose tables are restored: commit where they start.

        Before any state is written: states without a committed offset would be of no use to a successor. And before any
        output is: the successor must know from where to look for it.
        """
        self._take_over_ends()
        if offsets:
            await self.commit_offsets(offsets, ends)

    def _take_over_ends(self) -> None:
        """The next batch of a changelog that was just read stands where recovery has ended."""
        for pipeline in self.pipelines:
            for partition, end in pipeline.states.ends.items():
                self._next_base.setdefault((pipeline.topics.changelog, partition), end)

    def refuse(self) -> None:
        """Begin no commit until the next `start`. A running commit continues, because its cut is older."""
        self._refuses = True

    def stop(self) -> None:
        """End the assignment: none of its offsets is committed any more, not even by a running commit."""
        self.refuse()
        self._assignment += 1
        self._handed_over, self.committed = self.committed, {}

    @property
    def refuses(self) -> bool:
        """True if no commit begins until the next `start`: membership is lost, one has failed, or the last one ran."""
        return self._refuses

    @property
    def is_behind(self) -> bool:
        """True if records have been applied that are not committed."""
        return any(
            offset != self.committed.get(TopicPartition(pipeline.topics.source, partition))
            for pipeline in self.pipelines
            for partition, offset in pipeline.next_offset.items()
        )

    @property
    def may_process(self) -> bool:
        """True if `turn` would not wait."""
        return self._may_process.is_set()

    async def turn(self) -> None:
        """Wait until a chunk may be applied: under exactly_once, not while a commit runs."""
        while not self._may_process.is_set():
            await self._may_process.wait()

    async def commit(self, last: bool = False) -> bool:
        """Run one commit; False where none may begin or membership is lost: nothing more is written until `start`.

        Args:
            last: of an assignment. Who has waited for this one to end does not begin another, which would end in the
                next assignment.
        """
        async with self._lock:
            if self._refuses:
                return False
            if self.guarantee.exclusive:
                self._may_process.clear()
            assignment = self._assignment
            try:
                await self._commit()
            except MEMBERSHIP_LOST as error:
                log.warning("commit refused, this worker has lost its partitions: %s", error)
                self._fail(assignment)
                return False
            except BaseException:
                self._fail(assignment)  # the same for any other end, a cancellation too
                raise
            finally:
                self._may_process.set()
            self._refuses = self._refuses or last
            return True

    def _fail(self, assignment: int) -> None:
        """Refuse every later commit of the assignment: this one took changes from the engines and has not written them,
        so a later one would commit offsets past states that were never written.
        """
        if assignment == self._assignment:
            self._refuses = True
            for pipeline in self.pipelines:
                pipeline.suspend()

    async def _commit(self) -> None:
        assignment = self._assignment
        cuts = [pipeline.cut() for pipeline in self.pipelines]  # no await in between: one cut through both
        offsets = self._to_commit(cuts)
        self.last_changes = sum(sum(cut.changed.values()) for cut in cuts)
        if offsets:
            with self.metrics.stage("commit"):  # not of the many that have nothing to commit
                await self._carry_out(assignment, cuts, offsets)

    async def _carry_out(self, assignment: int, cuts: Sequence[Cut], offsets: Mapping[TopicPartition, int]) -> None:
        await all_acked({ack for cut in cuts for ack in cut.acks})  # (1)
        if any(cut.changed or cut.extra for cut in cuts):
            await self.guarantee.confirm(self._with_metadata(self.committed, self._ends))
            await self._write_states(cuts)  # (2)
        if assignment != self._assignment:
            # A worker that has failed lets go without waiting for this commit. What was not packed yet is gone from the
            # engines by now, so the offsets would be past states that were never written.
            raise IllegalStateError("the assignment ended before all states were written")
        await self.commit_offsets(offsets, self._ends_of(cuts))  # (3)
        for pipeline, cut in zip(self.pipelines, cuts, strict=True):
            pipeline.committed(cut)
        self.metrics.committed()

    def _to_commit(self, cuts: Sequence[Cut]) -> dict[TopicPartition, int]:
        """Offsets of the partitions that have moved on, or whose states have changed without (evictions)."""
        offsets = {}
        for pipeline, cut in zip(self.pipelines, cuts, strict=True):
            for partition, offset in cut.offsets.items():
                at = TopicPartition(pipeline.topics.source, partition)
                changed = partition in cut.extra or partition in cut.changed or offset != self.committed.get(at)
                if changed or self._is_far_behind(at, cut.ends[partition]):
                    offsets[at] = offset
        return offsets

    def _is_far_behind(self, at: TopicPartition, ends: LogEnds) -> bool:
        known = self._ends.get(at)
        return known is not None and any(now - then > FAR_BEHIND for then, now in zip(known, ends, strict=True))

    def _ends_of(self, cuts: Sequence[Cut]) -> dict[TopicPartition, LogEnds]:
        return {
            TopicPartition(pipeline.topics.source, partition): ends
            for pipeline, cut in zip(self.pipelines, cuts, strict=True)
            for partition, ends in cut.ends.items()
        }

    async def commit_offsets(
        self, offsets: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, LogEnds]
    ) -> None:
        """Make offsets final. Their metadata: the ids of source topic and changelog, and where the outputs end."""
        assignment = self._assignment
        await self.guarantee.commit(self._with_metadata(offsets, ends))
        if assignment != self._assignment:
            raise IllegalStateError("the assignment ended while its offsets were committed")
        self.committed.update(offsets)
        self._ends.update({at: ends[at] for at in offsets if at in ends})

    def _with_metadata(
        self, offsets: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, LogEnds]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        changelogs = {pipeline.topics.source: pipeline.topics.changelog for pipeline in self.pipelines}
        found = {}
        for at, offset in offsets.items():
            content: dict[str, Any] = {
                "topic_id": self.topic_ids.get(at.topic, ""),
                "changelog_id": self.topic_ids.get(changelogs[at.topic], ""),
            }
            if at in ends and min(ends[at]) >= 0:
                content |= ends[at]._asdict()
            found[at] = OffsetAndMetadata(offset, json.dumps(content))
        return found

    async def _write_states(self, cuts: Sequence[Cut]) -> None:
        """Write the states of all partitions, small ones together: they leave in one request."""
        writing = _Writing()
        written: list[tuple[Pipeline, int, list[Batch]]] = []
        for pipeline, cut in zip(self.pipelines, cuts, strict=True):
            for partition in sorted(cut.offsets):
                written.append((pipeline, partition, await self._publish_states(pipeline, cut, partition, writing)))
        await all_acked([batch.acked for _, _, batches in written for batch in batches])
        for pipeline, partition, batches in written:
            for batch in batches:
                base = batch.acked.result()
                await self._check_sequence(pipeline, partition, base)
                self._next_base[pipeline.topics.changelog, partition] = base + batch.records

    async def _publish_states(self, pipeline: Pipeline, cut: Cut, partition: int, writing: _Writing) -> list[Batch]:
        source, topic = (pipeline.topics.source, partition), pipeline.topics.changelog
        batches: list[Batch] = []
        at_once = min(max(FEWEST_AT_ONCE, sum(cut.changed.values()) // STEPS), MOST_AT_ONCE)
        while (records := pipeline.take_states(cut, partition, at_once)) is not None:
            if len(records):
                batches += (written := self.writer.publish_states(source, topic, records))
                await writing.wait(written)
        return batches

    async def _check_sequence(self, pipeline: Pipeline, partition: int, base: int) -> None:
        """Check that our batches follow on each other, and the first on what recovery read; otherwise somebody else has
        written.
        """
        topic, source = pipeline.topics.changelog, TopicPartition(pipeline.topics.source, partition)
        expected = self._next_base.get((topic, partition))
        if expected is None or base == expected or self.guarantee.changelog_gaps:
            return
        log.warning(
            "%s[%d]: records %d to %d are another writer's; all states of the partition are written again",
            topic,
            partition,
            expected,
            base - 1,
        )
        foreign = await self.read_keys(TopicPartition(topic, partition), expected, base)
        pipeline.write_again(partition, foreign, self.committed[source] - 1)


class _Writing:
    """The states of a commit that are on their way to the broker."""

    def __init__(self) -> None:
        self._waiting: deque[Batch] = deque()
        self._records = 0
        """Records in the waiting batches."""
        self._packed = 0
        """Records since the event loop last had a turn for others."""

    async def wait(self, written: Sequence[Batch]) -> None:
        """Let outputs go out in between, and wait for the broker while many states are on their way to it."""
        self._waiting += written
        added = sum(batch.records for batch in written)
        self._records += added
        self._packed += added
        while len(self._waiting) >= BATCHES_IN_FLIGHT and self._records > BATCHES_IN_FLIGHT * FEWEST_AT_ONCE:
            oldest = self._waiting.popleft()
            self._records -= oldest.records
            await all_acked([oldest.acked])
        if self._packed >= FEWEST_AT_ONCE:
            self._packed = 0
            await asyncio.sleep(0)


@dataclass
class CommitLoop:
    """Commits every ``interval`` seconds, up to ``max_interval`` where very many streams have changed.

    Args:
        committer: what runs.
        after_commit: called after each, for what needs a fresh commit: eviction, checks.
    """

    committer: Committer
    interval: float
    max_interval: float
    after_commit: Callable[[], Any]
    _took: float = field(default=0.0, init=False)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def stop(self) -> None:
        """End `run` after the commit that runs: one that is cut off could not be followed by another."""
        self._stopping.set()

    async def run(self) -> None:
        """Commit again and again until `stop`."""
        while not self._stopping.is_set():
            started = time.monotonic()
            if await self.committer.commit():
                await self.after_commit()
            self._took = time.monotonic() - started
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):  # `wait_for` would make a task
                    await self._stopping.wait()

    def _pause(self) -> float:
        if self.committer.last_changes > MANY_CHANGES:
            # Half of the time for processing, half for commits, at most.
            return min(max(self.interval, 2 * self._took), self.max_interval)
        return self.interval
