"""Read a source partition behind its dead letters: streams that have moved past them, and records resent before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from confluent_kafka import Message

from stream_app.clients.topic_reader import key_of
from stream_app.headers import Headers, headers_of, number
from stream_app.letters.letter import Letter

# Headers of a resent record, decimal numbers in ASCII.
FROM_OFFSET = "resent-from-offset"
"""The source offset of the record that it stands for."""
FIRST_OFFSET = "resent-first-offset"
"""The source offset of the first record that it stands for, however often it was resent: its place in the order."""
LETTER = "resent-letter"
"""Partition and offset of the dead letter, as ``2/17``."""
MOVED_FROM = "resent-from"
"""Partition and offset of the source record, as ``2/17``, where the resent one has another key, and so is perhaps in
another partition.
"""
RESENT = "resent-"


@dataclass
class Scan:
    """The result of reading one source partition from the first record of a dead letter on.

    Args:
        keys: of the letters; other streams are passed over.
        letters: the source offsets of all dead letters of this partition: these records have moved no stream on.
        originals: the source offsets of the letters that are looked at.
    """

    keys: Collection[bytes]
    letters: Collection[int]
    originals: Collection[int]
    found: dict[int, tuple[bytes | None, bytes | None]] = field(default_factory=dict)
    """Key and value of the originals that still exist."""
    marks: set[tuple[bytes, int]] = field(default_factory=set)
    """Key and original offset of what was resent."""
    moved: set[tuple[int, int]] = field(default_factory=set)
    """Partition and offset of the originals of what was resent to here under another key."""
    positions: dict[int, int] = field(default_factory=dict)
    """Offset of a resent record -> its place in its stream's order."""
    latest: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Key -> place in the stream's order, and offset, of its last record that was not refused."""
    times: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Key -> append time, and offset, of the same."""

    def add(self, message: Message) -> None:
        """Take the partition's next record into account."""
        key, offset = key_of(message), int(message.offset() or 0)
        if offset in self.originals:
            self.found[offset] = key, message.value()
        headers = headers_of(message)
        if (original := moved_from(headers)) is not None:
            self.moved.add(original)
        if key is None or key not in self.keys:
            return
        position = offset
        if resent := resent_from(headers):
            self.marks.add((key, resent[0]))
            position = self.positions[offset] = min(resent[1], offset)
        if offset not in self.letters:
            self.move_on(key, position, offset)
            self.times[key] = message.timestamp()[1], offset

    def move_on(self, key: bytes, position: int, offset: int) -> None:
        """A stream's state includes the record of this offset."""
        self.latest[key] = max(self.latest.get(key, (-1, -1)), (position, offset))

    def is_resent(self, letter: Letter) -> bool:
        """True if the record was sent again before."""
        return (letter.key or b"", letter.source_offset or 0) in self.marks

    def gone_on(self, letter: Letter) -> int | None:
        """Return the offset at which the dead letter's stream moved past it; None if it has not."""
        position, offset = self.latest.get(letter.key or b"", (-1, -1))
        return offset if position > position_of(letter) else None

    def gone_on_since(self, key: bytes, time_ms: int) -> int | None:
        """The offset of a stream's last record, where it was appended after a time; None where it was not."""
        last_ms, offset = self.times.get(key, (-1, -1))
        return offset if last_ms > time_ms else None


def position_of(letter: Letter) -> int:
    """Return the place, in the order of its stream, of the record that a dead letter is about: its first offset."""
    offset = letter.source_offset or 0
    resent = resent_from(letter.headers)
    return min(resent[1], offset) if resent else offset


def resent_from(headers: Headers) -> tuple[int, int] | None:
    """Original and first offset, of the headers of a resent record; None where it is none."""
    told = dict(headers)
    original, first = number(told.get(FROM_OFFSET)), number(told.get(FIRST_OFFSET))
    return None if original is None or first is None else (original, first)


def moved_from(headers: Headers) -> tuple[int, int] | None:
    """Partition and offset of the original, of the headers of a record that was resent under another key."""
    partition, _, offset = dict(headers).get(MOVED_FROM, b"").partition(b"/")
    found = number(partition), number(offset)
    return None if found[0] is None or found[1] is None else (found[0], found[1])
