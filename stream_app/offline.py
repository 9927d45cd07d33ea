"""Runs over files: the model of a task, loaded and checked as a worker has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from core.arrays import Float32s, Float64s
from core.tasks.declaration import Declaration
from core.tasks.reading import SHIPPED, shipped
from stream_app.rules import is_of_shipped_kind, load_step_model, load_task_model, load_window_model, window_rules
from stream_app.settings import Settings

if TYPE_CHECKING:
    from core.offline.predict import PredictSummary
    from core.offline.steps import StepModelRun
    from core.offline.windows import WindowModelRun


def predict_file(
    settings: Settings, path: Path, out: Path | BinaryIO, task: Declaration | None, **options: Any
) -> PredictSummary:
    """Run a task's model over a file: the given task's, or that whose datasets the file has.

    Args:
        options: those of `core.offline.task_predict.predict_task`.

    Raises:
        DataError: the file cannot be used, or the outputs cannot be written.
        StartupError: the model or an argument is wrong.
    """
    from core.data.layout import file_kind, has_older_layout

    task = shipped(file_kind(path)) if task is None else task
    if task.name in SHIPPED and has_older_layout(path, task.name):
        return _predict_shipped(settings, path, out, options)
    from core.offline.task_predict import predict_task

    return predict_task(path, out, (step_model if task.window is None else window_model)(settings, task), **options)


def _predict_shipped(settings: Settings, path: Path, out: Path | BinaryIO, options: dict[str, Any]) -> PredictSummary:
    from core.offline.predict import predict

    return predict(
        path,
        out,
        signal_checkpoint=settings.signal_checkpoint,
        defect_checkpoint=settings.defect_checkpoint,
        device=settings.device,
        rules=window_rules(settings),
        **options,
    )


def step_model(settings: Settings, task: Declaration) -> StepModelRun:
    """The model of a step task.

    Raises:
        StartupError: it cannot be used: what, where, and what to do.
    """
    from core.offline.steps import StepModelRun

    if is_of_shipped_kind(task):
        return _signal_model(settings, task)
    model = load_step_model(settings, task)
    return StepModelRun(task, model.fingerprint, model.outputs.fields, model.states())


def _signal_model(settings: Settings, task: Declaration) -> StepModelRun:
    from core.engines.hidden import make_hidden
    from core.engines.infer import prepare
    from core.models.ranges import Ranges
    from core.models.weights_file import weights_of
    from core.offline.steps import StepModelRun
    from core.wire.outputs import PREDICTION

    model: Any = load_task_model(settings, task)
    prepare(model)
    weights = weights_of(model)
    ranges = Ranges.read(weights.training_ranges, task.places())
    return StepModelRun(task, weights.fingerprint, PREDICTION, make_hidden(model), ranges)


def window_model(settings: Settings, task: Declaration) -> WindowModelRun:
    """The model of a window task; errors as `step_model` has them."""
    from core.offline.windows import WindowModelRun

    if is_of_shipped_kind(task):
        return _cast_model(settings, task)
    model = load_window_model(settings, task)
    return WindowModelRun(task, model.fingerprint, model.outputs.fields, window_rules(settings, task), model.score)


def _cast_model(settings: Settings, task: Declaration) -> WindowModelRun:
    from core.engines.infer import prepare
    from core.engines.scorer import CastModel
    from core.models.ranges import Ranges
    from core.models.weights_file import weights_of
    from core.offline.windows import WindowModelRun
    from core.wire.outputs import SCORE

    model: Any = load_task_model(settings, task)
    prepare(model)
    scorer, weights = CastModel(model), weights_of(model)

    def score(windows: Sequence[Float32s]) -> Float64s:
        return scorer.score(windows, [np.arange(len(window)) for window in windows])

    ranges = Ranges.read(weights.training_ranges, task.places())
    return WindowModelRun(task, weights.fingerprint, SCORE, window_rules(settings, task), score, ranges)
