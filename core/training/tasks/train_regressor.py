"""Train targets of a declared step task: from a task file and a history to weights.

Shapes: T samples of a sequence, N of all pieces, K targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from core.arrays import Float64s
from core.callbacks import OnNote, OnProgress, unheard
from core.data.outputs import keep_inputs
from core.engines.own_weights import open_weights
from core.errors import StartupError
from core.models.checkpoint import read_checkpoint
from core.native.lstm import StepKernel
from core.tasks.declaration import Declaration
from core.training.config import TaskSettings
from core.training.loop import Fitted, TrainingProgress, fit
from core.training.tasks import export
from core.training.tasks.data import prepare_statistics
from core.training.tasks.forecast import sizes_for
from core.training.tasks.history import AS_IT_IS, History, HistoryOptions, Recorded, open_history
from core.training.tasks.pieces import Split, split
from core.training.tasks.places import Places
from core.training.tasks.regress import RegressTask
from core.training.tasks.statistics import FieldStatistics, names_of
from core.training.tasks.targets import (
    TargetStatistics,
    judged_rows,
    last_known,
    learnt_rows,
    target_figures,
    target_statistics,
    targets_of,
)

TENSOR = "prediction"
"""The name of the linear layer's numbers in the task, and of its output."""


@dataclass(frozen=True)
class TrainedRegressor:
    """A training and what came of it; ``figures`` has a dict for each target, on the held-out part."""

    history: History
    parts: Split
    settings: TaskSettings
    statistics: FieldStatistics
    fitted: Fitted
    targets: TargetStatistics
    figures: list[dict[str, Any]]


def train_regressor(
    declaration: Declaration,
    data: Path,
    places: Places,
    settings: TaskSettings,
    *,
    options: HistoryOptions = AS_IT_IS,
    resume: bool = False,
    log_dir: Path | None = None,
    on_read: OnProgress = unheard,
    on_progress: Callable[[TrainingProgress], None] = unheard,
    on_note: OnNote = unheard,
    then: Callable[[TrainedRegressor], None] = unheard,
) -> Fitted:
    """Train targets, and write the weights and their example; arguments and errors as `train_classifier` has them."""
    keep_inputs(places.all, [data, declaration.path])
    names = declaration.training.targets
    if not names:
        raise StartupError(
            f"{declaration.path}: [train] targets is missing: name the columns or datasets that are learnt, as "
            'targets = ["quality"]'
        )
    with open_history(data, declaration, names, options, on_note, on_read) as history:
        parts = split(
            [len(each) for each in history.sequences], declaration.training.horizon, settings.seed, history.source
        )
        targets = target_statistics(history, parts, names)
        statistics = prepare_statistics(history, parts, names_of(declaration))
        task = _task(declaration, history, parts, statistics, targets, settings)
        done = fit(task, task.settings, places.best, resume=resume, log_dir=log_dir, on_progress=on_progress)
        if done.best_loss is None:
            return done
        task.model.load_state_dict(read_checkpoint(places.best)["model_state_dict"])
        _write(task, done, history, statistics, targets, places)
        kernel, _ = open_weights(declaration, places.weights.read_bytes())
        figures = target_figures(*_judged(kernel, history, parts, names), targets)
        then(TrainedRegressor(history, parts, task.settings, statistics, done, targets, figures))
        return done


def _task(
    declaration: Declaration,
    history: History,
    parts: Split,
    statistics: FieldStatistics,
    targets: TargetStatistics,
    settings: TaskSettings,
) -> RegressTask:
    samples, held_out = parts.counts
    sizes = sizes_for(samples, statistics.mean.size, settings, declaration.training)
    chosen = msgspec.structs.replace(
        settings, cell=sizes.cell, hidden_size=sizes.hidden_size, num_layers=sizes.num_layers
    )
    facts = {
        "samples": samples,
        "held_out": held_out,
        "targets": list(targets.names),
        "statistics": {
            "mean": statistics.mean.tolist(),
            "std": statistics.std.tolist(),
            "target_mean": targets.mean.tolist(),
            "target_std": targets.std.tolist(),
        },
    }
    learnt, judged = (rows(history, parts, statistics, targets) for rows in (learnt_rows, judged_rows))
    return RegressTask(learnt, judged, sizes, chosen, facts)


def _write(
    task: RegressTask,
    done: Fitted,
    history: History,
    statistics: FieldStatistics,
    targets: TargetStatistics,
    places: Places,
) -> None:
    arrays = export.folded(task.model, targets.std, targets.mean)
    facts = {**task.extras(), "epoch": done.best_epoch, "loss": done.best_loss}
    export.write_weights(places.weights, arrays, statistics, facts)
    samples = history.sequences[0].values[: export.EXAMPLE_STEPS]
    export.write_example(places.example, task.model, arrays, statistics, samples, TENSOR)


def _judged(
    kernel: StepKernel, history: History, parts: Split, names: tuple[str, ...]
) -> tuple[Float64s, Float64s, Float64s]:
    """The numbers that a worker publishes for the held-out samples, their targets, and the targets that were known last
    before each; (N, K) each.
    """
    found: list[tuple[Float64s, Float64s, Float64s]] = []
    for number in dict.fromkeys(piece.sequence for piece in parts.held_out):
        sequence = history.sequences[number]
        predicted, targets = run_kernel(kernel, sequence), targets_of(sequence, names)
        targets[sequence.marked] = np.nan
        whole = predicted, targets, last_known(targets)
        for piece in parts.held_out:
            if piece.sequence == number:
                predicted, wanted, last = (each[piece.start : piece.end] for each in whole)
                found.append((predicted, wanted, last))
    predicted, wanted, last = (np.concatenate(each) for each in zip(*found, strict=True))
    return predicted, wanted, last


def run_kernel(kernel: StepKernel, sequence: Recorded) -> Float64s:
    """The targets (T, K) of a whole sequence, from a state of zeros on."""
    count = len(sequence)
    rows, times = np.zeros(count, np.int64), np.arange(count)
    state = np.zeros((1, kernel.state_size), np.float32)
    values = np.ascontiguousarray(sequence.values, np.float32)
    return kernel.advance(values, rows, times, np.array([count]), state).astype(np.float64)
