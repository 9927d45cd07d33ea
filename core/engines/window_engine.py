"""WindowEngine: keeps the window of every stream and scores those that are due, all of a chunk together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from core.engines.base import Engine
from core.engines.results import StateStore, StreamRules, WindowRules
from core.engines.scoring import Pending, Scoring, WindowTask
from core.engines.state import Decision, unpack_state
from core.engines.table_keys import head_at, head_key, segment_at, segment_key
from core.engines.windows import CastWindow, unpack_body
from core.errors import StateError
from core.models.ranges import no_limits
from core.native.outputs import NamedOutputs
from core.native.records import Records
from core.native.window_states import WindowPacker
from core.native.windows import CastStream, WindowTurn
from core.wire.outputs import OutputField
from core.wire.records import OutputFormat, SampleHeaders

_WARM_WINDOWS = (1, 8)


class WindowEngine(Engine[CastStream]):
    """Samples of a task in, an output for each window that is due out.

    Args:
        task: its fields, outputs, codec and model.
        rules: how records are judged.
        window_rules: what an output sees and when it is due.
        store: the recovered table: heads and segments.
        output_format: ``json`` or ``msgpack``.
        clock: seconds, for ``ChunkResult``'s stage times.
        deferred: outputs are not computed by `run` and `evict`, but left to the caller as ``ChunkResult.deferred``.
    """

    def __init__(
        self,
        task: WindowTask,
        rules: StreamRules,
        window_rules: WindowRules,
        store: StateStore,
        output_format: OutputFormat = "json",
        clock: Callable[[], float] | None = None,
        deferred: bool = False,
    ) -> None:
        super().__init__(task.fingerprint, task.fields, rules, store, clock)
        self._task = task
        self._writer = NamedOutputs(task.outputs, output_format, task.fingerprint)
        self._deferred = deferred
        self.window_rules = window_rules
        self._packer = WindowPacker(self._model, head_key, segment_key)
        self._pending: list[Pending] = []
        self._limits = no_limits(self._fields.width) if task.ranges is None else task.ranges.limits()
        self._strange: list[tuple[CastStream, int, tuple[float, ...]]] = []  # of a chunk, outside the limits
        self._shelves: dict[int, dict[bytes, list[int]]] = {}  # stored segments of the streams not met yet

    @property
    def outputs(self) -> Sequence[OutputField]:
        return self._task.outputs

    def warm_up(self) -> None:
        """Score some windows first, so that no live chunk pays for a first call."""
        for length in (self.window_rules.window_min, self.window_rules.window_length):
            window = np.zeros((length, self._fields.width), np.float32)
            for windows in _WARM_WINDOWS:
                self._task.model.score([window] * windows, [np.arange(length)] * windows)

    # Records.

    def _take_part(self, part: Records) -> None:
        rules = self._fields, self._listing, self.rules.idle_timeout_ms
        turn = WindowTurn(self._limits, self._strange, self._score, *rules, self._take_one, self._pack)
        turn.take(part, self._streams[part.partition], self._listed[part.partition])
        self._add_counts(turn)

    def _decode(self, value: bytes | None, headers: SampleHeaders) -> Any:
        return self._task.decode(value, headers)

    def _apply(self, stream: CastStream, values: tuple[float, ...], decision: Decision, ends: bool) -> None:
        window = stream.window
        if decision.fresh or decision.reset is not None:
            stream.retired += window.clear()
        window.open(stream.offset)
        if stream.width:  # else no sample is known that a gap could hold
            for step in range(stream.step - decision.held, stream.step):
                window.add(step, stream.sample)
        stream.sample = values
        if not self._limits.hold(values):
            self._strange.append((stream, stream.step, values))
        window.add(stream.step, values)
        stream.retired += window.trim()
        if ends:
            self._end(stream, stream.append_ms)
        elif window.due:
            self._score(stream, stream.append_ms, final=False)

    def _conclude(self, stream: CastStream, append_ms: int) -> None:
        if not stream.closed:
            self._end(stream, append_ms)

    def _end(self, stream: CastStream, append_ms: int) -> None:
        """The final output. A sequence that has ended needs no window any more."""
        self._score(stream, append_ms, final=True)
        stream.retired += stream.window.clear()
        stream.closed = True

    def _score(self, stream: CastStream, append_ms: int, final: bool) -> None:
        window = stream.window.view()
        self._pending.append(
            Pending(
                stream=stream,
                sequence=stream.sequence,
                step=stream.step,
                timestamp_ms=stream.timestamp_ms,
                offset=stream.offset,
                append_ms=append_ms,
                window=window,
                final=final,
                # Fewer are kept than were counted where the rules of before kept fewer.
                too_short=len(window.steps) < self.window_rules.window_min,
            )
        )

    def _infer(self) -> Callable[[], None]:
        scoring = Scoring(self._task, self._writer, self._pending, self._firsts)
        self._pending = []
        self._watch_ranges()
        if not scoring.pending:
            return lambda: None
        if self._deferred:
            self._result.deferred = scoring
            return lambda: None
        scoring.compute()
        return partial(scoring.finish, self._result)

    def _watch_ranges(self) -> None:
        """Count what came of values far outside what the model was trained on, or of what is normal."""
        strange, self._strange = self._strange, []
        if strange and self._task.ranges is not None:
            samples = np.array([values for _, _, values in strange])
            self._note_outside(self._task.ranges, samples, lambda place: (strange[place][0].name, strange[place][1]))

    # The table.

    def _create(self, partition: int, key: bytes) -> CastStream:
        return CastStream(partition, key, CastWindow(self.window_rules, self._fields.width))

    def _load(self, stream: CastStream, blob: bytes | None) -> str | None:
        numbers = self._shelf(stream.partition).pop(stream.key, [])
        stream.retired = numbers  # until a head is found that needs them
        blobs = {number: self._store.take(stream.partition, segment_key(stream.key, number)) for number in numbers}
        if blob is None:
            return None
        model, body = unpack_state(blob, stream)  # another model's window is as good: nothing goes to zeros
        if model != self._model and self._is_of_others(stream, model, self._task.fields_digits):  # then it is none
            stream.sample = ()
            return "model"
        self._check_width(stream)
        width, largest = self._fields.width, self._task.largest
        stream.window = unpack_body(body, stream.step, self.window_rules, blobs.get, width, largest)
        was_emptied = self._task.fields_digits and stream.window.count == 0
        if not (stream.closed or stream.window.segments or was_emptied):
            raise StateError("corrupt_state", "a sequence that has not ended has no samples")
        needed = {segment.number for segment in stream.window.segments}
        stream.retired = [number for number in numbers if number not in needed]
        return None

    def _shelf(self, partition: int) -> dict[bytes, list[int]]:
        """Numbers of all segments in the table, by stream: a crash leaves some that no head names."""
        shelf = self._shelves.get(partition)
        if shelf is None:
            shelf = self._shelves[partition] = {}
            for table_key in self._store.keys(partition):
                if (segment := segment_at(table_key)) is not None:
                    key, number = segment
                    shelf.setdefault(key, []).append(number)
        return shelf

    def _pack(self, stream: CastStream) -> None:
        packed = self._packed.setdefault(stream.partition, Records(stream.partition))
        self._packer.pack(stream, packed)
        if stream.stale:
            self._list(stream)  # their tombstones follow in the next commit, also if nothing else changes

    def _touch(self, stream: CastStream) -> None:
        super()._touch(stream)
        stream.changed = True

    def _rewrite(self, stream: CastStream) -> None:
        stream.changed = True
        for segment in stream.window.segments:
            segment.changed = True

    def holds(self, partition: int, table_key: bytes) -> bool:
        """True if a stream in memory stands for a table key: its head, or a segment of its window."""
        segment = segment_at(table_key)
        if segment is None:
            return super().holds(partition, table_key)
        stream = self._streams.get(partition, {}).get(segment[0])
        return stream is not None and table_key in self._table_keys(stream)

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget all live state of partitions that are owned no longer; recovery fills the store for the next use."""
        partitions = list(partitions)
        super().drop(partitions)
        for partition in partitions:
            self._shelves.pop(partition, None)

    def _table_key(self, key: bytes) -> bytes:
        return head_key(key)

    def _stream_key(self, table_key: bytes) -> bytes | None:
        return head_at(table_key)

    def _table_keys(self, stream: CastStream) -> list[bytes]:
        numbers = {segment.number for segment in stream.window.segments} | set(stream.retired) | set(stream.stale)
        return [head_key(stream.key), *(segment_key(stream.key, number) for number in sorted(numbers))]
