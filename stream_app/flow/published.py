"""Outputs that a former owner has published of records that will be processed again.

A commit holds where its outputs end in the log. The next owner of a partition reads from there what was published
since, and leaves out exactly those outputs when the same records give them again. Never compare with "the highest
offset so far": the final score of an idle cast carries an old offset, a batch may hold a part of a chunk's outputs, the
topic of dead letters mixes sources, and another application may write to the same topic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka.structs import TopicPartition

from core.errors import RecordError, StartupError
from core.native.records import Outputs, Record, Records
from core.wire.records import decode_output_step
from stream_app.headers import APP_ID, ERROR_OFFSET, ERROR_PARTITION, ERROR_TOPIC, SOURCE_OFFSET, Headers, number
from stream_app.kafka.fetching import FetchedPartition
from stream_app.kafka.reading import Reading
from stream_app.native.batches import BatchHeader
from stream_app.routes import Partition
from stream_app.settings import Settings

MOST_ANYWHERE = 1_000_000
"""Largest number of outputs and dead letters of a partition that is searched if no commit says where to begin: 300 MB.
"""

MayConclude = Callable[[int, bytes, int], bool]
"""`core.engines.base.Engine.may_conclude`."""


class LogEnds(NamedTuple):
    """The ends in the log of the outputs that a commit covers; later outputs stand at these offsets or behind."""

    outputs: int
    dead_letters: int


class Identity(NamedTuple):
    """The identity of an output, beside its source partition."""

    source_offset: int
    key: bytes
    step: int
    final: bool


@dataclass
class Published:
    """The published outputs of one source partition that were found and not left out yet."""

    source: Partition
    app_id: bytes
    outputs: set[Identity] = field(default_factory=set)
    letters: set[int] = field(default_factory=set)
    """Source offsets of dead letters."""
    highest: int = -1
    """The highest source offset found."""

    def add_outputs(self, records: Records) -> None:
        """Take in records of the output topic."""
        for record in records:
            headers = dict(record.headers)
            if headers.get(APP_ID) == self.app_id and (identity := _identity(record, headers)) is not None:
                self.outputs.add(identity)
                self.highest = max(self.highest, identity.source_offset)

    def add_letters(self, records: Records) -> None:
        """Take in records of the topic of dead letters."""
        for record in records:
            headers = dict(record.headers)  # a record's own headers come first, and may have our names: the last counts
            source = headers.get(ERROR_TOPIC), headers.get(ERROR_PARTITION)
            ours = (self.source[0].encode(), b"%d" % self.source[1])
            offset = number(headers.get(ERROR_OFFSET))
            if headers.get(APP_ID) == self.app_id and source == ours and offset is not None:
                self.letters.add(offset)
                self.highest = max(self.highest, offset)

    def leave_out(self, outputs: Outputs, headers: Headers) -> Outputs:
        """Return the outputs that are not published yet, and remove the notes of the others."""
        if not self.outputs:
            return outputs
        kept = Outputs(outputs.partition)
        for key, value, offset, timestamp in outputs:
            step = decode_output_step(value, tuple(headers))
            identity = Identity(offset, key, step.step, step.final)
            if identity in self.outputs:
                self.outputs.remove(identity)
            else:
                kept.append(key, value, offset, timestamp)
        return kept

    def leaves_out_letter(self, offset: int) -> bool:
        """True if the dead letter of a record is published already; its note is then removed."""
        if offset in self.letters:
            self.letters.remove(offset)
            return True
        return False

    def is_settled(self, next_offset: int, may_conclude: MayConclude) -> bool:
        """True if no published output can come again, once the offset is committed with the states as they are now.

        A final score can come long after its last sample was committed: as long as the cast has no end in its state.
        """
        return self.highest < next_offset and not any(
            identity.final and may_conclude(self.source[1], identity.key, identity.source_offset)
            for identity in self.outputs
        )


def _identity(record: Record, headers: Mapping[str, bytes]) -> Identity | None:
    """Read the identity of an output; None for a record that is no output of ours."""
    offset = number(headers.get(SOURCE_OFFSET))
    if offset is None or record.key is None:
        return None
    try:
        step = decode_output_step(record.value, record.headers)
    except RecordError:
        return None
    return Identity(offset, record.key, step.step, step.final)


class PlainBatches(FetchedPartition):
    """Batches outside of transactions: what exactly_once has published is committed with its offsets or not at all."""

    def _holds_records(self, header: BatchHeader) -> bool:
        return not header.is_control and not header.is_transactional


@dataclass(frozen=True)
class Wanted:
    """A source partition that is taken up, where its outputs go, and where those of its last commit end there."""

    source: TopicPartition
    outputs: TopicPartition
    dead_letters: TopicPartition
    since: LogEnds | None
    anywhere: bool = False
    """True if no commit says where to begin: outputs of records that will run again may stand anywhere in the log."""


@dataclass(frozen=True)
class PublishedSince:
    """The outputs in the log from ``since`` to ``now``; the two are one if no commit has said where to begin."""

    published: Published
    since: LogEnds
    now: LogEnds


async def find_published(settings: Settings, wanted: list[Wanted]) -> dict[TopicPartition, PublishedSince]:
    """Read what was published since the last commit of each source partition; by source partition."""
    partitions = {at for one in wanted for at in (one.outputs, one.dead_letters)}
    if not partitions:
        return {}
    # Not only up to the end of the oldest transaction: another application may have one open on these topics.
    async with Reading(settings, "outputs", committed=False, batches=PlainBatches) as reading:
        ends = await reading.ends(partitions)
        await _refuse_too_much(reading, wanted, ends)
        found = {one.source: _nothing_yet(settings, one, ends) for one in wanted}
        takers: dict[TopicPartition, list[Callable[[Records], None]]] = {at: [] for at in partitions}
        starts: dict[TopicPartition, int] = dict(ends)
        for one in wanted:
            published, since = found[one.source].published, found[one.source].since
            takers[one.outputs].append(published.add_outputs)
            takers[one.dead_letters].append(published.add_letters)
            starts[one.outputs] = min(starts[one.outputs], since.outputs)
            starts[one.dead_letters] = min(starts[one.dead_letters], since.dead_letters)
        async for at, records in reading.read(starts, ends):
            for take in takers[at]:
                take(records)
    return found


async def _refuse_too_much(reading: Reading, wanted: list[Wanted], ends: Mapping[TopicPartition, int]) -> None:
    for one in wanted:
        if one.anywhere:
            places = [one.outputs, one.dead_letters]
            beginnings = await reading.beginnings(places)
            records = sum(ends[at] - beginnings[at] for at in places)
            if records > MOST_ANYWHERE:
                place = f"{one.source.topic}[{one.source.partition}]"
                raise StartupError(
                    f"{place}: no offset of a worker is committed (deleted, expired or moved), and {records} records "
                    f"in {one.outputs.topic} and {one.dead_letters.topic} are more than can be compared: outputs would "
                    "be published again; `caststream topics reset-state` accepts that"
                )


def _nothing_yet(settings: Settings, one: Wanted, ends: Mapping[TopicPartition, int]) -> PublishedSince:
    now = LogEnds(ends[one.outputs], ends[one.dead_letters])
    since = LogEnds(0, 0) if one.anywhere else now
    if one.since is not None:
        # A topic that was created again ends earlier: all that it holds came since.
        since = LogEnds(*(start if start <= end else 0 for start, end in zip(one.since, now, strict=True)))
    source = (one.source.topic, one.source.partition)
    return PublishedSince(Published(source, settings.app_id.encode()), since, now)
