"""Chooses the engine of a task by its declaration.

Engines are imported where one is made: a worker loads what its tasks need.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.engines.base import Engine
from core.engines.results import StateStore, StreamRules, WindowRules
from core.models.safetensors import looks_like_safetensors
from core.tasks.declaration import Declaration
from stream_app.rules import (
    is_of_shipped_kind,
    load_step_model,
    load_task_model,
    load_window_model,
    model_file,
    stream_rules,
    window_rules,
)
from stream_app.settings import Settings
from stream_app.sizes import state_bytes, window_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskEngine:
    """A task's engine, and what the worker shows and checks of it."""

    engine: Engine[Any]
    fingerprint: str
    state_bytes: int
    """The most that must fit into one batch of the changelog."""


def make_engine(settings: Settings, task: Declaration, states: StateStore) -> TaskEngine:
    """Load the model of a task and make its engine, on the table's states. A model of the user's own is checked first.

    Raises:
        StartupError: its file is missing or holds another kind of model, the check refuses it, or the task has fields
            or outputs that are not those of its weights.
    """
    if is_of_shipped_kind(task):
        return _of_shipped_kind(settings, task, states)
    return (_steps if task.window is None else _windows)(settings, task, states)


def _of_shipped_kind(settings: Settings, task: Declaration, states: StateStore) -> TaskEngine:
    model: Any = load_task_model(settings, task)
    if settings.device == "cpu":
        _tell_of_pytorch(model_file(settings, task))
    return (_signals if task.window is None else _casts)(settings, task, states, model)


def _tell_of_pytorch(file: Path, then: str = "") -> None:
    with file.open("rb") as opened:
        if not looks_like_safetensors(opened.read(16)):
            told = "%s is a file of PyTorch, which takes 500 MB of memory: `caststream task convert %s` spares it%s"
            log.info(told, file, file, then)


def _signals(settings: Settings, task: Declaration, states: StateStore, model: Any) -> TaskEngine:
    from core.engines.infer import state_size
    from core.engines.stepper import SignalStepper
    from core.models.weights_file import weights_of

    stepper = SignalStepper(model, stream_rules(settings, task), states, settings.output_format, time.perf_counter)
    return TaskEngine(stepper, weights_of(model).fingerprint, state_bytes(state_size(model), task.width))


def _casts(settings: Settings, task: Declaration, states: StateStore, model: Any) -> TaskEngine:
    from core.engines.scorer import CastScorer
    from core.models.weights_file import weights_of

    rules, windows = stream_rules(settings, task), window_rules(settings, task)
    given = model, rules, windows, states, settings.output_format, time.perf_counter
    scorer = CastScorer(*given, deferred=True, declaration=task)
    return TaskEngine(scorer, weights_of(model).fingerprint, _window_bytes(rules, windows, task))


def _windows(settings: Settings, task: Declaration, states: StateStore) -> TaskEngine:
    from core.engines.window_engine import WindowEngine

    model = load_window_model(settings, task)
    rules, windows = stream_rules(settings, task), window_rules(settings, task)
    engine = WindowEngine(model.task, rules, windows, states, settings.output_format, time.perf_counter, deferred=True)
    return TaskEngine(engine, model.fingerprint, _window_bytes(rules, windows, task))


def _steps(settings: Settings, task: Declaration, states: StateStore) -> TaskEngine:
    from core.engines.own_weights import has_own_weights
    from core.engines.steps import StepEngine

    model = load_step_model(settings, task)
    if has_own_weights(task):
        _tell_of_pytorch(task.model.file, "; it is another file then, which sets all states to zero")
    given = stream_rules(settings, task), states, settings.output_format, time.perf_counter
    engine = StepEngine(model.task, model.states(), *given)
    return TaskEngine(engine, model.fingerprint, state_bytes(model.state_size, task.width))


def _window_bytes(rules: StreamRules, windows: WindowRules, task: Declaration) -> int:
    filled = rules.max_gap if rules.gap_policy == "hold" else 0
    return window_bytes(windows.window_length, task.width, filled)
