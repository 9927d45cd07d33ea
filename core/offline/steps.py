"""The sequences of a file through a step model, many side by side.

Shapes: N samples, F numbers of a sample, M of its outputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from core.arrays import Float32s
from core.data.task_file import TaskFile
from core.data.task_inputs import ModelInputs
from core.engines.bank import ZEROS, StateBank
from core.models.ranges import Ranges
from core.models.survey import Survey
from core.offline.inputs import read_pieces
from core.step_batch import StepBatch
from core.tasks.declaration import Declaration
from core.wire.outputs import OutputField

BLOCK_NUMBERS = 1 << 20
"""Numbers of the samples that are stepped in one call, about."""
SIDE_BY_SIDE = 1024
GROUP_NUMBERS = 1 << 28
"""Numbers of outputs of sequences that are stepped side by side: they wait for their turn, on disk above 16 MiB."""
IN_MEMORY = 1 << 22
PART_STEPS = 1 << 16


@dataclass(frozen=True)
class StepModelRun:
    """A step model, opened for one run over a file.

    Args:
        declaration: of its task.
        fingerprint: of the model.
        outputs: of a record, in the order of the bank's numbers.
        bank: empty; its numbers are (N,) or (N, M).
        ranges: of the model's training, if it tells them.
    """

    declaration: Declaration
    fingerprint: str
    outputs: Sequence[OutputField]
    bank: StateBank
    ranges: Ranges | None = None


@dataclass(frozen=True)
class OutputPart:
    """Outputs (n, M) of one row from ``step`` on."""

    row: int
    step: int
    numbers: Float32s


class OfflineSteps:
    """The outputs of a file's sequences, each of which starts from zeros.

    Args:
        file: an open one.
        model: of its task.
        survey: is shown every sample.
    """

    def __init__(self, file: TaskFile, model: StepModelRun, survey: Survey) -> None:
        self._file, self._survey = file, survey
        self._inputs, self._bank = ModelInputs(model.declaration), model.bank
        self._width = sum(output.numbers for output in model.outputs)
        self._read = model.declaration.width
        while self._bank.capacity <= SIDE_BY_SIDE:
            self._bank.grow()

    def parts(self) -> Iterator[OutputPart]:
        """All outputs, in the order of the rows, and in a row by step."""
        for rows in self._groups():
            yield from self._blocks(rows) if len(rows) == 1 else self._in_order(rows)

    def _groups(self) -> Iterator[range]:
        """Rows that are stepped side by side."""
        sequences, first, waiting = self._file.sequences, 0, 0
        for row, sequence in enumerate(sequences):
            numbers = sequence.count * self._width
            if row > first and (row - first == SIDE_BY_SIDE or waiting + numbers > GROUP_NUMBERS):
                yield range(first, row)
                first, waiting = row, 0
            waiting += numbers
        yield range(first, len(sequences))

    def _in_order(self, rows: range) -> Iterator[OutputPart]:
        counts = [self._file.sequences[row].count for row in rows]
        ends = np.cumsum(counts).tolist()
        with _room(ends[-1], self._width) as room:
            for part in self._blocks(rows):
                at = ends[part.row - rows.start] - counts[part.row - rows.start] + part.step
                room[at : at + len(part.numbers)] = part.numbers
            for row, end, count in zip(rows, ends, counts, strict=True):
                for step in range(0, count, PART_STEPS):
                    size = min(PART_STEPS, count - step)
                    yield OutputPart(row, step, room[end - count + step :][:size])

    def _blocks(self, rows: range) -> Iterator[OutputPart]:
        """Step rows side by side, block by block."""
        sequences, active, position = self._file.sequences, list(rows), 0
        last: dict[int, Float32s] = {}
        while active:
            most = max(1, BLOCK_NUMBERS // (len(active) * self._read))
            lengths = [min(most, sequences[row].count - position) for row in active]
            pieces = [(sequences[row].start + position, length) for row, length in zip(active, lengths, strict=True)]
            blocks = []
            for row, samples in zip(active, read_pieces(self._file, pieces), strict=True):
                block, last[row] = self._inputs.of(samples, last.get(row))
                self._survey.add(block, row, position)
                blocks.append(block)
            targets = np.array([row - rows.start + 1 for row in active])
            starts = targets if position else np.full_like(targets, ZEROS)
            numbers = self._bank.step(StepBatch.of_runs(blocks, starts, targets)).reshape(-1, self._width)
            ends = np.cumsum(lengths).tolist()
            for row, end, length in zip(active, ends, lengths, strict=True):
                yield OutputPart(row, position, numbers[end - length : end])
            position += most
            active = [row for row in active if sequences[row].count > position]


@contextmanager
def _room(samples: int, width: int) -> Iterator[Float32s]:
    """Room for outputs (N, M), on disk where it is much."""
    if samples * width <= IN_MEMORY:
        yield np.empty((samples, width), np.float32)
        return
    with tempfile.TemporaryFile() as file:
        yield np.memmap(file, np.float32, "w+", shape=(samples, width))
