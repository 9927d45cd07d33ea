"""Commits: the points at which outputs, states and offsets agree.

A commit runs in three steps: (1) wait until the broker has acknowledged every output; (2) write the changed streams'
states, each with the source offset that it includes, to the changelogs and wait; (3) commit the offsets. A worker may
die anywhere in between: docs/architecture.md has the table of what its successor sees.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from core.chunk import Change
from stream_app.metrics import Metrics
from stream_app.outputs import Outgoing, OutputWriter
from stream_app.pipeline import Cut, Pipeline
from stream_app.transport import Consumer

log = logging.getLogger(__name__)

# The group has moved on without us: partitions may have another owner already.
MEMBERSHIP_LOST = (
    CommitFailedError,
    IllegalGenerationError,
    UnknownMemberIdError,
    RebalanceInProgressError,
    IllegalStateError,
)
# Above this many changed streams a commit is worth waiting longer for: settings.max_commit_interval.
MANY_CHANGES = 20_000


class Committer:
    """Commits the pipelines' progress.

    Args:
        pipelines: one per source topic.
        writer: publishes the state records.
        consumer: the consumer whose group's offsets are committed; called, as Faust makes it late.
        metrics: where commits are counted.
    """

    def __init__(
        self, pipelines: Sequence[Pipeline], writer: OutputWriter, consumer: Callable[[], Consumer], metrics: Metrics
    ) -> None:
        self.pipelines = pipelines
        self.writer = writer
        self.consumer = consumer
        self.metrics = metrics
        self.committed: dict[TopicPartition, int] = {}
        """What the group has committed, of the partitions at hand."""
        self.topic_ids: dict[str, str] = {}
        """Source topic -> its id, kept with every commit: a topic made anew has another one."""
        self.last_changes = 0
        self._next_base: dict[tuple[str, int], int] = {}
        self._lost = False
        self._lock = asyncio.Lock()

    def start(self, committed: dict[TopicPartition, int]) -> None:
        """A new assignment begins at these offsets, which are committed."""
        self.committed = dict(committed)
        self._next_base.clear()
        self._lost = False

    def stop(self) -> None:
        """The assignment is over: nothing of it is committed any more."""
        self._lost = True
        self.committed = {}

    async def commit(self) -> bool:
        """Run one commit; False when membership is lost, and then nothing more is written until the next `start`."""
        async with self._lock:
            if self._lost:
                return False
            with self.metrics.stage("commit"):
                try:
                    await self._commit()
                except MEMBERSHIP_LOST as error:
                    # The states taken for this commit are gone from the engines' lists of changes. So no later commit
                    # of this assignment may run: it would commit offsets past states that were never written.
                    log.warning("commit refused, this worker has lost its partitions: %s", error)
                    self._lost = True
                    for pipeline in self.pipelines:
                        pipeline.suspend()
                    return False
            return True

    async def _commit(self) -> None:
        cuts = [pipeline.cut() for pipeline in self.pipelines]  # no await in between: one cut through both
        offsets = self._advanced(cuts)
        self.last_changes = sum(len(cut.changes) for cut in cuts)
        if not offsets and not self.last_changes:
            return
        await asyncio.gather(*{ack for cut in cuts for ack in cut.acks})  # (1)
        if self.last_changes:
            await self._confirm_membership()
            for pipeline, cut in zip(self.pipelines, cuts, strict=True):
                await self._write_states(pipeline, cut.changes)  # (2)
        if offsets:
            await self.commit_offsets(offsets)  # (3)
            self.metrics.committed()

    def _advanced(self, cuts: Sequence[Cut]) -> dict[TopicPartition, int]:
        reached = {
            TopicPartition(pipeline.topics.source, partition): offset
            for pipeline, cut in zip(self.pipelines, cuts, strict=True)
            for partition, offset in cut.offsets.items()
        }
        return {partition: offset for partition, offset in reached.items() if offset != self.committed.get(partition)}

    async def commit_offsets(self, offsets: dict[TopicPartition, int]) -> None:
        """Commit offsets, with the source topic's id as metadata."""
        await self.consumer().commit_offsets(
            {
                partition: OffsetAndMetadata(offset, self._metadata(partition.topic))
                for partition, offset in offsets.items()
            }
        )
        self.committed.update(offsets)

    def _metadata(self, topic: str) -> str:
        return json.dumps({"topic_id": self.topic_ids.get(topic, "")})

    async def _confirm_membership(self) -> None:
        """Commit the committed offsets again: refused when this worker is not a member any more.

        A worker that was stopped for longer than its session must not write its old states over those of the new owner.
        """
        if self.committed:
            await self.commit_offsets(dict(self.committed))

    async def _write_states(self, pipeline: Pipeline, changes: Sequence[Change]) -> None:
        by_partition: dict[int, list[Change]] = defaultdict(list)
        for change in changes:
            by_partition[change.partition].append(change)
        await asyncio.gather(
            *(self._write_partition(pipeline, partition, part) for partition, part in by_partition.items())
        )

    async def _write_partition(self, pipeline: Pipeline, partition: int, changes: Sequence[Change]) -> None:
        topic = pipeline.topics.changelog
        source = (pipeline.topics.source, partition)
        batches = self.writer.publish_groups(source, topic, partition, map(_state_records, changes))
        bases = await asyncio.gather(*(batch.acked for batch in batches))
        for change in changes:
            for key, value in change.records:
                pipeline.states.put(partition, key, value, change.source_offset)
        for base, batch in zip(bases, batches, strict=True):
            self._check_sequence(pipeline, partition, base)
            self._next_base[topic, partition] = base + batch.records

    def _check_sequence(self, pipeline: Pipeline, partition: int, base: int) -> None:
        """Our batches follow on each other in a changelog partition, unless somebody else has written there."""
        expected = self._next_base.get((pipeline.topics.changelog, partition))
        if expected is not None and base != expected:
            log.warning(
                "%s[%d]: records %d to %d are another writer's; all states of the partition are written again",
                pipeline.topics.changelog,
                partition,
                expected,
                base - 1,
            )
            pipeline.write_again(partition)


def _state_records(change: Change) -> list[Outgoing]:
    header: list[tuple[str, bytes]] = [("source-offset", b"%d" % change.source_offset)]
    return [Outgoing(key, value, header) for key, value in change.records]


class CommitLoop:
    """Commits every ``interval`` seconds, up to ``max_interval`` where very many streams have changed.

    Args:
        committer: what runs.
        after_commit: called after each, for what needs a fresh commit: eviction, checks.
    """

    def __init__(
        self, committer: Committer, interval: float, max_interval: float, after_commit: Callable[[], Any]
    ) -> None:
        self.committer = committer
        self.interval = interval
        self.max_interval = max_interval
        self.after_commit = after_commit

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._pause())
            started = time.monotonic()
            if await self.committer.commit():
                await self.after_commit()
            self._took = time.monotonic() - started

    _took = 0.0

    def _pause(self) -> float:
        if self.committer.last_changes > MANY_CHANGES:
            # Half of the time for processing, half for commits, at most.
            return min(max(self.interval, 2 * self._took), self.max_interval)
        return self.interval
