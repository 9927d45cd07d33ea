"""The Faust application: what happens when partitions come and go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.tables.recovery import RebalanceAgain
from faust.types import TP

from core.errors import CaststreamError, StartupError
from stream_app import sizes
from stream_app.clients.admin import Cluster
from stream_app.flow.commits import Committer
from stream_app.flow.guarantees import AtLeastOnce, ExactlyOnce, Guarantee
from stream_app.flow.metrics import Metrics
from stream_app.flow.outputs import OutputWriter
from stream_app.flow.pipeline import Pipeline
from stream_app.flow.published import Wanted, find_published
from stream_app.kafka.chunks import Chunk
from stream_app.kafka.inlet import Inlet
from stream_app.kafka.lease import Lease
from stream_app.kafka.transport import Consumer, Producer
from stream_app.logs import FAUST, SELDOM
from stream_app.settings import Settings
from stream_app.topics.checks import TopicsNow, check_topics, grown
from stream_app.worker import recovery
from stream_app.worker.assignment import RESET, BrokerView, Start, report_lost, starts_of, wanted_of
from stream_app.worker.upkeep import Upkeep

log = logging.getLogger(__name__)


# The group waits for a member to hand its partitions over for 60 s (`rebalance_timeout_ms`), then goes on without it.
HAND_OVER_S = 45.0
LOOK_AT_LEASE_S = 0.1
LET_GO_S = 5.0
STANDBY = "standby, no partitions: other workers have them all"
ASK_AGAIN_S = 0.5


class CaststreamApp(faust.App):
    """A Faust application whose offsets are committed together with outputs and states."""

    logger = FAUST

    def __init__(self, settings: Settings, **options: Any) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.lease = Lease(settings.session_timeout)
        self.guarantee = self._guarantee(settings)
        self.writer = OutputWriter(self.guarantee.producer_of, self.metrics.acked, self.fail)
        self.pipelines: list[Pipeline] = []
        self._inlets: dict[str, Inlet] = {}
        read_keys = partial(recovery.read_keys, settings)
        self.committer = Committer(self.pipelines, self.writer, self.guarantee, self.metrics, read_keys)
        self.upkeep = Upkeep(self.pipelines, self.committer, self.writer, self.metrics, self.chunk_consumer)
        self.failure: BaseException | None = None
        self.ready = False
        """Partitions are assigned and their tables recovered; `serves` says whether the group still answers."""
        self.was_ready = asyncio.Event()
        self.moved_on_s = time.monotonic()
        """Time at which an assignment last came, went, or made progress."""
        self._revoked = True
        self._handed_over: int | None = None
        """The generation of an assignment that is over and whose live state is still there, all of it committed."""
        self._failures: set[asyncio.Task[None]] = set()
        self.partition_counts: dict[str, int] = {}
        """Source topic -> its partitions at the last assignment."""
        self._confirming: asyncio.Task[None] | None = None
        self.writer.on_opened = self._confirm_partitions
        super().__init__(settings.app_id, **options)

    def _create_directories(self) -> None:
        """Faust would make folders for its tables; ours are in memory, and a worker writes to no disk."""

    def chunk_consumer(self) -> Consumer:
        """The consumer that our driver makes."""
        return cast(Consumer, self.consumer)

    def _guarantee(self, settings: Settings) -> Guarantee:
        def producer() -> Producer:
            return cast(Producer, self.producer)

        if settings.processing_guarantee == "exactly_once":
            return ExactlyOnce(producer, settings.app_id)
        return AtLeastOnce(producer, self.chunk_consumer)

    def fail(self, error: BaseException) -> None:
        """End the worker: the next one processes the uncommitted records again."""
        if self.failure is None:
            self.failure = error
            # Until the worker has ended, chunks and commits are still due. An engine that has failed stands between two
            # states: nothing more may be applied to it, and nothing of it committed.
            self.committer.refuse()
            for pipeline in self.pipelines:
                pipeline.suspend()
            task = asyncio.get_running_loop().create_task(self.crash(error))
            self._failures.add(task)

    async def crash(self, reason: BaseException) -> None:
        """Do as Faust does. Our own errors are reported once, in one line, by `stream_app.worker.process`."""
        if isinstance(reason, CaststreamError):
            self._crash(reason)
        else:
            await super().crash(reason)

    async def turn(self, pipeline: Pipeline, chunk: Chunk) -> None:
        """Wait until a chunk may be applied: the broker keeps up, no exclusive commit runs, and nothing is missing."""
        await self.writer.room()
        await self._explain_missing(pipeline, chunk)
        await self.committer.turn()

    def may_apply(self, pipeline: Pipeline, chunk: Chunk) -> bool:
        """True if a chunk may be applied now: neither `turn` nor the agent would wait."""
        free = self.writer.has_room and self.committer.may_process and pipeline.scores.has_room
        return free and not pipeline.missing_before(chunk)

    async def _explain_missing(self, pipeline: Pipeline, chunk: Chunk) -> None:
        """Retention may have taken records before they were read. `Pipeline.run` refuses what nothing explains."""
        for partition, expected, start in pipeline.missing_before(chunk):
            at = TopicPartition(pipeline.topics.source, partition)
            try:
                beginning = (await self.chunk_consumer().beginning_offsets([at]))[at]
            except KafkaError as error:
                log.warning("the broker did not answer: %r", error, extra=SELDOM)
                continue
            if beginning >= start and pipeline.pass_over(partition, expected, start):
                report_lost(pipeline, partition, expected, start)

    def _confirm_partitions(self) -> None:
        """A stream without state was met: is it new, or has it moved because partitions were added?"""
        if self._confirming is None or self._confirming.done():
            self._confirming = asyncio.get_running_loop().create_task(self._ask_for_partitions())

    async def _ask_for_partitions(self) -> None:
        while self.writer.confirmed < self.writer.openings and self.failure is None:
            asked = self.writer.openings
            try:
                found = await self.chunk_consumer().partition_counts(list(self.partition_counts))
            except KafkaError as error:
                log.warning("the broker did not answer: %r; asked again later", error)
                await asyncio.sleep(ASK_AGAIN_S)
                continue
            except Exception as error:  # else the outputs that wait for the answer would wait for ever
                self.fail(error)
                return
            for topic, count in self.partition_counts.items():
                if found.get(topic, count) != count:
                    self.fail(StartupError(grown(topic, count, found[topic])))
                    return
            self.writer.confirm(asked)

    @property
    def source_topics(self) -> set[str]:
        """Return the topics whose records are processed."""
        return {pipeline.topics.source for pipeline in self.pipelines}

    def full_topics(self) -> list[str]:
        """Return the sources whose records are not wanted now, because many of their windows wait for the model."""
        return [pipeline.topics.source for pipeline in self.pipelines if not pipeline.scores.has_room]

    def queue_of(self, topic: str) -> Any:
        """Return the queue of the agent that takes the chunks of a source."""
        conductor: Any = self.topics
        (channel,) = conductor._topic_name_index[topic]
        return channel.queue

    def open_inlet(self, pipeline: Pipeline) -> Inlet:
        """Make the way of a source's chunks into its agent."""

        def apply(chunk: Chunk) -> bool:
            may_apply = self.may_apply(pipeline, chunk)
            if may_apply:
                self.apply(pipeline, chunk)
            return may_apply

        inlet = self._inlets[pipeline.topics.source] = Inlet(apply)
        return inlet

    def has_place(self, topic: str) -> bool:
        """True if a chunk of a source can be handed on without waiting."""
        return self._inlets[topic].is_free or not self.queue_of(topic).full()

    def hand(self, chunks: Iterable[Chunk]) -> None:
        """Hand chunks on, whose sources have a place: each is applied at once, or by its agent."""
        self.writer.hold()
        try:
            for chunk in chunks:
                if not self._inlets[chunk.topic].take(chunk):
                    self.queue_of(chunk.topic).put_nowait(chunk)
        finally:
            self.writer.leave()

    def apply(self, pipeline: Pipeline, chunk: Chunk) -> None:
        """Run a chunk. A fault in our own code ends the worker: Faust would restart the agent and go on after the
        chunk.
        """
        try:
            pipeline.run(chunk)
        except Exception as error:
            spans = {partition: (found.first_offset, found.last_offset) for partition, found in chunk.records.items()}
            log.exception("%s: a chunk could not be applied, offsets by partition: %s", chunk.topic, spans)
            self.fail(error)

    @property
    def serves(self) -> bool:
        """True if samples are processed and published: the worker is ready and, as far as we know, a member of the
        group.
        """
        return self.ready and self.lease.held

    @property
    def waits_for_group(self) -> bool:
        """True if the group has given the worker no assignment, not even one without partitions, or has ended it."""
        return self._revoked

    @property
    def is_standby(self) -> bool:
        """True if it has no partition, as others have them all."""
        return not any(pipeline.next_offset for pipeline in self.pipelines)

    # Assignment: Faust revokes everything, then assigns; recovery runs, then `on_restored`, then records flow.

    def moved_on(self) -> None:
        """Note that taking up partitions makes progress."""
        self.moved_on_s = time.monotonic()

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        self.moved_on()
        self._revoked = True
        self.ready = False
        if not self.should_stop:
            await self._hand_over()
        await super()._on_partitions_revoked(revoked)

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.moved_on()
        self._revoked = False
        await super()._on_partitions_assigned(assigned, generation_id)

    async def _stop_consumer(self) -> None:
        self._revoked = True
        self.ready = False
        if self._consumer is not None and self._consumer.started:
            await self._hand_over()
        await super()._stop_consumer()

    async def _hand_over(self) -> None:
        """Stop the flow and commit all applied records: from here on the next owner writes."""
        self.consumer.stop_flow()
        self.flow_control.suspend()
        for pipeline in self.pipelines:
            pipeline.suspend()
        agreed = False
        if self.failure is None:
            try:
                agreed = await self._commit_while_member()
            except Exception as error:
                self.fail(error)
        self.committer.stop()
        abandoned = self._abandon_outputs()
        self._park(agreed and not abandoned and self.guarantee.keeps and self.lease.held)
        await self.guarantee.close()

    def _park(self, agreed: bool) -> None:
        """Keep the live state until it is known which partitions stay, if it is all committed; else forget it."""
        if not agreed or self._handed_over is not None:
            self._handed_over = None
            for pipeline in self.pipelines:
                pipeline.drop()
        else:
            self._handed_over = self.consumer_generation_id

    def keep(self, generation: int) -> set[TopicPartition]:
        """Begin a new assignment: continue with the partitions that stay with us, forget the others. Return the kept
        ones.

        Only if the group's generation is the next one: in any between, others may have had them.
        """
        self.writer.reopen()
        stays = self._handed_over is not None and generation == self._handed_over + 1
        self._handed_over = None
        assigned = set(self._assigned_sources()) if stays and not self._revoked else set()
        kept = set()
        for pipeline in self.pipelines:
            topic = pipeline.topics.source
            mine = {partition for partition in pipeline.next_offset if TopicPartition(topic, partition) in assigned}
            pipeline.drop(mine)
            pipeline.states.drop(mine)
            kept |= {TopicPartition(topic, partition) for partition in mine}
        self.committer.start(kept)
        if kept:
            for pipeline in self.pipelines:
                pipeline.start(generation, {})
            self.chunk_consumer().look()
            log.info("going on with %s", ", ".join(f"{at.topic}[{at.partition}]" for at in sorted(kept)))
        return kept

    def kept_changelogs(self) -> set[TopicPartition]:
        """The changelog partitions whose states are in memory."""
        return {
            TopicPartition(pipeline.topics.changelog, partition)
            for pipeline in self.pipelines
            for partition in pipeline.next_offset
        }

    @property
    def takes_chunks(self) -> bool:
        """True if chunks of the group's generation would be applied. An overtaken recovery may start the flow between
        two assignments: its chunks would be dropped, and their records would be missing later.
        """
        generation = self.consumer_generation_id
        for pipeline in self.pipelines:  # noqa: SIM110  # for every chunk: `all` would make a generator each time
            if pipeline.generation != generation:
                return False
        return True

    def taken_up(self, partitions: Iterable[TP]) -> set[TP]:
        """Return the source partitions whose records may be applied: their tables are here."""
        if not self.takes_chunks:
            return set()
        at_hand = {pipeline.topics.source: pipeline.next_offset for pipeline in self.pipelines}
        return {at for at in partitions if at.partition in at_hand.get(at.topic, ())}

    async def _commit_while_member(self) -> bool:
        """Run the last commit of an assignment, as long as nobody else has the partitions; return whether it is
        complete.
        """
        deadline = self.lease.now() + HAND_OVER_S
        committing = asyncio.create_task(self.committer.commit(last=True))
        while not committing.done() and self.lease.held and self.lease.now() < deadline:
            await asyncio.wait([committing], timeout=LOOK_AT_LEASE_S)
        if not committing.done():
            # What it waits for may never come: nothing is sent without the lease. A commit that begins now would not
            # wait for the outputs that are given up here, and make offsets final behind them.
            self.committer.refuse()
            self._abandon_outputs()
            for pipeline in self.pipelines:
                pipeline.scores.drop()
            await asyncio.wait([committing], timeout=LET_GO_S)
            committing.cancel()  # nothing, if it is done: one that asks a broker that is away holds up no rebalance
            await asyncio.wait([committing])
        return not committing.cancelled() and committing.result()

    def _abandon_outputs(self) -> bool:
        """Give up all outputs that are not acknowledged by now; return whether there were any."""
        abandoned = self.writer.abandon()
        if abandoned:
            log.warning("outputs that the broker has not acknowledged are left to the next owner")
            self.guarantee.abandon()
        return abandoned

    async def before_restore(self) -> None:
        """Nobody else may write for our partitions from here on, as far as the guarantee can see to it."""
        await self.guarantee.open(self._assigned_sources())

    async def on_restored(self, generation: int) -> None:
        """The tables hold what the changelogs hold: check it against the topics, and start.

        Raises:
            StartupError: states and offsets do not belong to the topics as they are.
            RebalanceAgain: the assignment was revoked meanwhile, or the worker has failed; nothing was started.
        """
        found = await self._ask_broker(self._assigned_sources())
        self._check_still_assigned(generation)
        starts = starts_of(self.pipelines, found)
        committed = {at: start.position for at, start in starts.items()}
        wanted = wanted_of(self.pipelines, {at: found.committed.get(at) for at in starts})
        self._tell(starts, wanted)
        published = await find_published(self.settings, wanted) if self.guarantee.reads_published else {}
        self._check_still_assigned(generation)
        self.committer.topic_ids |= found.topic_ids
        await self.committer.take_up(committed, {at: one.since for at, one in published.items()})
        self._report_lost(starts)  # once: who takes the partitions up again begins after them
        self._check_still_assigned(generation)
        for pipeline in self.pipelines:
            topic = pipeline.topics.source
            pipeline.start(
                generation,
                {at.partition: offset for at, offset in committed.items() if at.topic == topic},
                {at.partition: one for at, one in published.items() if at.topic == topic},
            )
        self.ready = True
        self.was_ready.set()
        self.chunk_consumer().look()
        at_hand = sorted(self.committer.committed.items())
        log.info("ready: %s", ", ".join(f"{at.topic}[{at.partition}]@{offset}" for at, offset in at_hand) or STANDBY)

    def _tell(self, starts: Mapping[TopicPartition, Start], wanted: Sequence[Wanted]) -> None:
        """Log offsets that no worker has committed. Raise StartupError if published outputs cannot be looked for."""
        if not self.guarantee.reads_published and any(one.anywhere for one in wanted):
            place = next(one.source for one in wanted if one.anywhere)
            raise StartupError(
                f"{place.topic}[{place.partition}]: no offset of a worker is committed (deleted, expired or moved); "
                f"with exactly_once, outputs that are published already would be published again; {RESET}"
            )
        for start in starts.values():
            if start.note:
                log.warning("%s", start.note)

    def _report_lost(self, starts: Mapping[TopicPartition, Start]) -> None:
        for pipeline in self.pipelines:
            for at, start in starts.items():
                if at.topic == pipeline.topics.source and start.lost:
                    report_lost(pipeline, at.partition, start.position - start.lost, start.position)

    def _check_still_assigned(self, generation: int) -> None:
        """Raise RebalanceAgain unless the assignment still holds. A start after the hand-over would apply chunks of
        partitions that may have another owner. A start after a refused commit would go on behind chunks that were let
        pass since. A failed worker may still get an assignment before it ends, with half a chunk in its engines.
        """
        if self.failure is not None or self.committer.refuses or not self.is_assigned(generation):
            raise RebalanceAgain

    def is_assigned(self, generation: int) -> bool:
        """True if the assignment of a generation goes on, as far as Faust knows."""
        return not self._revoked and generation == self.consumer_generation_id

    async def _ask_broker(self, partitions: list[TopicPartition]) -> BrokerView:
        if not partitions:
            return BrokerView({}, {}, {}, {})
        # Partitions may have been added since the start: states and records of a stream would part ways.
        topics = await asyncio.to_thread(_look_at_topics, self.settings)
        self.partition_counts = topics.partitions
        self._take_limits(topics.configs)
        # Together: each would wait behind the fetch that is under way on its connection.
        committed, beginnings, ends = await asyncio.gather(
            self.chunk_consumer().committed(partitions),
            self.chunk_consumer().beginning_offsets(partitions),
            self.chunk_consumer().end_offsets(partitions),
        )
        return BrokerView(committed, beginnings, ends, topics.ids)

    def _take_limits(self, configs: Mapping[str, Mapping[str, str]]) -> None:
        """Note the largest batch of each topic. Raises StartupError: one takes less than a record may need."""
        limits = {name: sizes.limit_of(config) for name, config in configs.items()}
        for pipeline in self.pipelines:
            changelog = pipeline.topics.changelog
            sizes.check_limit(changelog, limits[changelog], pipeline.state_bytes, "a state")
            if (output := pipeline.topics.output) in limits:
                needed = sizes.output_bytes(pipeline.engine.outputs)
                sizes.check_limit(output, limits[output], needed, "an output")
        self.writer.limits = limits

    def _assigned_sources(self) -> list[TopicPartition]:
        return [TopicPartition(*tp) for tp in self.consumer.assignment() if tp.topic in self.source_topics]


def _look_at_topics(settings: Settings) -> TopicsNow:
    return check_topics(settings, Cluster(settings))
