"""The record table of the wire contract, one record and one stream at a time; and a worker that crashes.

Written to be read beside the contract and to be obviously right, not to be fast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import strategies as st

from core.engines.base import Engine
from core.engines.results import ChunkResult, StreamRules
from core.engines.state import StreamState, unpack_state
from core.engines.table_keys import HEAD, SEGMENT
from core.engines.windows import unpack_segment
from stream_app.flow.tables import PartitionedStore
from tests.changes import Change, evict_all, take_changed
from tests.strategies import IDLE_TIMEOUT_MS, MAX_STEP_JUMP, Event, MemoryTable, cuts

LAST_OF_ALL_MS = 10**13  # a clock past everything's idle point


def stream_rules(policy: Any = "step", max_gap: int = 5) -> StreamRules:
    return StreamRules(policy, max_gap, max_step_jump=MAX_STEP_JUMP, idle_timeout_ms=IDLE_TIMEOUT_MS)


@dataclass
class SlowState:
    """One stream. ``memory`` is h and c of a signal, or the samples of a cast."""

    offset: int = -1
    append_ms: int = 0
    timestamp_ms: int = 0
    sequence: str = ""
    previous: str | None = None
    step: int = -1
    closed: bool = False
    sample: tuple[float, ...] = ()
    memory: Any = None
    skipped: tuple[int, ...] = ()
    """The steps that the last gap has skipped."""
    back: tuple[int, int, int] | None = None
    """Step, own time and offset of the last record whose counter went back, since the last good one."""

    @property
    def included(self) -> int:
        """The offset of the last record that left something here."""
        return self.offset if self.back is None else self.back[2]


@dataclass
class SlowWorker:
    """Subclasses say what one step does."""

    rules: StreamRules
    streams: dict[tuple[int, bytes], SlowState] = field(default_factory=dict)
    outputs: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)
    letters: dict[tuple[int, int], str] = field(default_factory=dict)
    """Partition and offset -> reason, of the records that were good by themselves."""

    def blank(self) -> Any:
        """The memory at the start of a sequence."""
        raise NotImplementedError

    def step(self, state: SlowState, sample: tuple[float, ...], event: Event | None, gap: int) -> None:
        """One sample; without an event it is a held one, which publishes nothing."""
        raise NotImplementedError

    def conclude(self, stream: tuple[int, bytes], state: SlowState) -> None:
        """The sequence ends without its own word."""

    def feed(self, event: Event) -> None:
        state = None if event.sample is None and not event.record.key else self.streams.get(event.stream)
        if state is not None and event.record.offset <= state.included:
            return
        if event.sample is None:
            self.counts["dead"] += 1
            return
        append_ms = event.record.timestamp
        assert append_ms is not None
        idle = state is not None and append_ms - state.append_ms > IDLE_TIMEOUT_MS
        same = state is not None and not idle and event.sequence == state.sequence
        if self._refused(event, state, idle, same):
            return
        restarts = same and state is not None and not event.sequence and event.step == 0 and state.step > 0
        goes_back = same and state is not None and not restarts and self._goes_back(event, state)
        follows = goes_back and state is not None and self._follows(event, state)
        if goes_back and not follows and state is not None:
            state.back = (event.step or 0, event.timestamp_ms, event.record.offset)
            self._refuse(event, "step_back")
            return
        if state is None or not same or restarts or follows:
            reason = "restart" if restarts else "step_back" if follows else "idle" if idle else "sequence"
            state, gap = self._begin(event, state, reason), event.step or 0
        else:
            step = state.step + 1 if event.step is None else event.step
            if step <= state.step:
                if step in state.skipped:
                    self.counts["late"] += 1
                    self._refuse(event, "late")
                else:
                    self.counts["duplicate"] += 1
                return
            gap = step - state.step - 1
            self._bridge(state, gap)
            state.step = step
        self.counts["gaps"] += gap > 0
        if gap > 0:
            state.skipped = tuple(range(state.step - gap, state.step))
        state.back = None
        self.counts["processed"] += 1
        state.offset, state.append_ms, state.timestamp_ms = event.record.offset, append_ms, event.timestamp_ms
        state.sample = event.sample
        self.step(state, event.sample, event, gap)

    def _refused(self, event: Event, state: SlowState | None, idle: bool, same: bool) -> bool:
        late = False
        if state is not None and not idle:
            late = state.closed if same else event.sequence == state.previous
        jump = same and state is not None and event.step is not None and event.step > state.step + MAX_STEP_JUMP
        late = late and not (same and jump)
        self.counts["late"] += late
        if late or jump:
            self._refuse(event, "late" if late else "step_jump")
        return late or jump

    def _refuse(self, event: Event, reason: str) -> None:
        self.counts["dead"] += 1
        self.letters[event.record.partition, event.record.offset] = reason

    @staticmethod
    def _goes_back(event: Event, state: SlowState) -> bool:
        return (
            event.step is not None
            and event.step <= state.step
            and event.own_time
            and (event.timestamp_ms > state.timestamp_ms)
        )

    @staticmethod
    def _follows(event: Event, state: SlowState) -> bool:
        return state.back is not None and event.step == state.back[0] + 1 and event.timestamp_ms > state.back[1]

    def _begin(self, event: Event, old: SlowState | None, reason: str) -> SlowState:
        previous = None
        if old is not None:
            self.resets[reason] += 1
            if not old.closed:
                self.conclude(event.stream, old)
            if reason != "idle":
                previous = old.sequence if reason == "sequence" else old.previous
        state = SlowState(sequence=event.sequence, previous=previous, step=event.step or 0, memory=self.blank())
        self.streams[event.stream] = state
        return state

    def _bridge(self, state: SlowState, gap: int) -> None:
        if gap == 0 or self.rules.gap_policy == "step":
            return
        if self.rules.gap_policy == "hold" and gap <= self.rules.max_gap:
            for _ in range(gap):
                state.step += 1
                self.step(state, state.sample, None, 0)
        else:
            self.resets["gap"] += 1
            state.memory = self.blank()


@dataclass
class Published:
    """One output as a consumer finds it."""

    partition: int
    key: bytes
    fields: dict[str, Any]
    source_offset: int

    @property
    def identity(self) -> tuple[Any, ...]:
        return self.partition, self.key, self.source_offset, self.fields.get("final")


def read_outputs(outputs: Mapping[int, Iterable[tuple[bytes, bytes, int, int]]]) -> list[Published]:
    return [
        Published(partition, key, msgspec.json.decode(value), offset)
        for partition, rows in outputs.items()
        for key, value, offset, _ in rows
    ]


def first_fresh(events: Iterable[Event], partition: int, now_ms: int) -> float:
    """The offset of a partition's first event that has not been there for the idle timeout and 5 s."""
    limit_ms = now_ms - IDLE_TIMEOUT_MS - 5_000
    fresh = (event.record for event in events if (event.record.timestamp or 0) >= limit_ms)
    return min((record.offset for record in fresh if record.partition == partition), default=float("inf"))


