"""Notes in a changelog about added partitions: their number before and after, and where the sources ended.

A stream whose partition changed has its earlier records in another partition, which the audit of one partition must
know. The note is a record of partition 0, under a key of its own, which compaction keeps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from core.wire.partition import partition_of
from stream_app.topics.ownership import is_claim

GROWN = b"\x00grown "
"""Before the number of partitions, the key of a note. No stream has such a key in a table."""
NOTED_IN = 0


@dataclass(frozen=True)
class Grown:
    """Partitions of a source were added once."""

    before: int
    now: int
    ends: Mapping[int, int] = field(default_factory=dict)
    """Source partition -> the offset that its records had reached."""
    at_ms: int = 0
    """Time of the change, by the clock of the machine that ran the command."""

    @property
    def key(self) -> bytes:
        """The note's key in the changelog."""
        return GROWN + b"%d" % self.now

    def value(self) -> bytes:
        """The note as it is written."""
        ends = {str(partition): end for partition, end in self.ends.items()}
        return json.dumps({"from": self.before, "to": self.now, "ends": ends, "at_ms": self.at_ms}).encode()

    def left(self, key: bytes, partition: int) -> bool:
        """True if a stream was in the partition, and is in another since."""
        return partition_of(key, self.before) == partition != partition_of(key, self.now)

    def came(self, key: bytes, partition: int, offset: int) -> bool:
        """True if a stream, whose first record in the partition is at ``offset``, was in another before."""
        moved_here = partition_of(key, self.now) == partition != partition_of(key, self.before)
        return moved_here and offset >= self.ends.get(partition, 0)


def is_note(key: bytes | None) -> bool:
    """True if a changelog record is no state of a stream: a note of partitions, or whose the changelog is."""
    return is_claim(key) or (key is not None and key.startswith(GROWN))


def grown_of(rows: Iterable[tuple[bytes, bytes | None]]) -> list[Grown]:
    """The notes among changelog records, by key and value."""
    found = []
    for key, value in rows:
        if key.startswith(GROWN) and value is not None:
            said = json.loads(value)
            ends = {int(partition): int(end) for partition, end in said["ends"].items()}
            found.append(Grown(int(said["from"]), int(said["to"]), ends, int(said["at_ms"])))
    return found
