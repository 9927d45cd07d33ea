"""The windows of a file's sequences through a window model.

Which are due follows from the lengths of the sequences alone. Shapes: T samples, F numbers of a sample, M of outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.arrays import Float32s, Float64s
from core.data.task_file import TaskFile
from core.data.task_inputs import ModelInputs
from core.engines.results import WindowRules
from core.models.ranges import Ranges
from core.models.survey import Survey
from core.offline.predict import BATCH_WINDOWS, scores_due
from core.tasks.declaration import Declaration
from core.wire.outputs import OutputField
from core.wire.records import NOT_FINITE, TOO_SHORT

BLOCK_NUMBERS = 1 << 20


@dataclass(frozen=True)
class WindowModelRun:
    """A window model, opened for one run over a file.

    Args:
        declaration: of its task.
        fingerprint: of the model.
        outputs: of a record, in the order of the model's numbers.
        rules: length of windows, first output and hop.
        score: windows, (T, F) each, to their numbers (N, M); whole ones count from a window's first sample.
        ranges: of the model's training, if it tells them.
    """

    declaration: Declaration
    fingerprint: str
    outputs: Sequence[OutputField]
    rules: WindowRules
    score: Callable[[Sequence[Float32s]], Float64s]
    ranges: Ranges | None = None


@dataclass(frozen=True)
class OutputWindow:
    """The outputs (M,) of the window ``[start, end)`` of one row, and why they are null, if they are."""

    row: int
    start: int
    end: int
    final: bool
    numbers: Float64s
    reason: str = ""


class OfflineWindows:
    """The outputs of all windows of a file.

    Args:
        file: an open one.
        model: of its task.
        survey: is shown every sample.
    """

    def __init__(self, file: TaskFile, model: WindowModelRun, survey: Survey) -> None:
        self._file, self._model, self._survey = file, model, survey
        self._inputs = ModelInputs(model.declaration)
        self._none = np.full(sum(output.numbers for output in model.outputs), np.nan)

    def outputs(self) -> Iterator[OutputWindow]:
        """All outputs, in the order of the rows, and in a row by step."""
        waiting: list[tuple[OutputWindow, Float32s]] = []
        for row in range(len(self._file.sequences)):
            for due in self._due(row):
                waiting.append(due)
                if len(waiting) == BATCH_WINDOWS:
                    yield from self._scored(waiting)
                    waiting = []
        yield from self._scored(waiting)

    def _due(self, row: int) -> Iterator[tuple[OutputWindow, Float32s]]:
        """The windows of a row, without numbers, and their samples."""
        rules = self._model.rules
        due = iter(scores_due(row, self._file.sequences[row].count, rules))
        following = next(due, None)
        for first, samples in self._samples(row):
            end = first + len(samples)
            while following is not None and following.end <= end:
                window = samples[following.start - first : following.end - first]
                yield OutputWindow(row, following.start, following.end, following.final, self._none), window
                following = next(due, None)

    def _samples(self, row: int) -> Iterator[tuple[int, Float32s]]:
        """The samples of a row in blocks, each with those before it that its windows may reach."""
        sequence, last = self._file.sequences[row], None
        steps, keep = max(1, BLOCK_NUMBERS // self._model.declaration.width), self._model.rules.window_length - 1
        before = np.empty((0, self._model.declaration.width), np.float32)
        for first in range(0, sequence.count, steps):
            count = min(steps, sequence.count - first)
            block, last = self._inputs.of(self._file.values(sequence.start + first, count), last)
            self._survey.add(block, row, first)
            held = np.concatenate([before, block])
            yield first - len(before), held
            before = held[max(0, len(held) - keep) :]

    def _scored(self, waiting: list[tuple[OutputWindow, Float32s]]) -> Iterator[OutputWindow]:
        enough = [window for _, window in waiting if len(window) >= self._model.rules.window_min]
        found = iter(self._model.score(enough))
        for due, window in waiting:
            if len(window) < self._model.rules.window_min:
                yield replace(due, reason=TOO_SHORT)
                continue
            numbers = next(found)
            yield replace(due, numbers=numbers) if np.isfinite(numbers).all() else replace(due, reason=NOT_FINITE)
