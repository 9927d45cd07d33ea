"""The expected outputs of a partition of a window task: the windows that were due, and what the model gives of them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np

from core.arrays import Float32s, Float64s, Int64s
from core.audit.applied import Applied
from core.audit.functions import above_alone, applied_alone, first_largest, is_a_largest, window_error
from core.audit.models import WindowsModel
from core.audit.outputs import ExpectedOutputs, Made
from core.audit.partition import AnyOutput, PartitionAudit
from core.audit.rules import AuditVerdict, Memory
from core.audit.samples import Row, SampleReader
from core.audit.scales import Scales
from core.audit.scope import NOTHING, AuditedStream, Scope
from core.engines.results import StreamRules, WindowRules
from core.tasks.declaration import Declaration, Output
from core.wire.output_types import output_type
from core.wire.records import NOT_FINITE, TOO_SHORT

BATCH_WINDOWS = 256


class WindowedSamples:
    """The samples that a window is cut out of, since it was empty."""

    __slots__ = ("samples", "steps", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.steps = array("q")
        self.samples = array("f")  # F per step, held ones too

    def __len__(self) -> int:
        return len(self.steps)

    def window(self, end: int, length: int) -> tuple[Int64s, Float32s]:
        """The last samples up to ``end``: steps (T,) and samples (T, F), T at most ``length``. Copies."""
        start = max(0, end - length)
        samples = np.array(self.samples[start * self.width : end * self.width], np.float32)
        return np.array(self.steps[start:end], np.int64), samples.reshape(-1, self.width)


class Due(NamedTuple):
    """An output that may be there, and whether it must."""

    stream: AuditedStream
    sequence: WindowedSamples
    end: int  # samples of the sequence so far
    memory: Memory  # as it is then
    final: bool
    required: bool


class WindowAudit(PartitionAudit):
    """Samples of a window task in, what must stand in its output topic out.

    Args:
        task: its outputs.
        samples: reads them.
        model: of the task.
        rules: the worker's.
        windows: the worker's.
        scope: what to judge.
        scales: of the model's tensors; None: 1.
    """

    def __init__(
        self,
        task: Declaration,
        samples: SampleReader,
        model: WindowsModel,
        rules: StreamRules,
        windows: WindowRules,
        scope: Scope,
        scales: Scales | None = None,
    ) -> None:
        super().__init__(samples, rules, scope)
        self.model = model
        self.fingerprint = model.fingerprint
        self.output_type = output_type(task)
        self.outputs = ExpectedOutputs(task.outputs, model.tensors, (scales or Scales()).tensors)
        self.windows = windows
        self.due: list[Due] = []
        self.stored: dict[bytes, tuple[WindowedSamples, int]] = {}
        """By stream key: the samples of its sequence, and how many of them are in the stored state."""
        self._peaks = [output for output in task.outputs if output.apply == "argmax_step" and output.of is None]
        self._latest: dict[bytes, WindowedSamples] = {}  # by stream key
        self._finals: dict[int, int] = {}  # offset of a sequence's last sample -> row
        self._numbers: list[list[float] | None] = []  # by row, once finished; None: the window was too short
        self._others: dict[int, list[float]] = {}  # row -> numbers that are as good, where there are any

    def _step(self, stream: AuditedStream, sample: Row, held: Row, verdict: AuditVerdict, ends: bool) -> int:
        memory = stream.memory
        assert memory is not None
        if verdict.zeros:
            self._latest[stream.key] = WindowedSamples(self.samples.width)
        sequence = self._latest[stream.key]
        if verdict.held:
            sequence.steps.extend(range(memory.step - verdict.held, memory.step))
            sequence.samples.extend(held * verdict.held)
        sequence.steps.append(memory.step)
        sequence.samples.extend(sample)
        if ends:
            self._finals[memory.offset] = self._add(stream, memory.offset, final=True)
            return NOTHING
        past = len(sequence) - self.windows.window_min
        if past >= 0 and past % self.windows.hop == 0:
            return self._add(stream, memory.offset, final=False)
        return NOTHING

    def _add(self, stream: AuditedStream, cause: int | None, final: bool) -> int:
        memory, sequence = stream.memory, self._latest[stream.key]
        assert memory is not None
        required = cause is not None and self.is_required(memory.append_ms, cause)
        self.due.append(Due(stream, sequence, len(sequence), copy(memory), final, required))
        self.required.append(required)
        return len(self.due) - 1

    def _conclude(self, stream: AuditedStream, cause: int | None) -> None:
        memory = stream.memory
        assert memory is not None
        if memory.closed:
            return
        if stream.state_offset < 0 and memory.offset < self.scope.committed and not self.scope.left(stream.key):
            cause = memory.offset  # it was evicted before the next record came: not before its final output was there
        self._finals[memory.offset] = self._add(stream, cause, final=True)

    def _mark(self, stream: AuditedStream) -> None:
        memory, sequence = stream.memory, self._latest[stream.key]
        assert memory is not None
        self.stored[stream.key] = sequence, 0 if memory.closed else len(sequence)  # one that has ended needs no window

    def finish(self, now_ms: int) -> None:
        self._reach(math.inf)
        for stream in self.streams.values():
            if stream.memory is not None and self._may_have_ended(stream, now_ms):
                self._conclude(stream, None)
        for first in range(0, len(self.due), BATCH_WINDOWS):
            self._score(self.due[first : first + BATCH_WINDOWS])

    def _may_have_ended(self, stream: AuditedStream, now_ms: int) -> bool:
        """The final output of an idle sequence comes when its worker finds the time, or with the stream's next
        record.
        """
        assert stream.memory is not None
        return self.scope.cut_off or now_ms - stream.memory.append_ms > self.rules.idle_timeout_ms

    def _score(self, due: Sequence[Due]) -> None:
        windows = [self._window(each) for each in due if not self._too_short(each)]
        made = self._made(windows) if windows else None
        rows: Iterator[int] = iter(range(len(windows)))
        for each in due:
            if made is None or self._too_short(each):
                self._numbers.append(None)
                continue
            row = next(rows)
            if not np.isnan(made.others[row]).all():
                self._others[len(self._numbers)] = made.others[row].tolist()
            self._numbers.append(made.numbers[row].tolist())

    def _made(self, windows: Sequence[tuple[Int64s, Float32s]]) -> Made:
        scored = self.model.score([samples for _, samples in windows])

        def given(output: Output) -> Float64s:
            return _given(output, scored, windows)

        def apply(output: Output, values: Float64s, scale: float) -> Applied:
            if output.apply == "above":
                return above_alone(values[:, 0], output, scale)
            if output.apply == "argmax_step" and output.of is not None:
                return Applied(_steps_of(list(values), windows))
            return applied_alone(output, values, scale)

        return self.outputs.make(len(windows), given, apply)

    def _too_short(self, due: Due) -> bool:
        return due.end < self.windows.window_min

    def _window(self, due: Due) -> tuple[Int64s, Float32s]:
        return due.sequence.window(due.end, self.windows.window_length)

    def expected(self, row: int) -> AnyOutput:
        values = self.outputs.values(self._shown(row))
        return self.output_type(**self._head(row), **dict(zip(self.outputs.names, values, strict=True)))

    def _head(self, row: int) -> dict[str, object]:
        due = self.due[row]
        steps, _ = self._window(due)
        return {
            "stream": due.stream.name,
            "sequence": due.memory.sequence,
            "step": due.memory.step,
            "start": int(steps[0]),
            "length": len(steps),
            "timestamp_ms": due.memory.timestamp_ms,
            "final": due.final,
            "model": self.fingerprint,
            "reason": self._reason(row),
        }

    def _reason(self, row: int) -> str | None:
        numbers = self._numbers[row]
        if numbers is None:
            return TOO_SHORT
        return None if all(map(math.isfinite, numbers)) else NOT_FINITE

    def _shown(self, row: int) -> list[float]:
        """The numbers of the outputs; none of them where there is a reason."""
        numbers = self._numbers[row]
        return [math.nan] * self.outputs.width if numbers is None or self._reason(row) is not None else numbers

    def differences(self, row: int, found: AnyOutput) -> dict[str, float]:
        off = {name: math.inf for name, value in self._head(row).items() if getattr(found, name) != value}
        off |= self.outputs.differences(self._shown(row), self._others.get(row), found)
        for output in self._peaks if self._reason(row) is None else ():
            if output.name in off and self._is_peak(row, output, getattr(found, output.name)):
                del off[output.name]
        return off

    def _is_peak(self, row: int, output: Output, step: object) -> bool:
        """True if a step has as large a number as the one that is expected, as far as two machines agree."""
        steps, samples = self._window(self.due[row])
        (places,) = np.nonzero(steps == step)
        (scored,) = self.model.score([samples])
        return bool(len(places)) and is_a_largest(scored[output.tensor].reshape(-1), int(places[0]))

    def key(self, row: int) -> bytes:
        return self.due[row].stream.key

    def offset(self, row: int) -> int:
        return self.due[row].memory.offset

    def row(self, offset: int, final: bool) -> int:
        if final and offset in self._finals:
            return self._finals[offset]
        code = self._code(offset)
        return code if not final else min(code, NOTHING)


def _given(
    output: Output, scored: Sequence[Mapping[str, Float32s]], windows: Sequence[tuple[Int64s, Float32s]]
) -> Float64s:
    """The numbers (N, n) of an output that is made of a tensor."""
    tensors = [each[output.tensor].reshape(-1) for each in scored]
    if output.apply == "argmax_step":
        return _steps_of(tensors, windows)
    if output.apply == "error":
        errors = [window_error(values, samples) for values, (_, samples) in zip(tensors, windows, strict=True)]
        return np.array(errors)[:, None]
    return np.stack(tensors).astype(np.float64)


def _steps_of(numbers: Sequence[Float32s], windows: Sequence[tuple[Int64s, Float32s]]) -> Float64s:
    """The step (N, 1) of each window at which the first of its largest numbers stands."""
    places = [first_largest(each) for each in numbers]
    found = [
        math.nan if math.isnan(at) else float(steps[int(at)]) for at, (steps, _) in zip(places, windows, strict=True)
    ]
    return np.array(found)[:, None]
