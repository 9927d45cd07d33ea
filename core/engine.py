"""What signals and casts share: streams in memory, the verdict on each record, changes for the table, eviction.

An engine is synchronous and owns its streams. State belongs to (source partition, stream). Memory is ahead of the
table between two commits; whatever is lost of it is made again from the records past the table's offsets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from core.chunk import Change, ChunkResult, DeadLetter, Evicted, Record, StateStore, StreamRules
from core.errors import RecordError, StateError
from core.records import Headers, encoder, stream_id
from core.state import DUPLICATE, JUMP, LATE, NEXT, NO_STATE, Decision, StreamState, begin, decide, peek

EVICTION_GRACE_MS = 5_000  # a record on its way meets its stream before the eviction
NO_TIME = -1  # Kafka's word for a record without timestamp


class LiveStream(StreamState):
    """A stream in memory."""

    __slots__ = ("changed", "key", "listed", "name", "partition")

    def __init__(self, partition: int, key: bytes, name: str) -> None:
        super().__init__()
        self.partition = partition
        self.key = key
        self.name = name
        self.changed = False  # its state differs from the table's
        self.listed = False  # the next take_changed visits it


S = TypeVar("S", bound=LiveStream)
Sample = Any  # SignalSample or CastingSample: an engine decodes and applies its own kind


def _no_clock() -> float:
    return 0.0


class Engine(Generic[S]):
    """Base of SignalStepper and CastScorer.

    Args:
        model: fingerprint of the model behind it.
        rules: how records are judged.
        store: the recovered table; read when a stream is met, never written here.
        output_format: of the outputs, ``json`` or ``msgpack``.
        clock: seconds, for the shell's stage times; without one they stay 0.
    """

    def __init__(
        self, model: str, rules: StreamRules, store: StateStore, output_format: str, clock: Callable[[], float] | None
    ) -> None:
        self.rules = rules
        self._model = model
        self._store = store
        self._encode = encoder(output_format)
        self._clock = clock or _no_clock
        self._streams: defaultdict[int, dict[bytes, S]] = defaultdict(dict)
        self._listed: defaultdict[int, list[S]] = defaultdict(list)
        self._evicted: defaultdict[int, set[bytes]] = defaultdict(set)  # their tombstones may not be in the store yet
        self._oldest: dict[int, float] = {}  # append time below which no state is in the store alone
        self._home: dict[bytes, int] = {}  # the partition in which a live key was met first
        self._moved: set[bytes] = set()
        self._opened: list[S] = []
        self._result = ChunkResult()

    # What an engine adds for its kind of stream.

    def _decode(self, value: bytes | None, headers: Headers) -> Any:
        """A sample, or RecordError."""
        raise NotImplementedError

    def _create(self, partition: int, key: bytes, name: str) -> S:
        """A stream without state."""
        raise NotImplementedError

    def _load(self, stream: S, blob: bytes | None) -> str | None:
        """Read a stored state (None: there is none); why its model part goes to zeros, if so. Raises StateError."""
        raise NotImplementedError

    def _apply(self, stream: S, sample: Sample, decision: Decision) -> None:
        """Step the stream, whose metadata stand at the new record already, but for ``sample``."""
        raise NotImplementedError

    def _conclude(self, stream: S, append_ms: int) -> None:
        """The current sequence of a stream ends without its own word."""

    def _infer(self) -> Callable[[], None]:
        """Run the models on what the chunk gave; the function that encodes the outputs."""
        raise NotImplementedError

    def _pack(self, stream: S) -> list[tuple[bytes, bytes | None]]:
        """The table records of a listed stream."""
        raise NotImplementedError

    def _forget(self, stream: S) -> None:
        """A stream leaves memory."""

    def _table_key(self, key: bytes) -> bytes:
        """Where the stream's state stands in the table."""
        return key

    def _stream_key(self, table_key: bytes) -> bytes | None:
        """The stream whose state stands there; None for other records."""
        return table_key

    def _table_keys(self, stream: S) -> list[bytes]:
        """Every table key that a stream may have written."""
        return [self._table_key(stream.key)]

    # Records.

    def run(self, records: Iterable[Record]) -> ChunkResult:
        """Apply a chunk: the records of one topic, of any partitions, in offset order per partition.

        One bad record costs one dead letter. States are visible, and outputs complete, on return. An exception from
        here (of the model, of memory) leaves the engine between two states: end the worker.
        """
        result = self._result = ChunkResult()
        started = self._clock()
        for record in records:
            try:
                self._take(record)
            except RecordError as error:
                self._reject(record, error)
        self._settle_opened()
        self._finish(started)
        return result

    def _take(self, record: Record) -> None:
        partition, offset, key = record.partition, record.offset, record.key
        self._result.ends[partition] = offset + 1
        stream = self._streams[partition].get(key)  # type: ignore[arg-type]  # None is no stream's key
        if stream is None:
            stream = self._open(partition, key)
        if offset <= stream.offset:
            self._result.counts.duplicates["offset"] += 1
            return
        sample = self._decode(record.value, record.headers)
        append_ms = NO_TIME if record.timestamp is None else record.timestamp
        decision = decide(stream, sample.sequence or "", sample.step, append_ms, self.rules)
        if decision is NEXT:
            stream.step += 1
        elif not self._judge(stream, sample, decision, append_ms):
            return
        event_ms = sample.timestamp_ms
        stream.offset = offset
        stream.append_ms = append_ms
        stream.timestamp_ms = append_ms if event_ms is None else event_ms
        if not stream.changed:
            self._mark(stream)
        self._result.counts.processed += 1
        self._apply(stream, sample, decision)

    def _judge(self, stream: S, sample: Sample, decision: Decision, append_ms: int) -> bool:
        """Every case but the plain one, up to the record's own step; False if it is not to be applied."""
        counts = self._result.counts
        if decision is DUPLICATE:
            counts.duplicates["step"] += 1
            return False
        if decision is LATE:
            counts.late += 1
            raise RecordError("late", f"sequence '{sample.sequence or ''}' has ended, step {sample.step}")
        if decision is JUMP:
            limit = self.rules.max_step_jump
            raise RecordError("step_jump", f"step {sample.step} is more than {limit} past the stream's last")
        counts.gaps += decision.gap > 0
        if decision.reset is not None:
            counts.reset(decision.reset)
        if decision.fresh:
            if stream.offset != NO_STATE:
                self._conclude(stream, append_ms)
            begin(stream, sample.sequence or "", decision.reset)
        stream.step = decision.step
        return True

    def _reject(self, record: Record, error: RecordError) -> None:
        letter = DeadLetter(
            partition=record.partition,
            key=record.key,
            value=record.value,
            reason=error.reason,
            message=error.message,
            offset=record.offset,
            timestamp_ms=NO_TIME if record.timestamp is None else record.timestamp,
            headers=record.headers or (),
        )
        self._result.dead_letters.append(letter)

    def _finish(self, started: float) -> None:
        result = self._result
        decoded = self._clock()
        encode = self._infer()
        inferred = self._clock()
        encode()
        result.decode_s = decoded - started
        result.infer_s = inferred - decoded
        result.encode_s = self._clock() - inferred

    def _publish(self, stream: S, output: Any, offset: int, append_ms: int) -> None:
        entry = (stream.key, self._encode(output), offset, append_ms)
        self._result.outputs.setdefault(stream.partition, []).append(entry)

    # Streams.

    def _open(self, partition: int, key: bytes | None) -> S:
        """A stream that is not in memory: from the table, or new. Raises RecordError for a key that names none."""
        name = stream_id(key)
        assert key is not None
        stream = self._streams[partition][key] = self._restore(partition, key, name)
        self._opened.append(stream)
        return stream

    def _restore(self, partition: int, key: bytes, name: str) -> S:
        stream = self._create(partition, key, name)
        gone = key in self._evicted[partition]
        blob = None if gone else self._store.get(partition, self._table_key(key))
        try:
            reset = self._load(stream, blob)
        except StateError as error:
            stream.clear()
            reset = error.reason
        if reset is not None:
            self._result.counts.reset(reset)
        return stream

    def _settle_opened(self) -> None:
        """Keep the streams that got or had a state; the others nobody would ever evict."""
        for stream in self._opened:
            if stream.offset == NO_STATE:
                self._remove(stream)
                continue
            key, home = stream.key, self._home.setdefault(stream.key, stream.partition)
            if home != stream.partition and key not in self._moved:
                self._moved.add(key)
                self._result.counts.moved += 1
                self._result.moved.append((key, home, stream.partition))
        self._opened.clear()

    def _remove(self, stream: S) -> None:
        self._streams[stream.partition].pop(stream.key, None)
        if self._home.get(stream.key) == stream.partition:
            del self._home[stream.key]
        self._forget(stream)

    def _mark(self, stream: S) -> None:
        stream.changed = True
        self._list(stream)

    def _list(self, stream: S) -> None:
        if not stream.listed:
            stream.listed = True
            self._listed[stream.partition].append(stream)

    def active(self, partition: int | None = None) -> int:
        """Streams in memory, of one partition or of all."""
        if partition is None:
            return sum(map(len, self._streams.values()))
        return len(self._streams.get(partition, ()))

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget all live state of partitions that are owned no longer; the store serves it on the next use."""
        for partition in partitions:
            for stream in list(self._streams.get(partition, {}).values()):
                self._remove(stream)
            self._streams.pop(partition, None)
            for kept in (self._listed, self._evicted, self._oldest):
                kept.pop(partition, None)

    # Commits.

    def take_changed(self, partitions: Iterable[int]) -> list[Change]:
        """The table records of every stream that changed since it was last taken, and from now on unchanged.

        Call it again only when the records of the call before are acked and in the store.
        """
        changes = []
        for partition in sorted(partitions):
            for stream in self._listed.pop(partition, []):
                stream.listed = False
                if stream.offset == NO_STATE:  # evicted since
                    continue
                records = self._pack(stream)
                stream.changed = False
                if records:
                    changes.append(Change(partition, stream.offset, records))
        return changes

    # Eviction.

    def evict(self, partition: int, now_ms: int, committed_offset: int) -> Evicted:
        """Take out the streams, in memory or only in the store, that have been idle for long enough.

        Memory is freed and nothing else: their next record would have found them idle in any case.

        Args:
            partition: read to its end.
            now_ms: the clock.
            committed_offset: the next offset to read after a crash; only states before it may go.
        """
        before, result = self._result, ChunkResult()
        self._result = result
        gone = self._evicted[partition]
        gone -= {key for key in gone if self._store.get(partition, self._table_key(key)) is None}
        limit_ms = now_ms - self.rules.idle_timeout_ms - EVICTION_GRACE_MS
        due = [
            stream
            for stream in self._streams.get(partition, {}).values()
            if stream.append_ms < limit_ms and stream.offset < committed_offset
        ]
        due += self._stored_due(partition, limit_ms, committed_offset)
        due.sort(key=lambda stream: stream.offset)
        tombstones = []
        for stream in due:
            self._conclude(stream, now_ms)
            tombstones.append(Change(partition, stream.offset, [(key, None) for key in self._table_keys(stream)]))
            gone.add(stream.key)
            self._remove(stream)
        self._finish(self._clock())
        for stream in due:
            stream.offset = NO_STATE  # a list for take_changed may still hold it
        self._result = before
        result.counts.resets.clear()  # what was only loaded to be let go was not reset
        return Evicted(result.outputs, tombstones, result.counts)

    def _stored_due(self, partition: int, limit_ms: int, committed_offset: int) -> list[S]:
        """The due streams that only the store knows. Not a look at the store while none of them can be due."""
        if self._oldest.get(partition, float("-inf")) >= limit_ms:
            return []
        live, gone = self._streams.get(partition, {}), self._evicted[partition]
        oldest, keys = float("inf"), []
        for table_key, blob in self._store.items(partition):
            key = self._stream_key(table_key)
            head = None if key is None or key in live or key in gone else peek(blob)
            if key is None or head is None:
                continue
            offset, append_ms = head
            if append_ms < limit_ms and offset < committed_offset:
                keys.append(key)
            else:
                oldest = min(oldest, append_ms)
        self._oldest[partition] = oldest
        return self._restored(partition, keys)

    def _restored(self, partition: int, keys: list[bytes]) -> list[S]:
        """Streams for eviction; a corrupt state has no offset that would let it go."""
        streams = []
        for key in keys:
            stream = self._restore(partition, key, key.decode(errors="replace"))
            if stream.offset == NO_STATE:
                self._forget(stream)
            else:
                streams.append(stream)
        return streams