class CrashingWorker:
    """The commit protocol around an engine: what is durable, what only memory has, and what a crash takes."""

    def __init__(self, make_engine: Callable[[PartitionedStore], Engine[Any]]) -> None:
        self.make_engine = make_engine
        self.log = MemoryTable()  # the changelog
        self.store = PartitionedStore()  # what recovery has read of it
        self.engine = make_engine(self.store)
        self.committed = {0: 0, 1: 0}
        self.ends = {0: 0, 1: 0}
        self.published: list[Published] = []
        self.letters: dict[tuple[int, int], str] = {}  # that were published, at least once
        self.unacked_letters: dict[tuple[int, int], str] = {}
        self.unacked: list[Published] = []
        self.extra: list[Change] = []
        self.arrived = 0  # events that have ever been read

    def unread(self, events: list[Event]) -> list[Event]:
        return [event for event in events if event.record.offset >= self.ends[event.record.partition]]

    def process(self, events: list[Event]) -> ChunkResult:
        result = self.engine.run([event.record for event in events])
        self.unacked += read_outputs(result.outputs)
        self.unacked_letters |= {(letter.partition, letter.offset): letter.reason for letter in result.dead_letters}
        self.ends |= result.ends
        return result

    def evict(self, now_ms: int, events: Iterable[Event] = ()) -> None:
        """Let go of streams that no event has met for long enough."""
        for partition, committed in self.committed.items():
            before = min(committed, first_fresh(events, partition, now_ms))
            evicted = evict_all(self.engine, partition, before, now_ms)
            self.unacked += read_outputs(evicted.outputs)
            self.extra += evicted.tombstones

    def commit(self, torn_after: int | None = None) -> None:
        """All three stages; or a crash inside the second, after so many of the changes."""
        changes = self.extra + take_changed(self.engine, self.committed, streams=1)
        self.acknowledge()
        self.extra = []
        self.log.apply(changes[:torn_after])
        if torn_after is None:
            self.committed = dict(self.ends)

    def acknowledge(self) -> None:
        """The broker has everything that was sent."""
        self.published += self.unacked
        self.letters |= self.unacked_letters
        self.unacked, self.unacked_letters = [], {}

    def crash(self, outputs_were_sent: bool) -> None:
        if outputs_were_sent:
            self.acknowledge()
        self.unacked, self.unacked_letters, self.extra = [], {}, []
        self.store = self.log.recovered()
        self.engine = self.make_engine(self.store)
        self.ends = dict(self.committed)

    def lose_partitions(self) -> None:
        """They go away and come back: what counts then is what a recovery reads."""
        self.engine.drop([0, 1])
        self.log.fill(self.store)

    def live(self, events: list[Event], draw: Any) -> None:
        """Read all events, with commits, evictions, lost partitions and crashes at any point between chunks."""
        for _ in range(draw(st.integers(0, 3))):
            self._read(self.unread(events)[: draw(st.integers(0, 30))], events, draw)
            if draw(st.booleans()):
                self.commit(torn_after=draw(st.integers(0, 4)))
            self.crash(outputs_were_sent=draw(st.booleans()))
        self._read(self.unread(events), events, draw)
        self.commit()

    def _read(self, todo: list[Event], events: list[Event], draw: Any) -> None:
        for chunk in draw(cuts(todo)):
            self.process(chunk)
            action = draw(st.sampled_from(("none", "none", "commit", "evict", "drop")))
            if action != "none":
                self.commit()
            if action == "drop":
                self.lose_partitions()
            read = len(events) - len(self.unread(events))
            if action == "evict" and chunk and read >= self.arrived:  # not before the partitions' ends
                self.evict(events[read - 1].record.timestamp + draw(st.sampled_from((0, 4_999))), events)
            self.arrived = max(self.arrived, read)

    def end(self) -> None:
        """Everything becomes idle: every sequence is concluded, and the table is empty afterwards."""
        self.evict(LAST_OF_ALL_MS)
        self.commit()


