"""Do the work beside the flow: after each commit, jumps back and idle streams; now and then, the lag."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from stream_app.flow.commits import Committer
from stream_app.flow.metrics import Metrics
from stream_app.flow.outputs import OutputWriter
from stream_app.flow.pipeline import Pipeline
from stream_app.kafka.transport import Consumer
from stream_app.logs import SELDOM
from stream_app.worker.assignment import check_end

log = logging.getLogger(__name__)

EVICTION_S = 1.0  # at most so often


class LogEnd(NamedTuple):
    """The end of a partition's log, and when it was asked for, by a monotonic clock."""

    asked_s: float
    end: int


@dataclass
class Upkeep:
    """Does the work beside the flow: after commits, and now and then.

    Args:
        pipelines: one per source topic.
        committer: what is committed.
        writer: publishes outputs.
        metrics: where lag and live streams are shown.
        consumer: that of the application, which asks the broker.
    """

    pipelines: Sequence[Pipeline]
    committer: Committer
    writer: OutputWriter
    metrics: Metrics
    consumer: Callable[[], Consumer]
    lag: dict[TopicPartition, int] = field(default_factory=dict, init=False)
    """Records not yet committed, as the broker counted them when it last answered."""
    _next_eviction: float = field(default=0.0, init=False)
    _looks: dict[TopicPartition, LogEnd] = field(default_factory=dict, init=False)

    async def after_commit(self) -> None:
        """Do the work that needs a fresh commit."""
        try:
            for pipeline in self.pipelines:
                await self._look_back(pipeline)
            if time.monotonic() >= self._next_eviction:
                self._next_eviction = time.monotonic() + EVICTION_S
                await self._look_at_ends()
                await self._evict_idle()
        except KafkaError as error:
            log.warning("the broker did not answer: %r; asked again later", error, extra=SELDOM)

    async def _look_back(self, pipeline: Pipeline) -> None:
        """Records that came again: a recovery's seek does no harm, a topic that was created again does."""
        for partition, expected in list(pipeline.went_back.items()):
            at = TopicPartition(pipeline.topics.source, partition)
            check_end(at, (await self.consumer().end_offsets([at]))[at], expected)
            pipeline.went_back.pop(partition, None)

    async def _look_at_ends(self) -> None:
        """Take note of where the logs end, and have the offsets behind the last records count as applied."""
        asked_s = time.monotonic()  # before asking: what is appended later is later than this
        owned = {
            TopicPartition(pipeline.topics.source, partition): pipeline
            for pipeline in self.pipelines
            for partition in pipeline.next_offset
        }
        ends = await self.consumer().log_ends(list(owned)) if owned else {}
        self._looks = {at: look for at, look in self._looks.items() if at in owned}
        for at, end in ends.items():
            self._looks.setdefault(at, LogEnd(asked_s, end))
            owned[at].pass_over(at.partition, *self.consumer().behind(at))

    async def _evict_idle(self) -> None:
        """Evict the streams that had been idle for long enough when a partition was looked at, once all its records
        until then have been applied. Under load that is a moment later, in a backlog much later.
        """
        for pipeline in self.pipelines:
            for partition, applied in list(pipeline.next_offset.items()):
                at = TopicPartition(pipeline.topics.source, partition)
                pipeline.past.note(partition, applied, time.monotonic())
                if at in self._looks and applied >= self._looks[at].end and at in self.committer.committed:
                    asked_s = self._looks.pop(at).asked_s
                    before = min(pipeline.past.idle_before(partition, asked_s), self.committer.committed[at])
                    for _ in pipeline.evict(partition, before, time.time_ns() // 1_000_000):
                        await asyncio.sleep(0)

    async def observe(self) -> None:
        """Measure the lag. It is the broker's truth: a consumer that has stopped fetching would find none in its own
        memory. Apart from the commits, so that one that hangs or is refused for good does not hide it. A lag that
        cannot be measured is not shown: the last one would say that all is well for as long as the broker is away.

        Raises:
            StartupError: a topic ends below what was committed.
        """
        for pipeline in self.pipelines:
            pipeline.shown.show_active(pipeline.table, pipeline.engine.active())
        committed, quiet = dict(self.committer.committed), self.writer.quiet()
        partitions = {*committed, *(TopicPartition(lane.topic, lane.partition) for lane in quiet)}
        try:
            ends = await self.consumer().end_offsets(list(partitions)) if partitions else {}
        except KafkaError as error:
            self.metrics.lag.clear()
            log.warning("the broker did not answer: %r; asked again later", error, extra=SELDOM)
            return
        except asyncio.CancelledError:  # whoever asked has waited for long enough
            self.metrics.lag.clear()
            raise
        self.writer.reached(quiet, ends)
        for at, offset in committed.items():
            check_end(at, ends[at], offset)
        self.lag = {at: ends[at] - offset for at, offset in committed.items()}
        self.metrics.lag.clear()
        for at, records in self.lag.items():
            self.metrics.lag.labels(self.metrics.tasks[at.topic], at.topic, str(at.partition)).set(records)
