"""Recovery: read the tables of newly assigned partitions from their changelogs.

Faust's own recovery hands changelog records over one event at a time, keeps the last record per key, and waits for an
event with the highest offset, which never comes where a changelog ends in a transaction marker or in compacted records
(faust-streaming/faust#176, #651). Ours reads batches with a consumer of its own, ends when the position has reached
the end, and keeps per key the record with the **highest source offset**: a zombie's late write may stand after the
new owner's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.structs import TopicPartition
from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.types import TP
from mode import Service

from core.errors import RunError, StartupError
from core.native.records import Records
from stream_app.flow.commits import MEMBERSHIP_LOST
from stream_app.flow.pipeline import Pipeline
from stream_app.flow.tables import StateTable
from stream_app.headers import SOURCE_TOPIC
from stream_app.kafka.reading import Reading
from stream_app.logs import FAUST
from stream_app.native.changelog import keep_winners
from stream_app.settings import Settings
from stream_app.topics.grown import is_note

log = logging.getLogger(__name__)


@dataclass
class Winners:
    """The record to keep for each key of one changelog partition: the highest source offset, of equal ones the
    later.
    """

    rows: dict[bytes, tuple[bytes | None, int]] = field(default_factory=dict)
    """Key -> (value, source offset)."""
    _overtaken: set[bytes] = field(default_factory=set)
    """The keys whose winner is not the last record."""
    source: str | None = None
    """The topic whose states these are; None: of any."""
    count: int = 0
    """Records read."""
    _had_state: bool = False
    """True if one of them was a state or a tombstone of one, and no note."""

    def add(self, at: TopicPartition, records: Records) -> None:
        """Take changelog records into account, in changelog order.

        Raises:
            StartupError: the header ``source-offset`` is missing or no number, or records are of another source topic:
                somebody else writes to this topic.
        """
        self._check_source(at, records)
        self.count += len(records)
        self._had_state = self._had_state or any(not is_note(record.key) for record in records)
        not_ours = keep_winners(records, self.rows, self._overtaken)
        if not_ours is not None:
            raise StartupError(
                f"{at.topic}[{at.partition}] offset {not_ours}: not a state record of caststream "
                "(no header source-offset); `caststream topics reset-state` creates the changelogs again"
            )

    def _check_source(self, at: TopicPartition, records: Records) -> None:
        """Check the first record and the last of each fetch: a second line behind `stream_app.topics.ownership`."""
        if self.source is None or not len(records):
            return
        for record in (records[0], records[len(records) - 1]):
            owner = dict(record.headers).get(SOURCE_TOPIC)
            if owner is not None and owner != self.source.encode() and not is_note(record.key):
                raise StartupError(
                    f"{at.topic}[{at.partition}] offset {record.offset}: a state of "
                    f"{owner.decode(errors='backslashreplace')}, not of {self.source}: two deployments share this "
                    "app_id; give one of them another"
                )

    def was_used(self, end: int) -> bool:
        """True if states have ever been written to the changelog, whose end is ``end``: also where compaction has
        removed them all.
        """
        return self._had_state or end > self.count

    def remove_notes(self) -> None:
        """Remove records that are no states (`stream_app.topics.grown`)."""
        for key in [key for key in self.rows if is_note(key)]:
            del self.rows[key]
            self._overtaken.discard(key)

    def overtaken(self, partition: int) -> Records:
        """The winners after which an older record stands: compaction would keep that one, so they are written again."""
        records = Records(partition)
        for key in self._overtaken:
            value, source_offset = self.rows[key]
            records.append(key, value, source_offset, 0)
        return records


async def read_keys(settings: Settings, at: TopicPartition, start: int, end: int) -> set[bytes]:
    """The keys of the records that stand in ``[start, end)`` of a changelog partition."""
    if end <= start:  # the changelog was created again and begins at 0 again
        return set()
    keys: set[bytes] = set()
    async with Reading(settings, "changelog records") as reading:
        async for _, records in reading.read({at: start}, {at: end}):
            keys |= {record.key for record in records if record.offset < end and record.key is not None}
    return keys


class Restoring(Protocol):
    """The part of the application that recovery uses: `stream_app.worker.app` imports this module."""

    settings: Settings
    pipelines: list[Pipeline]

    def keep(self, generation: int) -> set[TopicPartition]:
        """Go on with the partitions that stay with us; returns them."""

    def kept_changelogs(self) -> set[TopicPartition]:
        """The changelog partitions whose states are in memory."""

    async def before_restore(self) -> None:
        """Nobody else may write for our partitions from here on."""

    async def on_restored(self, generation: int) -> None:
        """The states are there: take the partitions up."""

    def moved_on(self) -> None:
        """Recovery has got further."""

    def is_assigned(self, generation: int) -> bool:
        """True if the partitions of a generation are still ours."""

    async def crash(self, reason: BaseException) -> None:
        """End the worker."""


class ChangelogRecovery(Recovery):
    """Faust's recovery service with the reading exchanged."""

    logger = FAUST
    app: Restoring  # type: ignore[assignment]  # Faust types the application whole

    async def _wait(self, coro: Any, timeout: Any = None) -> None:
        """Wait as Faust does, and retrieve the error of a task that is given up at a stop. Otherwise asyncio would log
        its traceback.
        """
        task = asyncio.ensure_future(coro)
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await super()._wait(task, timeout)

    @Service.task
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start):  # type: ignore[arg-type]
                break
            self.signal_recovery_start.clear()
            generation = self._generation_id
            try:
                kept = self.app.keep(generation)
                if kept:  # their streams go on while the tables of the others are read
                    await self._wait(self.on_recovery_completed(generation))
                await self._wait(self.app.before_restore())
                await self._wait(self._restore())
                await self._wait(self.app.on_restored(generation))
                if not kept:
                    await self._wait(self.on_recovery_completed(generation))
            except RebalanceAgain:
                continue
            except MEMBERSHIP_LOST as error:
                if isinstance(error, ProducerFenced) and self.app.is_assigned(generation):
                    # Of the group we are a member still: no other assignment need come.
                    await self.app.crash(RunError(f"partitions could not be taken up: {error!r}"))
                    break
                log.info("the group has moved on: recovery begins again with the next assignment: %s", error)
                continue
            except ServiceStopped:
                if not self.should_stop:  # mode says so too when Faust's own limit for a seek has passed
                    await self.app.crash(RunError("the broker did not answer while partitions were taken up"))
                break
            except KafkaError as error:  # an outage, or a refusal that the next start names
                await self.app.crash(RunError(f"partitions could not be taken up: {error!r}"))
                break
            except Exception as error:
                await self.app.crash(error)
                break

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Do nothing: changelogs are read by `_restore`."""

    @Service.task
    async def _publish_stats(self) -> None:
        """Do nothing: `_restore` reports its progress."""

    async def _restore(self) -> None:
        partitions = {TopicPartition(*tp) for tp in self.active_tps} - self.app.kept_changelogs()
        if not partitions:
            return
        started = time.monotonic()
        self._set_recovery_started()
        count = await self._read(partitions)
        self._set_recovery_ended()
        log.info(
            "recovered %d changelog records of %d partitions in %.1f s",
            count,
            len(partitions),
            time.monotonic() - started,
        )

    async def _read(self, partitions: set[TopicPartition]) -> int:
        sources = {pipeline.topics.changelog: pipeline.topics.source for pipeline in self.app.pipelines}
        count, winners = 0, {partition: Winners(source=sources.get(partition.topic)) for partition in partitions}
        async with Reading(self.app.settings, "changelog records") as reading:
            ends = await reading.ends(partitions)
            async for partition, records in reading.read(dict.fromkeys(partitions, 0), ends):
                winners[partition].add(partition, records)
                count += len(records)
                self.app.moved_on()
        for partition, found in winners.items():
            self._take_over(partition, found, ends[partition])
        return count

    def _take_over(self, partition: TopicPartition, found: Winners, end: int) -> None:
        table: StateTable = self.tp_to_table[TP(*partition)]  # type: ignore[assignment]
        found.remove_notes()
        overtaken = found.overtaken(partition.partition)
        table.states.ends[partition.partition] = end
        table.states.used[partition.partition] = found.was_used(end)
        table.states.fill(partition.partition, found.rows)
        if len(overtaken):
            log.warning(
                "%s[%d]: %d states stand before older states of another writer and are written again",
                partition.topic,
                partition.partition,
                len(overtaken),
            )
            table.states.overtaken[partition.partition] = overtaken


class TableManager(FaustTableManager):
    """Faust's table manager with our recovery."""

    logger = FAUST

    @property
    def recovery(self) -> ChangelogRecovery:
        if self._recovery is None:
            self._recovery = ChangelogRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery  # type: ignore[return-value]

    async def on_start(self) -> None:
        # Faust sleeps a second here, for tables that are declared late; ours are declared before the start.
        await self._update_channels()
        await self.recovery.start()
