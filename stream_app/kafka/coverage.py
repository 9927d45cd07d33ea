"""The offset from which on the fetched records are complete: offsets may have holes, but no record may be missing.

Transaction markers, aborted transactions and compaction leave offsets without a record. The fetcher passes over them,
so it alone can tell a hole from a record that was lost.
"""

from __future__ import annotations

from aiokafka.structs import TopicPartition


class Coverage:
    """The records that the fetcher has passed over behind the last one that it handed out, by partition."""

    def __init__(self) -> None:
        self._spans: dict[TopicPartition, tuple[int, int]] = {}

    def passed(self, partition: TopicPartition, start: int, end: int) -> None:
        """The fetcher's position moved from ``start`` to ``end``: all records in between were taken."""
        first, before = self._spans.get(partition, (start, start))
        # After a seek the position is elsewhere: nothing is known of what lies in between.
        self._spans[partition] = (first if before == start else start, end)

    def behind(self, partition: TopicPartition) -> tuple[int, int]:
        """Return the offsets between which the fetcher has passed no record, behind the last one that it handed out."""
        return self._spans.get(partition, (0, 0))

    def handed(self, partition: TopicPartition, next_offset: int) -> int:
        """Records are handed out, all before ``next_offset``: the offset from which on they are complete."""
        first, end = self._spans[partition]
        self._spans[partition] = (next_offset, end)  # what holds no record behind them belongs to the next ones
        return first
