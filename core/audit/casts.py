"""The expected outputs of a partition of casting-samples: the windows that were due, and their scores."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np

from core.arrays import Float32s, Int64s
from core.audit.partition import AnyOutput, PartitionAudit
from core.audit.rules import AuditVerdict, Memory
from core.audit.scope import NOTHING, AuditedStream, Scope
from core.engines.infer import attention_of, prepare, score_windows
from core.engines.results import StreamRules, WindowRules
from core.models.defect_lstm import SteelDefectLSTM
from core.models.fingerprint import fingerprint
from core.wire.records import FEATURES, CastingSample, SampleHeaders, Score, decode_casting, published

BATCH_WINDOWS = 256
# Attention of two steps that is as close as this counts as a tie, of which two machines may find another step the peak:
# of the highest, and absolute, as on flat sensors a norm summed in another order moves it by up to 1.8e-6.
PEAK_TOLERANCE, PEAK_DIFFERENCE = 1e-5, 2e-6


class CastSamples:
    """The samples that a window is cut out of, since it was empty."""

    __slots__ = ("samples", "steps")

    def __init__(self) -> None:
        self.steps = array("q")
        self.samples = array("f")  # FEATURES per step, held ones too

    def __len__(self) -> int:
        return len(self.steps)

    def window(self, end: int, length: int) -> tuple[Int64s, Float32s]:
        """The last samples up to ``end``: steps (T,) and samples (T, F), T at most ``length``. Copies."""
        start = max(0, end - length)
        samples = np.array(self.samples[start * FEATURES : end * FEATURES], np.float32)
        return np.array(self.steps[start:end], np.int64), samples.reshape(-1, FEATURES)


class Due(NamedTuple):
    """A score that may be there, and whether it must."""

    stream: AuditedStream
    cast: CastSamples
    end: int  # samples of the cast so far
    memory: Memory  # as it is then
    final: bool
    required: bool


class CastAudit(PartitionAudit):
    """casting-samples in, what must stand in casting-scores out."""

    def __init__(self, model: SteelDefectLSTM, rules: StreamRules, windows: WindowRules, scope: Scope) -> None:
        super().__init__(rules, scope)
        self.model = model.eval()
        self.fingerprint = fingerprint(model)
        self.windows = windows
        self.due: list[Due] = []
        self.stored: dict[
            bytes, tuple[CastSamples, int]
        ] = {}  # stream key -> cast and samples of it in the stored state
        self._latest: dict[bytes, CastSamples] = {}  # by stream key
        self._finals: dict[int, int] = {}  # offset of a cast's last sample -> row
        self._scores: list[tuple[float, int] | None] = []  # by row, once finished: probability and peak's place

    def _decode(self, value: bytes | None, headers: SampleHeaders) -> CastingSample:
        return decode_casting(value, headers)

    def _step(self, stream: AuditedStream, sample: CastingSample, verdict: AuditVerdict) -> int:
        memory = stream.memory
        assert memory is not None
        if verdict.zeros:
            self._latest[stream.key] = CastSamples()
        cast = self._latest[stream.key]
        if verdict.held and memory.sample is not None:
            cast.steps.extend(range(memory.step - verdict.held, memory.step))
            cast.samples.extend(memory.sample.values * verdict.held)
        cast.steps.append(memory.step)
        cast.samples.extend(sample.values)
        if sample.end:
            memory.closed = True
            self._finals[memory.offset] = self._add(stream, memory.offset, final=True)
            return NOTHING
        past = len(cast) - self.windows.window_min
        if past >= 0 and past % self.windows.hop == 0:
            return self._add(stream, memory.offset, final=False)
        return NOTHING

    def _add(self, stream: AuditedStream, cause: int | None, final: bool) -> int:
        memory, cast = stream.memory, self._latest[stream.key]
        assert memory is not None
        required = cause is not None and self.is_required(memory.append_ms, cause)
        self.due.append(Due(stream, cast, len(cast), copy(memory), final, required))
        self.required.append(required)
        return len(self.due) - 1

    def _conclude(self, stream: AuditedStream, cause: int | None) -> None:
        memory = stream.memory
        assert memory is not None
        if memory.closed:
            return
        if stream.state_offset < 0 and memory.offset < self.scope.committed and not self.scope.left(stream.key):
            cause = memory.offset  # it was evicted before the next record came: not before its final score was there
        self._finals[memory.offset] = self._add(stream, cause, final=True)

    def _mark(self, stream: AuditedStream) -> None:
        memory, cast = stream.memory, self._latest[stream.key]
        assert memory is not None
        self.stored[stream.key] = cast, 0 if memory.closed else len(cast)  # one that has ended needs no window

    def finish(self, now_ms: int) -> None:
        self._reach(math.inf)
        prepare(self.model)
        for stream in self.streams.values():
            if stream.memory is not None and self._may_have_ended(stream, now_ms):
                self._conclude(stream, None)
        for first in range(0, len(self.due), BATCH_WINDOWS):
            self._scores += self._scored(self.due[first : first + BATCH_WINDOWS])

    def _may_have_ended(self, stream: AuditedStream, now_ms: int) -> bool:
        """The final score of an idle cast comes when its worker finds the time, or with the stream's next record."""
        assert stream.memory is not None
        return self.scope.cut_off or now_ms - stream.memory.append_ms > self.rules.idle_timeout_ms

    def _scored(self, due: Sequence[Due]) -> Iterator[tuple[float, int] | None]:
        windows = [self._window(score)[1] for score in due if not self._too_short(score)]
        results = zip(*score_windows(self.model, windows), strict=True) if windows else iter(())
        for score in due:
            yield None if self._too_short(score) else next(results)

    def _too_short(self, due: Due) -> bool:
        return due.end < self.windows.window_min

    def _window(self, due: Due) -> tuple[Int64s, Float32s]:
        return due.cast.window(due.end, self.windows.window_length)

    def expected(self, row: int) -> Score:
        due, result = self.due[row], self._scores[row]
        steps, _ = self._window(due)
        probability, peak, reason = published(*(result or (None, None)))
        return Score(
            stream=due.stream.name,
            sequence=due.memory.sequence,
            step=due.memory.step,
            start=int(steps[0]),
            length=len(steps),
            timestamp_ms=due.memory.timestamp_ms,
            probability=probability,
            attention_peak=None if peak is None else int(steps[peak]),
            final=due.final,
            model=self.fingerprint,
            reason=reason,
        )

    def difference(self, row: int, found: AnyOutput) -> float | None:
        return 0.0 if self.expected(row) == found else None

    def is_peak(self, row: int, step: int | None) -> bool:
        """True if a step has as much attention as the peak, as far as two machines agree."""
        steps, samples = self._window(self.due[row])
        attention = attention_of(self.model, samples)
        (places,) = np.nonzero(steps == step)
        tied = attention.max() - max(PEAK_DIFFERENCE, PEAK_TOLERANCE * attention.max())
        return bool(len(places)) and bool(attention[places[0]] >= tied)

    def key(self, row: int) -> bytes:
        return self.due[row].stream.key

    def offset(self, row: int) -> int:
        return self.due[row].memory.offset

    def row(self, offset: int, final: bool) -> int:
        if final and offset in self._finals:
            return self._finals[offset]
        code = self._code(offset)
        return code if not final else min(code, NOTHING)
