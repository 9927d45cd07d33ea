"""The scores of the held-out part, by the compiled kernel on the path of every offline run, and the threshold.

Sequences run from their beginning, so that the state at the cut is that of a live stream. Shapes: T samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import Float64s
from core.callbacks import OnProgress, unheard
from core.data.task_file import TaskFile
from core.engines.declared.stepper import StepModel
from core.models.survey import Survey
from core.offline.steps import OfflineSteps, StepModelRun
from core.tasks.declaration import Declaration
from core.training.tasks.history import History
from core.training.tasks.pieces import Split
from core.wire.outputs import NOTHING_YET

SECONDS_A_WEEK = 604_800.0


@dataclass(frozen=True)
class HeldOutScores:
    """The scores of the held-out part: the ``score`` of each piece (T,), without samples that are not normal; NaN
    where there is none.
    """

    score: list[Float64s]
    period_s: float

    @property
    def weeks(self) -> float:
        """The time that they cover."""
        return sum(map(len, self.score)) * self.period_s / SECONDS_A_WEEK


def held_out_scores(
    declaration: Declaration, name: str, history: History, parts: Split, on_progress: OnProgress = unheard
) -> HeldOutScores:
    """Run a trained task over its history.

    Args:
        declaration: with the model and the outputs that were made.
        name: the output that is the score.
        history: open.
        parts: its division.
        on_progress: told the samples done so far and their total.
    """
    found = _all(declaration, name, history, on_progress)
    score = []
    for piece in parts.held_out:
        held = history.sequences[piece.sequence]
        normal = ~held.disturbed[piece.start : piece.end]
        score.append(found[piece.sequence][piece.start : piece.end][normal])
    return HeldOutScores(score, history.period_ms / 1000.0)


def _all(declaration: Declaration, name: str, history: History, on_progress: OnProgress) -> list[Float64s]:
    """The score of every sample of every sequence."""
    model = StepModel(declaration, declaration.model.file.read_bytes(), "")
    run = StepModelRun(declaration, model.fingerprint, model.outputs.fields, model.states())
    column = _column(run, name)
    found = [np.full(len(each), np.nan) for each in history.sequences]
    done = 0
    with TaskFile(history.file, declaration) as file:
        for part in OfflineSteps(file, run, Survey(None)).parts():
            numbers = part.numbers[:, column].astype(np.float64)
            numbers[numbers <= NOTHING_YET] = np.nan
            found[part.row][part.step : part.step + len(numbers)] = numbers
            done += len(numbers)
            on_progress(done, history.samples)
    return found


def _column(run: StepModelRun, name: str) -> int:
    """The place of an output's first number among those of the bank."""
    before = 0
    for output in run.outputs:
        if output.name == name:
            return before
        before += output.numbers
    raise AssertionError(f"{name} is no output")
