"""A chunk on its way from the driver to an agent: the records of one topic and one fetch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.native.records import Records


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one topic, in offset order per partition.

    ``generation`` is the consumer group's at the moment when the records left the fetcher: a chunk of an older one
    belongs to an assignment that is gone, and is never applied. ``fetched_ms`` is our clock at that moment.
    """

    topic: str
    generation: int
    fetched_ms: int
    records: dict[int, Records]
    """Partition -> its records, never empty."""
    starts: dict[int, int]
    """Partition -> the offset from which on its records are complete: no record stands between it and the first."""


def pieces(chunk: Chunk, most: int) -> Iterator[Chunk]:
    """The chunk in parts of ``most`` records at most, each a chunk of its own."""
    for partition, records in chunk.records.items():
        start = chunk.starts[partition]
        for first in range(0, len(records), most):
            part = records[first : first + most]
            yield Chunk(chunk.topic, chunk.generation, chunk.fetched_ms, {partition: part}, {partition: start})
            start = part.last_offset + 1
