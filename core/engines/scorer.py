"""CastScorer: keeps the window of every cast and scores those that are due, all of a chunk together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from core.engines.base import Engine
from core.engines.infer import MAX_WINDOWS, prepare, score_windows
from core.engines.notes import not_finite_note
from core.engines.results import ChunkResult, StateStore, StreamRules, WindowRules
from core.engines.state import Decision, unpack_state
from core.engines.table_keys import head_at, head_key, segment_at, segment_key
from core.engines.windows import CastWindow, unpack_body
from core.errors import StateError
from core.firsts import Firsts
from core.models.defect_lstm import SteelDefectLSTM
from core.models.fingerprint import fingerprint
from core.models.ranges import CASTING_FIELDS, NO_LIMITS, Ranges
from core.native.fields import FieldList
from core.native.records import Outputs, Records
from core.native.window_states import WindowPacker
from core.native.windows import CastStream, WindowSamples, WindowTurn
from core.tasks.reading import shipped
from core.wire.records import (
    FEATURES,
    NOT_FINITE,
    CastingSample,
    OutputFormat,
    SampleHeaders,
    Score,
    decode_casting,
    encoder,
    published,
)


class Pending(NamedTuple):
    """A score to come."""

    stream: CastStream
    sequence: str
    step: int
    timestamp_ms: int
    offset: int
    append_ms: int
    window: WindowSamples
    final: bool
    too_short: bool


@dataclass
class Scoring:
    """The scores of one chunk: a `core.engines.results.Deferred`."""

    model: SteelDefectLSTM
    fingerprint: str
    encode: Callable[[Score], bytes]
    pending: list[Pending]
    firsts: Firsts
    scored: tuple[list[float], list[int]] = ([], [])

    @property
    def windows(self) -> int:
        """The number of windows to run the model on."""
        return sum(not score.too_short for score in self.pending)

    def compute(self) -> None:
        """Run the model."""
        prepare(self.model)  # in this thread: torch has a number of threads for each
        self.scored = score_windows(self.model, [p.window.samples for p in self.pending if not p.too_short])

    def finish(self, result: ChunkResult) -> None:
        """Add outputs and counts."""
        probabilities, peaks = self.scored
        counts = result.counts
        counts.probabilities = [probability for probability in probabilities if math.isfinite(probability)]
        counts.batch_streams = self.windows
        counts.batch_steps = sum(len(score.window.steps) for score in self.pending if not score.too_short)
        scored = iter(zip(probabilities, peaks, strict=True))
        for score in self.pending:
            probability, peak = (None, None) if score.too_short else next(scored)
            self._add(result, score, probability, peak)

    def _add(self, result: ChunkResult, pending: Pending, probability: float | None, peak: int | None) -> None:
        stream, steps = pending.stream, pending.window.steps
        probability, peak, reason = published(probability, peak)
        if reason == NOT_FINITE:
            result.counts.not_finite += 1
            if self.firsts.take(NOT_FINITE):
                result.notes.append(not_finite_note("probability", stream.name, pending.step))
        score = Score(
            stream=stream.name,
            sequence=pending.sequence,
            step=pending.step,
            start=int(steps[0]),
            length=len(steps),
            timestamp_ms=pending.timestamp_ms,
            probability=probability,
            attention_peak=None if peak is None else int(steps[peak]),
            final=pending.final,
            model=self.fingerprint,
            reason=reason,
        )
        outputs = result.outputs.setdefault(stream.partition, Outputs(stream.partition))
        outputs.append(stream.key, self.encode(score), pending.offset, pending.append_ms)
        result.counts.scores[pending.final] += 1


class CastScorer(Engine[CastStream]):
    """casting-samples in, casting-scores out.

    Args:
        model: its mode is set to eval.
        rules: how records are judged.
        window_rules: what a score sees and when it is due.
        store: the recovered ``casting-windows`` table: heads and segments.
        output_format: ``json`` or ``msgpack``.
        clock: seconds, for ``ChunkResult``'s stage times.
        deferred: scores are not computed by `run` and `evict`, but left to the caller as ``ChunkResult.deferred``.
    """

    def __init__(
        self,
        model: SteelDefectLSTM,
        rules: StreamRules,
        window_rules: WindowRules,
        store: StateStore,
        output_format: OutputFormat = "json",
        clock: Callable[[], float] | None = None,
        deferred: bool = False,
    ) -> None:
        super().__init__(fingerprint(model), FieldList(shipped("casting").fields, end=True), rules, store, clock)
        self.model = model.eval()
        self._encode = encoder(output_format)
        self._deferred = deferred
        self.window_rules = window_rules
        self._packer = WindowPacker(self._model, head_key, segment_key)
        self._pending: list[Pending] = []
        self._ranges = Ranges.read(model.training_ranges, CASTING_FIELDS)
        self._limits = NO_LIMITS if self._ranges is None else self._ranges.limits()
        self._strange: list[tuple[CastStream, int, tuple[float, ...]]] = []  # of a chunk, outside the limits
        self._shelves: dict[int, dict[bytes, list[int]]] = {}  # stored segments of the streams not met yet

    def warm_up(self) -> None:
        """Run some batch shapes, so that no live chunk pays for a first call. Sets torch up, too."""
        prepare(self.model)
        for windows in (1, 8, MAX_WINDOWS):
            for length in (self.window_rules.window_min, self.window_rules.window_length):
                if windows * length <= 2**13:
                    score_windows(self.model, [np.zeros((length, FEATURES), np.float32)] * windows)
        score_windows(self.model, [np.zeros((length, FEATURES), np.float32) for length in (1, 2)])

    # Records.

    def _take_part(self, part: Records) -> None:
        rules = self._fields, self._listing, self.rules.idle_timeout_ms
        turn = WindowTurn(self._limits, self._strange, self._score, *rules, self._take_one, self._pack)
        turn.take(part, self._streams[part.partition], self._listed[part.partition])
        self._add_counts(turn)

    def _decode(self, value: bytes | None, headers: SampleHeaders) -> CastingSample:
        return decode_casting(value, headers)

    def _apply(self, stream: CastStream, values: tuple[float, ...], decision: Decision, ends: bool) -> None:
        window = stream.window
        if decision.fresh or decision.reset is not None:
            stream.retired += window.clear()
        window.open(stream.offset)
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
        """The final score. A closed cast needs no window any more."""
        self._score(stream, append_ms, final=True)
        stream.retired += stream.window.clear()
        stream.closed = True

    def _score(self, stream: CastStream, append_ms: int, final: bool) -> None:
        self._pending.append(
            Pending(
                stream=stream,
                sequence=stream.sequence,
                step=stream.step,
                timestamp_ms=stream.timestamp_ms,
                offset=stream.offset,
                append_ms=append_ms,
                window=stream.window.view(),
                final=final,
                too_short=stream.window.count < self.window_rules.window_min,
            )
        )

    def _infer(self) -> Callable[[], None]:
        scoring = Scoring(self.model, self._model, self._encode, self._pending, self._firsts)
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
        """Count what came of values far outside what the model was trained on."""
        strange, self._strange = self._strange, []
        if strange and self._ranges is not None:
            samples = np.array([values for _, _, values in strange])
            self._note_outside(self._ranges, samples, lambda place: (strange[place][0].name, strange[place][1]))

    # The table.

    def _create(self, partition: int, key: bytes) -> CastStream:
        return CastStream(partition, key, CastWindow(self.window_rules, self._fields.width))

    def _load(self, stream: CastStream, blob: bytes | None) -> str | None:
        numbers = self._shelf(stream.partition).pop(stream.key, [])
        stream.retired = numbers  # until a head is found that needs them
        blobs = {number: self._store.take(stream.partition, segment_key(stream.key, number)) for number in numbers}
        if blob is None:
            return None
        _, body = unpack_state(blob, stream)  # another model's window is as good: nothing goes to zeros
        self._check_width(stream)
        stream.window = unpack_body(body, stream.step, self.window_rules, blobs.get)
        if not (stream.closed or stream.window.segments):
            raise StateError("corrupt_state", "a cast that has not ended has no samples")
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
