"""The outputs of the windows that a chunk has made due: a model runs on all of them together, and they are written.

Shapes: N windows, T samples of a window, F numbers of a sample, M of all outputs of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from core.arrays import Float32s, Float64s, Int64s
from core.engines.notes import not_finite_note
from core.engines.results import ChunkResult
from core.firsts import Firsts
from core.models.ranges import Ranges
from core.native.fields import FieldList
from core.native.outputs import NamedOutputs
from core.native.records import Outputs
from core.native.windows import CastStream, WindowSamples
from core.wire.outputs import OutputField
from core.wire.records import NOT_FINITE, TOO_SHORT, SampleHeaders


class ScoresWindows(Protocol):
    """A model of windows."""

    def score(self, windows: Sequence[Float32s], steps: Sequence[Int64s]) -> Float64s:
        """The numbers (N, M) of windows, (T, F) each, whose samples have ``steps``, (T,) each; NaN: none."""


@dataclass(frozen=True)
class WindowTask:
    """The parts that a window engine runs.

    Args:
        fingerprint: of the model and all that moves its outputs, 12 ASCII characters.
        fields: of a sample.
        decode: reads a sample, in full; raises RecordError.
        outputs: of a record, in the order of the model's numbers.
        model: scores windows.
        ranges: of the model's training, or declared as normal, if known.
        probability: which of the model's numbers is a probability whose distribution is shown, if one is.
        largest: the largest number that a sample may hold.
        fields_digits: of the fingerprint, how many of its first characters are of the fields alone; 0: fields never
            change, so a stored window is of those of now.
    """

    fingerprint: str
    fields: FieldList
    decode: Callable[[bytes | None, SampleHeaders], Any]
    outputs: Sequence[OutputField]
    model: ScoresWindows
    ranges: Ranges | None
    probability: int | None
    largest: float
    fields_digits: int = 0


class Pending(NamedTuple):
    """An output to come."""

    stream: CastStream
    sequence: str
    step: int
    timestamp_ms: int
    offset: int
    append_ms: int
    window: WindowSamples
    final: bool
    too_short: bool


class Scoring:
    """The outputs of one chunk: a `core.engines.results.Deferred`."""

    def __init__(self, task: WindowTask, writer: NamedOutputs, pending: Sequence[Pending], firsts: Firsts) -> None:
        self._task, self._writer, self._firsts = task, writer, firsts
        self.pending = pending
        self._due = [each.window for each in pending if not each.too_short]
        self._numbers: Float64s = np.empty((0, writer.width))

    @property
    def windows(self) -> int:
        """The number of windows to run the model on."""
        return len(self._due)

    def compute(self) -> None:
        """Run the model."""
        steps = [each.steps - each.steps[0] for each in self._due]  # as the writer wants them
        self._numbers = self._task.model.score([each.samples for each in self._due], steps)

    def finish(self, result: ChunkResult) -> None:
        """Add outputs and counts."""
        counts, place = result.counts, self._task.probability
        if place is not None:
            found = self._numbers[:, place]
            counts.probabilities = found[np.isfinite(found)].tolist()
        counts.batch_streams = self.windows
        counts.batch_steps = sum(len(each.steps) for each in self._due)
        scored, none = iter(self._numbers), np.full(self._writer.width, np.nan)
        for each in self.pending:
            numbers, reason = (none, TOO_SHORT) if each.too_short else self._judged(result, each, next(scored), none)
            self._add(result, each, numbers, reason)

    def _judged(
        self, result: ChunkResult, pending: Pending, numbers: Float64s, none: Float64s
    ) -> tuple[Float64s, str | None]:
        """Return the numbers to publish, and why they are null: all are where one is not finite."""
        if np.isfinite(numbers).all():
            return numbers, None
        result.counts.not_finite += 1
        if self._firsts.take(NOT_FINITE):
            name = self._task.outputs[0].name
            result.notes.append(not_finite_note(name, pending.stream.name, pending.step))
        return none, NOT_FINITE

    def _add(self, result: ChunkResult, pending: Pending, numbers: Float64s, reason: str | None) -> None:
        stream, steps = pending.stream, pending.window.steps
        value = self._writer.of_window(
            stream.name,
            pending.sequence,
            pending.step,
            int(steps[0]) if len(steps) else pending.step,
            len(steps),
            pending.timestamp_ms,
            numbers,
            pending.final,
            (reason or "").encode(),
        )
        outputs = result.outputs.setdefault(stream.partition, Outputs(stream.partition))
        outputs.append(stream.key, value, pending.offset, pending.append_ms)
        result.counts.scores[pending.final] += 1