class WatchedTable(MemoryTable):
    """Holds what the table promises about segments against every write."""

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[tuple[int, bytes], list[int]] = {}

    def apply(self, changes: Any) -> None:
        for change in changes:
            for key, blob in change.records:
                if key[:1] == SEGMENT:
                    self._watch(change, key, blob)
            super().apply([change])

    def _watch(self, change: Change, key: bytes, blob: bytes | None) -> None:
        place = (change.partition, key)
        number = int.from_bytes(key[1:9])
        if blob is not None:
            steps = unpack_segment(number, blob, 2**60).steps.tolist()
            before = self.history.setdefault(place, steps)
            shorter = min(len(before), len(steps))
            assert before[:shorter] == steps[:shorter], "a segment's key came to stand for other steps"
            self.history[place] = max(before, steps, key=len)
            return
        head = self.get(change.partition, HEAD + key[9:])
        ends_too = (HEAD + key[9:], None) in change.records
        assert head is None or ends_too or number not in needed_by(head), "the head in the table needs the segment"


def needed_by(head: bytes) -> list[int]:
    """Segment numbers in a head's body: count (8 bytes), how many (4), then 8 bytes each."""
    _, body = unpack_state(head, StreamState())
    return [int.from_bytes(body[i : i + 8], "little") for i in range(12, len(body), 8)]


def assert_same_head(expected: SlowState, found: StreamState) -> None:
    """What a state holds beside the model's part."""
    for name in ("offset", "append_ms", "timestamp_ms", "sequence", "previous", "step", "closed", "sample", "included"):
        assert getattr(expected, name) == getattr(found, name), name
    assert expected.skipped == tuple(range(found.gap_first, found.gap_end))
    assert expected.back == (None if found.back_step < 0 else (found.back_step, found.back_ms, found.back_offset))


def stored_rows(table: MemoryTable) -> dict[tuple[int, bytes], bytes]:
    return {(partition, key): blob for partition in table.rows for key, blob in table.items(partition)}
