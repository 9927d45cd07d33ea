"""The rules and the model of a task, from its declaration and the settings: for worker, audit and offline runs.

The settings of windows and checkpoints are older than declarations. They override those of the two tasks that ship.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from core.engines.results import StreamRules, WindowRules
from core.errors import StartupError
from core.models.shipped import ModelKind
from core.tasks.declaration import Declaration
from core.tasks.fingerprint import fingerprint_of
from core.tasks.reading import shipped
from stream_app.settings import Settings

if TYPE_CHECKING:
    from core.engines.declared.stepper import StepModel
    from core.engines.declared.window_model import WindowModel
    from core.models.opening import RunModel

_KINDS: dict[str, ModelKind] = {"signal": "signal", "casting": "defect"}


def stream_rules(settings: Settings, task: Declaration) -> StreamRules:
    """Return the rules by which the records of a task are judged."""
    own = task.rules
    return StreamRules(
        gap_policy=settings.gap_policy if own.gap_policy is None else own.gap_policy,
        max_gap=settings.max_gap if own.max_gap is None else own.max_gap,
        max_step_jump=settings.max_step_jump if own.max_step_jump is None else own.max_step_jump,
        idle_timeout_ms=round(idle_timeout(settings, task) * 1000),
    )


def idle_timeout(settings: Settings, task: Declaration) -> float:
    """Return the seconds of silence after which a stream of the task starts again from zero."""
    return settings.idle_timeout if task.rules.idle_timeout is None else task.rules.idle_timeout


def window_rules(settings: Settings, task: Declaration | None = None) -> WindowRules:
    """Return the rules for windows: the samples that a score sees, and when it is due; by default those of casts."""
    if task is None or task == shipped("casting") or task.window is None:
        return WindowRules(settings.window_length, settings.window_min, settings.hop)
    return WindowRules(task.window.length, task.window.first, task.window.hop)


def model_name(task: Declaration) -> str:
    """Return what a task's model is called in metrics: by its kind where it ships, else as the task."""
    return _KINDS.get(task.name, task.name)


def is_of_shipped_kind(task: Declaration) -> bool:
    """True if the task's model is a checkpoint of one of the two kinds that ship; else it is the user's own."""
    from core.engines.own_weights import is_like_shipped

    return is_like_shipped(task)


def model_file(settings: Settings, task: Declaration) -> Path:
    """Return the file of a task's weights: that of the settings, where they have one for it, else the declared one."""
    given = {"signal": settings.signal_checkpoint, "casting": settings.defect_checkpoint}.get(task.name)
    return given or Path(os.path.normpath(task.model.file))


def load_task_model(settings: Settings, task: Declaration) -> RunModel:
    """The model of a task of one of the two kinds that ship, for the device of the settings.

    Raises:
        StartupError: its file is missing or holds another kind of model.
    """
    from core.models.opening import open_model

    return open_model(model_file(settings, task), "signal" if task.window is None else "defect", settings.device)


def load_step_model(settings: Settings, task: Declaration) -> StepModel:
    """The model of a declared step task, an ONNX file or weights, checked.

    Raises:
        StartupError: it cannot be used: what, where, and what to do.
    """
    from core.engines.declared.stepper import StepModel

    return StepModel(task, *checked_model(settings, task))


def load_window_model(settings: Settings, task: Declaration) -> WindowModel:
    """The model of a declared window task, checked; errors as `load_step_model` has them."""
    from core.engines.declared.window_model import WindowModel

    return WindowModel(task, *checked_model(settings, task))


def checked_model(settings: Settings, task: Declaration) -> tuple[bytes, str]:
    """Return the bytes of a task's model and its batch plan, by the check; raises StartupError."""
    from core.tasks.check.run import check_task

    checked = check_task(task.path, settings.checks_dir, state_bytes=settings.max_state_bytes)
    model = task.model.file.read_bytes()
    if fingerprint_of(task, model) != checked.fingerprint:  # the check has read both files by itself
        raise StartupError(f"{task.path} or {task.model.file}: has changed while it was checked: start again")
    return model, checked.plan
