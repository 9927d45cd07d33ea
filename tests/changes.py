"""What engines write into their tables, stream by stream instead of packed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from core.engines.results import ChunkResult
from core.native.records import Outputs, Records

STREAMS_AT_ONCE = 500


class Change(NamedTuple):
    """Table records that go to the broker together: of one stream, at one source offset. None is a tombstone."""

    partition: int
    source_offset: int
    records: list[tuple[bytes, bytes | None]]


def changes_of(packed: Records) -> list[Change]:
    """One change for each group of tied records."""
    changes = []
    for group in packed.groups():
        (source_offset,) = {record.offset for record in group}
        changes.append(Change(packed.partition, source_offset, [(record.key, record.value) for record in group]))
    return changes


def packed_of(change: Change) -> Records:
    """The records of a change, tied to each other."""
    packed = Records(change.partition)
    for number, (key, value) in enumerate(change.records, 1):
        packed.append(key, value, change.source_offset, 0, tied=number < len(change.records))
    return packed


def tombstone(partition: int, source_offset: int, key: bytes) -> Records:
    return packed_of(Change(partition, source_offset, [(key, None)]))


def take_changed(engine: Any, partitions: Iterable[int], streams: int = STREAMS_AT_ONCE) -> list[Change]:
    """A cut, and all that it covers."""
    partitions = list(partitions)
    engine.cut(partitions)
    return take_rest(engine, partitions, streams)


def take_rest(engine: Any, partitions: Iterable[int], streams: int = STREAMS_AT_ONCE) -> list[Change]:
    """What is left of a cut."""
    return [
        change
        for partition in partitions
        for packed in iter(lambda partition=partition: engine.take_packed(partition, streams), None)
        for change in changes_of(packed)
    ]


def taken(pipeline: Any) -> list[Change]:
    """A pipeline's cut, and all that it covers."""
    cut = pipeline.cut()
    return [
        change
        for partition in sorted({*cut.offsets, *cut.changed, *cut.extra})
        for packed in iter(lambda partition=partition: pipeline.take_states(cut, partition, STREAMS_AT_ONCE), None)
        for change in changes_of(packed)
    ]


class Gone(NamedTuple):
    """All steps of an eviction together."""

    outputs: dict[int, list[tuple[bytes, bytes, int, int]]]
    tombstones: list[Change]
    scores: dict[bool, int]


def evict_all(engine: Any, partition: int, before: int, now_ms: int = 0) -> Gone:
    gone = Gone({}, [], {False: 0, True: 0})
    for step in engine.evict(partition, before, now_ms):
        for place, rows in plain(step.outputs).items():
            gone.outputs.setdefault(place, []).extend(rows)
        gone.tombstones.extend(changes_of(step.tombstones))
        for final, count in step.counts.scores.items():
            gone.scores[final] += count
    return gone


def plain(outputs: ChunkResult | Mapping[int, Outputs]) -> dict[int, list[tuple[bytes, bytes, int, int]]]:
    """Outputs by partition, in lists that can be compared."""
    by_partition = outputs.outputs if isinstance(outputs, ChunkResult) else outputs
    return {partition: list(rows) for partition, rows in by_partition.items()}


def by_partition(records: Iterable[Any], timestamp_type: int = -1) -> dict[int, Records]:
    """Records as a chunk holds them."""
    parts: dict[int, Records] = {}
    for record in records:
        parts.setdefault(record.partition, Records(record.partition, timestamp_type)).add(record)
    return parts
