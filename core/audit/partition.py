"""The expected outputs of a source partition: the part that steps and windows have in common."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from copy import copy
from typing import Any

import msgspec

from core.audit.doubt import Doubt, Name
from core.audit.rules import AuditVerdict, Began, Candidate, Memory, entered, judge
from core.audit.samples import NO_ROW, Row, SampleReader
from core.audit.scope import NO_NAMES, NOT_JUDGED, NOTHING, AuditedStream, ExpectedLetter, Scope, Snapshot, checksum
from core.engines.results import StreamRules
from core.errors import RecordError
from core.wire.records import SampleHeaders, stream_id

AnyOutput = msgspec.Struct
"""Its type is the one that `core.wire.output_types.output_type` makes of a task."""


class PartitionAudit:
    """Takes all records of a source partition, then says what must stand in the other topics.

    Args:
        samples: reads them.
        rules: the worker's.
        scope: what to judge.
    """

    fingerprint: str
    """The name of the model."""

    def __init__(self, samples: SampleReader, rules: StreamRules, scope: Scope) -> None:
        self.samples = samples
        self.rules = rules
        self.scope = scope
        self.streams: dict[bytes, AuditedStream] = {}
        self.letters: dict[int, ExpectedLetter] = {}
        self.records = 0
        self.pending = 0  # of these, how many are not committed
        self.required = bytearray()  # by row: whether it must be there
        self.max_abs_diff = 0.0  # of the numbers in stored states
        self._index = array("q")  # by offset from the start: a record's row, or NOTHING, or NOT_JUDGED
        self._first_ms: float | None = None  # of the partition
        self._came_at = deque(scope.came_at)  # those that the records have not reached yet

    # What the two kinds add.

    def _step(self, stream: AuditedStream, sample: Row, held: Row, verdict: AuditVerdict, ends: bool) -> int:
        """Take a sample in, after ``verdict.held`` repeats of the one before; the row of its output, or NOTHING."""
        raise NotImplementedError

    def _conclude(self, stream: AuditedStream, cause: int | None) -> None:
        """The stream's sequence has ended, by the record at ``cause``; None: perhaps."""

    def _mark(self, stream: AuditedStream) -> None:
        """Note what the stored state must hold at this record, beside the memory."""
        raise NotImplementedError

    def finish(self, now_ms: int) -> None:
        """No more records come. Runs the models.

        Args:
            now_ms: the clock, after everything has been read.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """Rows: outputs that may be there."""
        return len(self.required)

    def row(self, offset: int, final: bool) -> int:
        """The expected output of a record, or NOTHING, or NOT_JUDGED."""
        raise NotImplementedError

    def key(self, row: int) -> bytes:
        """The stream of a row."""
        raise NotImplementedError

    def offset(self, row: int) -> int:
        """The source offset of a row."""
        raise NotImplementedError

    def expected(self, row: int) -> AnyOutput:
        """The output of a row, after `finish`."""
        raise NotImplementedError

    def differences(self, row: int, found: AnyOutput) -> dict[str, float]:
        """Return how far each part of an output is off that is not exactly as expected; infinite if it is no number.

        A number differs by so much in relation to the larger of the expected one and the scale of its output.
        """
        raise NotImplementedError

    # Records.

    def feed(self, offset: int, append_ms: int, key: bytes | None, value: bytes | None, headers: SampleHeaders) -> None:
        """The next record, in offset order."""
        if self._first_ms is None:
            self._first_ms = append_ms
        self._reach(offset)
        while len(self._index) < offset - self.scope.start:  # a hole
            self._index.append(NOTHING)
        self._index.append(self._take(offset, append_ms, key, value, headers))

    def _take(self, offset: int, append_ms: int, key: bytes | None, value: bytes | None, headers: SampleHeaders) -> int:
        chosen = self.scope.chosen
        if chosen is not None and key not in chosen:
            return NOT_JUDGED
        self.records += 1
        self.pending += offset >= self.scope.committed
        stream = self.streams.get(key)  # type: ignore[arg-type]  # None is no stream's key
        try:
            if stream is None:
                stream_id(key)
            sample = self.samples.decode(value, headers)
        except RecordError as error:
            self._refused(error.reason, offset, append_ms, key, value)
            return NOTHING
        stream = stream or self._meet(key, offset)
        sequence, lacks = sample.sequence or "", self.samples.lacks(sample)
        if (stream.doubt is not None or stream.maybe_previous) and not self._is_certain(
            stream, sequence, append_ms, lacks
        ):
            return NOT_JUDGED
        verdict = judge(stream.memory, sequence, sample.step, append_ms, sample.timestamp_ms, self.rules)
        if lacks and verdict.began is not None:  # nothing to hold; the stream stays as it was
            self._refused("missing_field", offset, append_ms, key, value)
            return NOTHING
        if verdict.fate == "step":
            return self._advance(stream, sample, verdict, offset, append_ms)
        if verdict.fate == "step_back":
            self._remember(stream, Candidate(sample.step, sample.timestamp_ms, offset))
        if verdict.fate != "duplicate":
            self._refused(verdict.fate, offset, append_ms, key, value)
        return NOTHING

    def _refused(self, reason: str, offset: int, append_ms: int, key: bytes | None, value: bytes | None) -> None:
        required = offset < self.scope.committed and append_ms >= self.scope.letters_from_ms
        self.letters[offset] = ExpectedLetter(reason, required, key, checksum(value))

    def _advance(self, stream: AuditedStream, sample: Any, verdict: AuditVerdict, offset: int, append_ms: int) -> int:
        memory = stream.memory
        before = NO_ROW if memory is None or verdict.began is not None else memory.sample
        if verdict.began is not None or memory is None:
            memory = self._enter(stream, sample.sequence or "", verdict.began or "first", offset)
        memory.step = verdict.step
        memory.candidate = None
        if verdict.gap:
            memory.skipped = range(verdict.step - verdict.gap, verdict.step)
        memory.offset = offset
        memory.append_ms = append_ms
        memory.timestamp_ms = append_ms if sample.timestamp_ms is None else sample.timestamp_ms
        memory.sample = self.samples.row(sample, before, overlaps=not verdict.zeros)
        ends = memory.closed = bool(getattr(sample, "end", False))
        row = self._step(stream, memory.sample, before, verdict, ends)
        self._include(stream, memory, offset)
        return row

    def _remember(self, stream: AuditedStream, candidate: Candidate) -> None:
        """The stream's next record may follow on a step back."""
        assert stream.memory is not None
        stream.memory.candidate = candidate
        self._include(stream, stream.memory, candidate.offset)

    def _include(self, stream: AuditedStream, memory: Memory, offset: int) -> None:
        """The stream's state has taken the record at ``offset`` in."""
        if offset < self.scope.committed:
            stream.committed_memory = offset, memory.append_ms
        if offset == stream.state_offset:
            stream.snapshot = Snapshot(copy(memory), stream.maybe_previous)
            self._mark(stream)

    def _enter(self, stream: AuditedStream, sequence: str, began: Began, offset: int) -> Memory:
        if stream.memory is not None:
            self._conclude(stream, offset)
            if began not in ("restart", "step_back"):
                stream.maybe_previous = NO_NAMES
        stream.memory = entered(stream.memory, sequence, began)
        return stream.memory

    # Streams whose beginning is not there.

    def _meet(self, key: bytes | None, offset: int) -> AuditedStream:
        assert self._first_ms is not None
        assert key is not None
        doubt = None
        if (came_ms := self.scope.came(key, offset)) is not None:
            doubt = Doubt(came_ms if self.scope.ordered else float("inf"))
        elif self.scope.start > 0:
            doubt = Doubt(self._first_ms if self.scope.ordered else float("inf"))
        stream = self.streams[key] = AuditedStream(key, doubt, self.scope.states.get(key, -1))
        return stream

    def _reach(self, offset: float) -> None:
        """A stream that partitions were added for twice may have come back: it has had records elsewhere since."""
        while self._came_at and self._came_at[0] <= offset:
            at = self._came_at.popleft()
            for stream in self.streams.values():
                came_ms = self.scope.came(stream.key, at)
                if came_ms is not None and came_ms != self.scope.came(stream.key, at - 1):
                    self._forget(stream, Doubt(came_ms if self.scope.ordered else float("inf")))

    def _forget(self, stream: AuditedStream, doubt: Doubt) -> None:
        if stream.memory is not None:
            self._conclude(stream, None)
        stream.doubt, stream.memory, stream.maybe_previous = doubt, None, NO_NAMES
        stream.snapshot = stream.committed_memory = None

    def _is_certain(self, stream: AuditedStream, sequence: str, append_ms: int, lacks: bool) -> bool:
        """True if the stream's state before a record is known, or does not matter.

        ``lacks``: the record begins nothing, as there would be nothing to hold.
        """
        if stream.maybe_previous:
            if lacks and self._is_maybe_previous(stream, sequence, append_ms):
                return False  # it is late, or lacks a field: refused in any case
            self._doubt_again(stream, sequence, append_ms)
        if stream.doubt is None:  # none, or no more
            return True
        if lacks:
            stream.doubt.passed_by(sequence, append_ms)
            return False
        settled = stream.doubt.settled_by(sequence, append_ms, self.rules)
        if settled is None:
            return False
        stream.doubt, stream.memory, stream.judged = None, None, True
        stream.maybe_previous = settled if settled != {None} else NO_NAMES
        return True

    def _doubt_again(self, stream: AuditedStream, sequence: str, append_ms: int) -> None:
        """The record is late, or begins a sequence, if it has one of the names that may be the previous one's."""
        memory = stream.memory
        assert memory is not None
        if self._is_maybe_previous(stream, sequence, append_ms):
            self._conclude(stream, None)
            last_ms = memory.append_ms if self.scope.ordered else float("inf")
            names: list[tuple[Name, Name]] = [(memory.sequence, sequence), (sequence, memory.sequence)]
            stream.doubt, stream.memory, stream.maybe_previous = Doubt(last_ms, names), None, NO_NAMES

    def _is_maybe_previous(self, stream: AuditedStream, sequence: str, append_ms: int) -> bool:
        memory = stream.memory
        assert memory is not None
        idle = append_ms - memory.append_ms > self.rules.idle_timeout_ms
        return sequence in stream.maybe_previous and sequence != memory.sequence and not idle

    # What must stand elsewhere.

    def _code(self, offset: int) -> int:
        at = offset - self.scope.start
        if at < 0 or (at >= len(self._index) and self.scope.cut_off):
            return NOT_JUDGED
        return self._index[at] if at < len(self._index) else NOTHING

    def letter(self, offset: int) -> ExpectedLetter | None:
        """Return the dead letter of a record; None if there must be none. Ask `is_judged` first."""
        return self.letters.get(offset)

    def is_judged(self, offset: int) -> bool:
        """True if it is known what becomes of a record."""
        return offset in self.letters or self._code(offset) != NOT_JUDGED

    def is_required(self, append_ms: int, cause: int) -> bool:
        """True if an output must be there that comes of the record at ``cause``, of a sample appended then."""
        return cause < self.scope.committed and append_ms >= self.scope.outputs_from_ms

    def missing_states(self, now_ms: int) -> Iterator[AuditedStream]:
        """The streams that must have a state and have none. Those idle for long enough are evicted."""
        for stream in self.streams.values():
            if stream.committed_memory is None or stream.state_offset >= 0 or self.scope.left(stream.key):
                continue
            _, append_ms = stream.committed_memory
            if now_ms - append_ms <= self.rules.idle_timeout_ms:
                yield stream

    @property
    def not_judged(self) -> int:
        """Streams that could not be judged at all."""
        return sum(not stream.judged for stream in self.streams.values())
