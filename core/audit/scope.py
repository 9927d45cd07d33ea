"""The scope of an audit of a source partition, and the streams and dead letters that it keeps."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from core.audit.doubt import Doubt, Name
from core.audit.rules import Memory

NOTHING = -1
"""No output may come of this record."""
NOT_JUDGED = -2
"""Nobody can say what must come out: an unknown state, a stream that was not asked for, beyond the range."""

NO_NAMES: frozenset[Name] = frozenset()


@dataclass(frozen=True)
class Scope:
    """The part of a source partition that is audited, and the facts that are known of it beforehand.

    Args:
        start: offset of the first record to come; 0 is the beginning of everything.
        committed: the group's committed offset: what lies below must be complete.
        states: stream key -> source offset of its stored state, of those that have one.
        chosen: keys of the streams to judge; None: all.
        cut_off: more records may follow than will be fed.
        outputs_from_ms: outputs written earlier than this are gone.
        letters_from_ms: the same of dead letters.
        ordered: append times never go back, as the broker's do not; a producer's may.
        came: by a stream's key and the offset of its first record here: up to when its records may have come in another
            partition, before partitions were added; None: it began here.
        came_at: the offsets, in order, before which partitions were added and streams came here from others.
        left: by a stream's key, whether its records come in another partition since partitions were added.
    """

    start: int = 0
    committed: int = 0
    states: Mapping[bytes, int] = field(default_factory=dict)
    chosen: Collection[bytes] | None = None
    cut_off: bool = False
    outputs_from_ms: float = float("-inf")
    letters_from_ms: float = float("-inf")
    ordered: bool = True
    came: Callable[[bytes, int], float | None] = lambda key, offset: None
    came_at: Sequence[int] = ()
    left: Callable[[bytes], bool] = lambda key: False


class ExpectedLetter(NamedTuple):
    """A dead letter that must be there."""

    reason: str
    required: bool
    key: bytes | None
    checksum: int

    def holds(self, value: bytes | None) -> bool:
        """True if a value is the record's."""
        return checksum(value) == self.checksum


def checksum(value: bytes | None) -> int:
    """Tells values apart; -1 is none."""
    return -1 if value is None else zlib.crc32(value)


class Snapshot(NamedTuple):
    """A stream right after the record up to which its stored state goes."""

    memory: Memory
    maybe_previous: frozenset[Name]


class AuditedStream:
    """One stream of an audit: its memory, and what the audit asks about it at the end."""

    __slots__ = (
        "committed_memory",
        "doubt",
        "judged",
        "key",
        "maybe_previous",
        "memory",
        "name",
        "snapshot",
        "state_offset",
    )

    def __init__(self, key: bytes, doubt: Doubt | None, state_offset: int) -> None:
        self.key = key
        self.name = key.decode()
        self.doubt = doubt
        self.judged = doubt is None
        self.memory: Memory | None = None
        self.maybe_previous = NO_NAMES  # where there are any: memory.previous is one of them, and nobody knows which
        self.state_offset = state_offset  # of the stored state
        self.snapshot: Snapshot | None = None  # of the record at that offset
        self.committed_memory: tuple[int, int] | None = None
        """The last offset that it remembers below the committed one, and the append time of the last good record."""
