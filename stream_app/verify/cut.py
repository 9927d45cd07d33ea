"""Choose the offsets to read of a running system, so that it never looks wrong while it is right.

A worker publishes an output after it has read its record, acknowledges outputs before it writes states, and states
before it commits offsets. So ends are asked for in the opposite order: first the committed offsets, then the ends of
changelogs, of outputs and dead letters, and of sources. Then the records read explain every output, and everything that
the committed offsets promise is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from core.errors import RunError
from stream_app.clients.topic_reader import TopicReader
from stream_app.routes import Partition, Route

CLOCKS_DIFFER_MS = 5_000
"""Largest difference between the clocks of broker and worker that caststream allows."""
NEVER, ALWAYS = float("inf"), float("-inf")

Range = tuple[int, int]


@dataclass(frozen=True)
class VerifiedRange:
    """The offsets to read of a source partition, and of the partitions that belong to it."""

    route: Route
    partition: int
    committed: int
    changelog: Range
    outputs: Range
    letters: Range
    source: Range
    outputs_from_ms: float
    letters_from_ms: float
    cut_off: bool
    ordered: bool

    @property
    def offsets(self) -> int:
        """The number of records to read."""
        return sum(end - start for start, end in (self.changelog, self.outputs, self.letters, self.source))


def take_cut(
    reader: TopicReader,
    there: Mapping[str, int],
    route: Route,
    partition: int,
    committed: int,
    since_ms: int | None,
    until_ms: int | None,
) -> VerifiedRange:
    """Choose the offsets to read of a source partition; ``committed`` was read before.

    Raises:
        RunError: the source ends below the committed offset.
    """

    def full(topic: str) -> Range:
        """A topic may have fewer partitions than the source."""
        return reader.full_bounds((topic, partition)) if partition < there[topic] else (0, 0)

    changelog, outputs, letters = map(full, (route.changelog, route.output, route.dead_letters))
    start, end = reader.bounds((route.source, partition))
    if end < committed:
        raise RunError(
            f"{route.source}[{partition}] ends at offset {end}, but the group has committed {committed}: the topic was "
            "truncated or created again"
        )
    outputs_from_ms = _kept_from(reader, (route.output, partition), outputs)
    letters_from_ms = _kept_from(reader, (route.dead_letters, partition), letters)
    until = end if until_ms is None else min(end, _offset_at(reader, (route.source, partition), until_ms, (start, end)))
    if since_ms is not None:
        start = max(start, _offset_at(reader, (route.source, partition), since_ms, (start, end)))
        # What comes of a record is not written before it.
        outputs, letters = (
            (max(low, _offset_at(reader, (topic, partition), since_ms - CLOCKS_DIFFER_MS, (low, high))), high)
            for topic, (low, high) in ((route.output, outputs), (route.dead_letters, letters))
        )
    source = (start, max(start, until))
    return VerifiedRange(
        route,
        partition,
        min(committed, source[1]),
        changelog,
        outputs,
        letters,
        source,
        outputs_from_ms,
        letters_from_ms,
        cut_off=until < end,
        ordered=_is_ordered(reader, (route.source, partition), source),
    )


def _offset_at(reader: TopicReader, at: Partition, time_ms: int, bounds: Range) -> int:
    """Return the offset of the first record at or after a time; the end where there is none."""
    low, high = bounds
    return min(high, reader.offsets_since([at], time_ms)[at]) if low < high else high


def _kept_from(reader: TopicReader, at: Partition, found: Range) -> float:
    """Return the append time before which retention may have deleted records."""
    if found[0] == 0:
        return ALWAYS
    first = reader.first(at, *found)
    return NEVER if first is None else first.timestamp()[1]


def _is_ordered(reader: TopicReader, at: Partition, source: Range) -> bool:
    """True if the broker has set the append times."""
    first = reader.first(at, *source)
    return first is None or first.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME
