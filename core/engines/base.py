"""The engine of both tasks: streams in memory, the verdict on each record, changes for the table, eviction.

An engine is synchronous and owns its streams. State belongs to (source partition, stream). Between two commits memory
is ahead of the table; lost memory is computed again from the records past the table's offsets.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from core.arrays import Floats
from core.engines.eviction import IdleStreams
from core.engines.notes import outside_note
from core.engines.results import ChunkResult, DeadLetter, Evicted, StateStore, StreamRules
from core.engines.state import NEXT, Decision, Fate, begin, decide, enter, refusal, step_back, unpack_state
from core.errors import RecordError, StateError
from core.firsts import Firsts
from core.models.ranges import Ranges
from core.native.fields import FieldList
from core.native.records import Record, Records, parts_of
from core.native.streams import NO_STATE, NO_STEP, NOT_LISTED, LiveStream, StreamState
from core.native.turns import Turn
from core.wire.near_names import near_names
from core.wire.outputs import OutputField
from core.wire.records import SampleHeaders, stream_id
from core.wire.sample_types import block_of, lacked

S = TypeVar("S", bound=LiveStream)
MANY_REPEATS = 10
"""Duplicates by step in a row of one stream that are reported: a sender repeats a few, a restarted counter all."""

Sample = Any  # SignalSample or CastingSample: an engine decodes and applies its own kind


class Engine(Generic[S]):
    """Base of SignalStepper and CastScorer.

    Args:
        model: fingerprint of the model behind it.
        fields: of the task's samples.
        rules: how records are judged.
        store: the recovered table. A stream that is met takes its state out; nothing is put in here.
        clock: seconds, for the shell's stage times; without one they stay 0.
    """

    def __init__(
        self,
        model: str,
        fields: FieldList,
        rules: StreamRules,
        store: StateStore,
        clock: Callable[[], float] | None,
    ) -> None:
        self.rules = rules
        self._model = model
        self._fields = fields
        self._store = store
        self._clock = clock or (lambda: 0.0)
        self._streams: defaultdict[int, dict[bytes, S]] = defaultdict(dict)
        self._listing = 1  # the commit that will write what changes now; the one before it may still be writing
        self._listed: defaultdict[int, list[S]] = defaultdict(list)  # by partition, what it will write
        self._cut: dict[int, list[S]] = {}  # the same of the commit that is being written
        self._packed: dict[int, Records] = {}  # what of it is packed already, by partition
        self._idle: IdleStreams[S] = IdleStreams(self._streams, store, self._stream_key)
        self._moved: set[bytes] = set()
        self._lost = 0  # states that an eviction found corrupt: counted with the next chunk
        self._opened: list[S] = []
        self._firsts = Firsts()
        self._result = ChunkResult()

    # What an engine adds for its task.

    @property
    def outputs(self) -> Sequence[OutputField]:
        """The outputs of a record, in their order."""
        raise NotImplementedError

    def warm_up(self) -> None:
        """Run some batch shapes, so that no live chunk pays for a first call."""
        raise NotImplementedError

    def _decode(self, value: bytes | None, headers: SampleHeaders) -> Any:
        """A sample, or RecordError."""
        raise NotImplementedError

    def _create(self, partition: int, key: bytes) -> S:
        """A stream without state."""
        raise NotImplementedError

    def _load(self, stream: S, blob: bytes | None) -> str | None:
        """Read a stored state (None: there is none); why its model part goes to zeros, if so. Raises StateError."""
        raise NotImplementedError

    def _apply(self, stream: S, values: tuple[float, ...], decision: Decision, ends: bool) -> None:
        """Step the stream with a sample (F,), which ``ends`` the sequence or not.

        Its metadata stand at the new record already, but for ``sample``.
        """
        raise NotImplementedError

    def _conclude(self, stream: S, append_ms: int) -> None:
        """End the current sequence of a stream without a record that says so."""

    def _infer(self) -> Callable[[], None]:
        """Run the models on what the chunk gave; the function that encodes the outputs."""
        raise NotImplementedError

    def _pack(self, stream: S) -> None:
        """Append the table records of a stream, as it stands now, to `_packed`."""
        raise NotImplementedError

    def _pack_rest(self) -> None:
        """Finish what `_pack` has left open, before the models run."""

    def _rewrite(self, stream: S) -> None:
        """Have the next `_pack` write every table record of a stream, also what has not changed."""

    def _forget(self, stream: S) -> None:
        """A stream leaves memory."""

    def _table_key(self, key: bytes) -> bytes:
        """Return the key of the stream's state in the table."""
        return key

    def _stream_key(self, table_key: bytes) -> bytes | None:
        """The stream whose state stands there; None for other records."""
        return table_key

    def _table_keys(self, stream: S) -> list[bytes]:
        """Every table key that a stream may have written."""
        return [self._table_key(stream.key)]

    # Records.

    def run(self, records: Iterable[Record | Records]) -> ChunkResult:
        """Apply a chunk: the records of one topic, of any partitions, in offset order per partition.

        One bad record costs one dead letter. States are visible, and outputs complete, on return. An exception from
        here (of the model, of memory) leaves the engine between two states: end the worker.
        """
        result = self._result = ChunkResult()
        started = self._clock()
        if self._lost:
            result.counts.resets["corrupt_state"], self._lost = self._lost, 0
        for part in parts_of(records):
            if len(part):
                result.ends[part.partition] = part.last_offset + 1
                self._take_part(part)
        self._settle_opened()
        self._finish(started)
        return result

    def _take_part(self, part: Records) -> None:
        for record in part:
            self._take_one(record)

    def _add_counts(self, turn: Turn) -> None:
        """Count what a turn has taken the compiled way."""
        counts = self._result.counts
        counts.processed += turn.processed
        for near, count in turn.near_misses.items():
            counts.meet_near(near, count)
        for name, count in turn.held.items():
            counts.hold(name, count)

    def _take_one(self, record: Record) -> None:
        try:
            self._take(record)
        except RecordError as error:
            self._reject(record, error)

    def _take(self, record: Record) -> None:
        offset, append_ms = record.offset, record.timestamp
        stream = self._streams[record.partition].get(record.key)  # type: ignore[arg-type]  # None is no stream's key
        if stream is None:
            stream = self._open(record.partition, record.key)
        if offset <= stream.included:
            self._result.counts.duplicates["offset"] += 1
            return
        sample = self._decode(record.value, record.headers)
        decision = decide(stream, sample.sequence or "", sample.step, append_ms, sample.timestamp_ms, self.rules)
        if decision.fate is not Fate.ADVANCE:
            self._turn_away(stream, sample, decision.fate, offset)
            return
        missing = lacked(sample, self._fields.may_lack)
        if missing and (decision.fresh or not stream.width):
            text = f"{missing[0]} is missing, and the sequence has no earlier sample to take it from"
            raise RecordError("missing_field", text)
        self._touch(stream)
        if decision is NEXT:
            stream.step += 1
        else:
            self._enter(stream, sample, decision, append_ms)
        event_ms = sample.timestamp_ms
        stream.offset = offset
        stream.back_step = NO_STEP
        stream.append_ms = append_ms
        stream.timestamp_ms = append_ms if event_ms is None else event_ms
        self._result.counts.processed += 1
        for near in near_names(record.value or b"", sample, self._fields):
            self._result.counts.meet_near(near)
        for name in missing:
            self._result.counts.hold(name)
        values = block_of(sample, self._fields.fields, self._before(stream, decision), decision.reset is None)
        self._apply(stream, values, decision, ends=bool(getattr(sample, "end", False)))

    def _before(self, stream: S, decision: Decision) -> Sequence[float]:
        return (0.0,) * self._fields.width if decision.fresh or not stream.width else stream.sample

    def _turn_away(self, stream: S, sample: Sample, fate: Fate, offset: int) -> None:
        """Count a record that is not to be applied. Raises RecordError unless it is a duplicate."""
        counts = self._result.counts
        if fate is Fate.DUPLICATE:
            counts.duplicates["step"] += 1
            self._note_repeat(stream, offset)
            return
        counts.late += fate in (Fate.LATE, Fate.SKIPPED)
        if fate is Fate.STEP_BACK:
            self._touch(stream)
            step_back(stream, sample.step, sample.timestamp_ms, offset)
        raise refusal(fate, stream, sample.sequence or "", sample.step, self.rules)

    def _note_repeat(self, stream: S, offset: int) -> None:
        """Count a duplicate by step: many in a row are reported, as whatever the stream sends may be lost."""
        if stream.repeated_at != stream.offset:  # it has advanced since
            stream.repeated_at, stream.repeats = stream.offset, 0
        stream.repeats += 1
        if stream.repeats == MANY_REPEATS:
            self._result.counts.repeating += 1
            if not stream.is_told:
                stream.is_told = True
                self._result.repeating.append((stream.key, stream.partition, offset))

    def _enter(self, stream: S, sample: Sample, decision: Decision, append_ms: int) -> None:
        """Do everything but the record's own step: gaps, resets, the end of one sequence and the start of another."""
        counts = self._result.counts
        counts.gaps += decision.gap > 0
        if decision.reset is not None:
            counts.reset(decision.reset)
        if decision.fresh:
            if stream.offset != NO_STATE:
                self._conclude(stream, append_ms)
            begin(stream, sample.sequence or "", decision.reset)
        enter(stream, decision)

    def _reject(self, record: Record, error: RecordError) -> None:
        self._result.dead_letters.append(DeadLetter.of(record, error))

    def _finish(self, started: float) -> None:
        result = self._result
        self._pack_rest()
        decoded = self._clock()
        encode = self._infer()
        inferred = self._clock()
        encode()
        result.decode_s = decoded - started
        result.infer_s = inferred - decoded

    def _note_outside(self, ranges: Ranges, samples: Floats, place_of: Callable[[int], tuple[str, int]]) -> None:
        """Count samples (N, F) that lie far outside, and have the first of each field logged.

        ``place_of``: stream and step of one of them.
        """
        for found in ranges.far_outside(samples):
            self._result.counts.outside(found.field, found.count)
            if self._firsts.take(found.field):
                self._result.notes.append(outside_note(found, place_of))

    # Streams.

    def _open(self, partition: int, key: bytes | None) -> S:
        """A stream that is not in memory: from the table, or new. Raises RecordError for a key that names none."""
        stream_id(key)
        assert key is not None
        if key[:1] in b'"{':
            self._result.quoted_keys.append(key)
        stream = self._streams[partition][key] = self._restore(partition, key)
        self._opened.append(stream)
        return stream

    def _restore(self, partition: int, key: bytes) -> S:
        """A stream as the store has it. It is taken out there: from now on memory stands for it."""
        stream = self._create(partition, key)
        blob = self._store.take(partition, self._table_key(key))
        self._result.opened += blob is None
        try:
            reset = self._load(stream, blob)
        except StateError as error:
            stream.clear()
            reset = error.reason
        if reset is not None:
            self._result.counts.reset(reset)
        return stream

    def _check_width(self, stream: S) -> None:
        """Raise StateError for a stored sample of another width than the task's."""
        if stream.width not in (0, self._fields.width):  # 0: none was kept when the fields changed
            raise StateError(
                "corrupt_state", f"a sample of {stream.width} numbers, where the task has {self._fields.width}"
            )

    def _is_of_others(self, stream: S, model: str, digits: int) -> bool:
        """True if a stored sample is of other fields than those of now, by its width or by the writer's fingerprint."""
        return stream.width != self._fields.width or model[:digits] != self._model[:digits]

    def _settle_opened(self) -> None:
        """Keep the streams that got or had a state; drop the others, which nothing would ever evict."""
        later = set(self._opened)
        for stream in self._opened:
            later.remove(stream)
            if stream.offset == NO_STATE:
                self._remove(stream)
                continue
            self._idle.opened(stream)
            self._notice_move(stream, later)
        self._opened.clear()

    def _notice_move(self, stream: S, later: set[S]) -> None:
        """Count a key that was met in another partition before; ``later``: streams met after this one."""
        key = stream.key
        if key in self._moved:
            return
        for partition, streams in self._streams.items():
            if partition != stream.partition and key in streams and streams[key] not in later:
                self._moved.add(key)
                self._result.counts.moved += 1
                self._result.moved.append((key, partition, stream.partition))
                return

    def _remove(self, stream: S) -> None:
        self._streams[stream.partition].pop(stream.key, None)
        self._forget(stream)

    def _touch(self, stream: S) -> None:
        """Before a stream changes: its old state is saved for the commit that is being written, its new one listed."""
        if stream.listed == self._listing:
            return
        if stream.listed != NOT_LISTED:
            self._pack(stream)
        self._list(stream)

    def _list(self, stream: S) -> None:
        if stream.listed != self._listing:
            stream.listed = self._listing
            self._listed[stream.partition].append(stream)

    def active(self) -> int:
        """Streams in memory."""
        return sum(map(len, self._streams.values()))

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget all live state of partitions that are owned no longer; recovery fills the store for the next use."""
        for partition in partitions:
            for stream in self._streams.pop(partition, {}).values():
                self._forget(stream)
            for kept in (self._listed, self._cut, self._packed):
                kept.pop(partition, None)
            self._idle.drop(partition)

    # Commits.

    def cut(self, partitions: Iterable[int]) -> dict[int, int]:
        """Fix what a commit writes: all streams that changed since the cut before, as they are; how many, by partition.

        Nothing is packed here, so that no number of streams stops the flow of chunks: `take_packed` does it bit by bit,
        and a stream that changes meanwhile is packed before it does. Cut again only when all of it has been taken.
        """
        self._cut = {partition: self._listed.pop(partition, []) for partition in partitions}
        self._packed = {}
        self._listing += 1
        return {partition: len(streams) for partition, streams in self._cut.items() if streams}

    def take_packed(self, partition: int, streams: int) -> Records | None:
        """The next table records of the cut, of about ``streams`` streams; None when all have been taken."""
        waiting = self._cut.get(partition, [])
        part = waiting[-streams:]
        del waiting[-streams:]
        for stream in part:
            # Not those that have changed and been packed since, nor those that are evicted.
            if stream.listed != self._listing and stream.offset != NO_STATE:
                stream.listed = NOT_LISTED
                self._pack(stream)
        self._pack_rest()
        packed = self._packed.pop(partition, None)
        return packed if packed is not None or not part else Records(partition)

    def rewrite(self, partition: int) -> None:
        """Have the next commit write every stream of a partition, changed or not."""
        for stream in self._streams.get(partition, {}).values():
            self._touch(stream)
            self._rewrite(stream)

    def holds(self, partition: int, table_key: bytes) -> bool:
        """True if a stream in memory stands for a table key."""
        return self._stream_key(table_key) in self._streams.get(partition, {})

    def may_conclude(self, partition: int, key: bytes, offset: int) -> bool:
        """True if the sequence whose last sample came at ``offset`` is still open, so that its end is still to come."""
        state: StreamState | None = self._streams.get(partition, {}).get(key)
        if state is None:
            state = StreamState()
            blob = self._store.get(partition, self._table_key(key))
            with contextlib.suppress(StateError):
                unpack_state(blob or b"", state)
        return state.offset == offset and not state.closed

    # Eviction.

    def evict(self, partition: int, before: int, now_ms: int) -> Iterator[Evicted]:
        """Take out the streams, in memory or only in the store, that have been idle for long enough, bit by bit.

        Memory is freed and nothing else: their next record would have found them idle in any case. Chunks may be
        applied between two steps; no commit's cut may lie open.

        Args:
            partition: of which all is applied that the log held when ``before`` was found.
            before: the offset below which everything is committed, and older than the idle timeout: any record of
                these streams that is still to come finds them idle.
            now_ms: the time that final scores get as their records' append time.
        """
        for found in self._idle.live(partition, before):
            # A step ago they were idle, and a chunk may have come since.
            due = [stream for stream in found if self._idle.is_idle(stream, before)]
            yield self._let_go(partition, due, now_ms)
        for keys in self._idle.stored(partition, before):
            yield self._let_go(partition, self._restored(partition, keys), now_ms)

    def _let_go(self, partition: int, due: list[S], now_ms: int) -> Evicted:
        before, result = self._result, ChunkResult()
        self._result = result
        due.sort(key=lambda stream: stream.offset)
        tombstones = Records(partition)
        for stream in due:
            self._conclude(stream, now_ms)
            *keys, last = self._table_keys(stream)
            for key in keys:
                tombstones.append(key, None, stream.included, 0, tied=True)
            tombstones.append(last, None, stream.included, 0)
            self._remove(stream)
        self._finish(self._clock())
        for stream in due:
            stream.clear()  # a list of changed streams may still hold it
        self._result = before
        result.counts.resets.clear()  # what was only loaded to be evicted was not reset
        return Evicted(result.outputs, tombstones, result.counts, result.deferred, result.notes)

    def _restored(self, partition: int, keys: list[bytes]) -> list[S]:
        """Load streams for eviction. A corrupt state has no offset and can never be evicted, so it is counted here."""
        before, self._result = self._result, ChunkResult()
        streams = []
        for key in keys:
            if key in self._streams.get(partition, {}) or not _names_a_stream(key):  # met by a chunk since, or not ours
                continue
            stream = self._restore(partition, key)
            if stream.offset == NO_STATE:
                self._forget(stream)
            else:
                streams.append(stream)
        self._lost += self._result.counts.resets.get("corrupt_state", 0)
        self._result = before
        return streams


def _names_a_stream(key: bytes) -> bool:
    """True if a record may have this key: other keys are in the table only if somebody else has written to it.

    Keys with NULs named streams in version 0.1, whose states are evicted as all others.
    """
    try:
        stream_id(key.replace(b"\0", b" "))
    except RecordError:
        return False
    return True
