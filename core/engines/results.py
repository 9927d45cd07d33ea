"""Input and output of a turn of stream logic: records, rules, results, changes of the table.

Plain values between ``core`` and the shell around it. Nothing here reads a clock or knows where records come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.errors import RecordError
from core.native.records import Outputs, Record, Records
from core.tasks.declaration import GapPolicy as GapPolicy

GAP_POLICIES: tuple[GapPolicy, ...] = ("step", "hold", "reset")


class StateStore(Protocol):
    """The recovered table behind an engine: the raw keys and values of its changelog, tombstones applied.

    It holds what no stream in memory stands for: an engine takes out what it loads.
    """

    def take(self, partition: int, key: bytes) -> bytes | None:
        """A value, which is its taker's from now on; None where the key has none."""

    def get(self, partition: int, key: bytes) -> bytes | None:
        """A value that stays; None where the key has none."""

    def keys(self, partition: int) -> list[bytes]:
        """All keys of a partition, as they are now."""


@dataclass(frozen=True, slots=True)
class StreamRules:
    """The rules by which steps, gaps and pauses of a stream are judged.

    Raises:
        ValueError: a value outside its limits.
    """

    gap_policy: GapPolicy = "step"
    max_gap: int = 50  # policy hold: missing steps that are filled at most
    max_step_jump: int = 1_000_000  # a step further ahead than this is a wrong counter
    idle_timeout_ms: int = 300_000

    def __post_init__(self) -> None:
        if self.gap_policy not in GAP_POLICIES:
            raise ValueError(f"gap_policy must be one of {', '.join(GAP_POLICIES)}, got {self.gap_policy!r}")
        if self.max_gap < 0 or self.max_step_jump < 1 or self.idle_timeout_ms < 1:
            raise ValueError(f"max_gap must be >= 0, max_step_jump and idle_timeout_ms >= 1, got {self}")


@dataclass(frozen=True, slots=True)
class WindowRules:
    """The samples that a score sees, and when it is due; all numbers count samples.

    Raises:
        ValueError: a value outside its limits.
    """

    window_length: int = 500
    window_min: int = 100
    hop: int = 30
    segment: int = 50  # a segment of the stored window is closed at this many: a commit writes what changed

    def __post_init__(self) -> None:
        if not 1 <= self.window_min <= self.window_length or self.hop < 1 or self.segment < 1:
            raise ValueError(f"need 1 <= window_min <= window_length, hop >= 1, segment >= 1, got {self}")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used, key and value as they came."""

    partition: int
    key: bytes | None
    value: bytes | None
    reason: str  # one of core.wire.records.REASONS
    message: str
    offset: int
    timestamp_ms: int  # append time
    headers: Sequence[tuple[str, bytes]] = ()  # as they came: they say how the value is encoded

    @classmethod
    def of(cls, record: Record, error: RecordError) -> DeadLetter:
        """Make the dead letter of a record, with the reason why it could not be used."""
        return cls(
            partition=record.partition,
            key=record.key,
            value=record.value,
            reason=error.reason,
            message=error.message,
            offset=record.offset,
            timestamp_ms=record.timestamp,
            headers=record.headers,
        )


@dataclass(slots=True)
class Counts:
    """Counts of the events of one turn."""

    processed: int = 0  # records that advanced a state
    late: int = 0  # these are dead letters too
    duplicates: dict[str, int] = field(default_factory=lambda: {"offset": 0, "step": 0})
    gaps: int = 0
    resets: dict[str, int] = field(default_factory=dict)  # by reason, see core.engines.state.RESETS
    moved: int = 0  # keys met in a second partition, each once
    repeating: int = 0  # times that a stream sent ten duplicates by step in a row
    near_misses: dict[bytes, int] = field(default_factory=dict)  # by name, see core.wire.near_names
    held: dict[str, int] = field(default_factory=dict)  # by field, records without it: the last value was held
    scores: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})  # by ``final``
    probabilities: list[float] = field(default_factory=list)
    not_finite: int = 0  # outputs without a number, as the model gave none
    far_outside: dict[str, int] = field(default_factory=dict)  # by field, values far outside the model's training
    batch_streams: int = 0  # rows of the LSTM call; windows of a scorer
    batch_steps: int = 0  # steps of all rows together

    def reset(self, reason: str) -> None:
        """Count one state that went to zeros."""
        self.resets[reason] = self.resets.get(reason, 0) + 1

    def outside(self, name: str, count: int) -> None:
        """Count values of a field that lie far outside what the model was trained on."""
        self.far_outside[name] = self.far_outside.get(name, 0) + count

    def hold(self, name: str, count: int = 1) -> None:
        """Count records that lack a field."""
        self.held[name] = self.held.get(name, 0) + count

    def meet_near(self, name: bytes, count: int = 1) -> None:
        """Count a name that stands nearly for an optional field."""
        self.near_misses[name] = self.near_misses.get(name, 0) + count


class Deferred(Protocol):
    """Outputs for which a model has still to run, at a price that the flow of chunks must not wait for."""

    @property
    def windows(self) -> int:
        """The number of windows to run the model on."""

    def compute(self) -> None:
        """Run the model, once. In any thread: nothing that a later chunk changes is read."""

    def finish(self, result: ChunkResult) -> None:
        """Add the outputs and their counts, after `compute`."""


@dataclass(slots=True)
class ChunkResult:
    """The results of one chunk. All lists are in publication order; nothing in them depends on a clock."""

    outputs: dict[int, Outputs] = field(default_factory=dict)  # by partition, that of the source
    dead_letters: list[DeadLetter] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)  # by partition: last offset in the chunk + 1
    counts: Counts = field(default_factory=Counts)
    moved: list[tuple[bytes, int, int]] = field(default_factory=list)  # key, first partition, second partition
    repeating: list[tuple[bytes, int, int]] = field(default_factory=list)
    """Key, partition and offset of the tenth duplicate by step in a row; each stream once."""
    notes: list[str] = field(default_factory=list)  # lines for the log, each written once
    quoted_keys: list[bytes] = field(default_factory=list)  # of streams new in memory: keys that begin as JSON does
    opened: int = 0  # streams that were met without a state
    deferred: Deferred | None = None  # outputs to come; until they are published, the chunk is not complete
    decode_s: float = 0.0  # measured only where the shell gave the engine a clock
    infer_s: float = 0.0


@dataclass(slots=True)
class Evicted:
    """States taken out of memory and table. Publish the outputs, deferred ones too, then write the tombstones.

    The tombstones go to the changelog before anything that a later cut gives.
    """

    outputs: dict[int, Outputs]
    tombstones: Records
    counts: Counts
    deferred: Deferred | None = None
    notes: list[str] = field(default_factory=list)
