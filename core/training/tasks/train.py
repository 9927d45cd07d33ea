"""Train a model of a declared task: from a task file and a history to weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from core.callbacks import OnNote, OnProgress, unheard
from core.data.outputs import keep_inputs
from core.errors import StartupError
from core.models.checkpoint import read_checkpoint
from core.tasks.declaration import Declaration
from core.training.config import TaskSettings
from core.training.loop import Fitted, TrainingProgress, fit
from core.training.tasks import doubts, export
from core.training.tasks.data import judged, learnt, prepare_statistics
from core.training.tasks.declare import names_for
from core.training.tasks.forecast import ForecastTask, Sizes, sizes_for
from core.training.tasks.history import AS_IT_IS, History, HistoryOptions, open_history
from core.training.tasks.likelihood import calibration
from core.training.tasks.origin import origin_of
from core.training.tasks.pieces import Split, split
from core.training.tasks.places import Places
from core.training.tasks.statistics import FieldStatistics
from core.training.tasks.trained import Trained


def train_forecaster(
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
    then: Callable[[Trained], None] = unheard,
) -> Fitted:
    """Train a forecaster of normal, and write its weights and its example.

    Args:
        declaration: of the task; its model and outputs do not matter.
        data: CSV, Parquet, Feather or HDF5.
        places: what is written.
        options: how ``data`` is read.
        resume, log_dir, on_progress: as `fit` has them.
        on_read: told how much of ``data`` is read, and of how much.
        on_note: told what a person should know of the data, in lines.
        then: called with what came of it, while the history is open; not where nothing came of it.

    Raises:
        DataError: the data cannot be used, or are too few.
        StartupError, RunError: as `fit`.
    """
    keep_inputs(places.all, [data, declaration.path])
    _check_fields(declaration)
    with open_history(data, declaration, (), options, on_note, on_read) as history:
        task, parts, sizes, settings = _task(declaration, history, settings)
        for line in doubts.told(history, task.statistics):
            on_note(line)
        done = fit(task, settings, places.best, resume=resume, log_dir=log_dir, on_progress=on_progress)
        if done.best_loss is None:
            return done
        task.model.load_state_dict(read_checkpoint(places.best)["model_state_dict"])
        forecasts = task.judge()
        factor = calibration(forecasts, task.least)
        trained = Trained(
            history,
            parts,
            task.statistics,
            settings,
            sizes,
            done,
            task.judged,
            forecasts,
            task.persistence(),
            task.least,
            factor,
        )
        _write(declaration, task, trained, places)
        then(trained)
        return done


def _task(
    declaration: Declaration, history: History, settings: TaskSettings
) -> tuple[ForecastTask, Split, Sizes, TaskSettings]:
    wish = declaration.training
    lengths = [len(each) for each in history.sequences]
    parts = split(lengths, wish.horizon, settings.seed, history.source)
    statistics = prepare_statistics(history, parts, declaration.columns)
    samples, held_out = parts.counts
    sizes = sizes_for(samples, statistics.mean.size, settings, wish)
    chosen = msgspec.structs.replace(
        settings, cell=sizes.cell, hidden_size=sizes.hidden_size, num_layers=sizes.num_layers
    )
    facts = {
        "samples": samples,
        "held_out": held_out,
        "sequences": len(lengths),
        "statistics": _plain(statistics),
        "origin": origin_of(history.sequences, parts),
    }
    made = ForecastTask(
        learnt(history, parts, statistics), judged(history, parts, statistics), statistics, sizes, chosen, facts
    )
    return made, parts, sizes, chosen


def _plain(statistics: FieldStatistics) -> dict[str, list[float]]:
    return {"mean": statistics.mean.tolist(), "std": statistics.std.tolist(), "change": statistics.change.tolist()}


def _check_fields(declaration: Declaration) -> None:
    if declaration.kind != "step":
        raise StartupError(f"{declaration.path}: a forecaster is for a task of the kind step, not {declaration.kind}")
    for field in declaration.fields:
        if field.overlap:
            raise StartupError(
                f"{declaration.path}: [fields.{field.name}] overlap is {field.overlap}: a forecaster reads each number "
                "once; leave it out"
            )


def _write(declaration: Declaration, task: ForecastTask, trained: Trained, places: Places) -> None:
    arrays = export.forecaster(task.model, trained.statistics, trained.factor)
    facts = {**task.extras(), "epoch": trained.fitted.best_epoch, "loss": trained.fitted.best_loss}
    export.write_weights(places.weights, arrays, trained.statistics, facts)
    samples = np.concatenate([each.values[: export.EXAMPLE_STEPS] for each in trained.history.sequences[:1]])
    tensor = names_for(declaration).forecast
    export.write_example(places.example, task.model, arrays, trained.statistics, samples, tensor)
