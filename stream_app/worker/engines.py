"""Chooses the engine of a task by its declaration.

Engines are imported where one is made: a worker of ONNX models alone is spared torch's 2 s and 500 MB.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from core.engines.base import Engine
from core.engines.results import StateStore, StreamRules, WindowRules
from core.tasks.declaration import Declaration
from stream_app.rules import (
    load_step_model,
    load_task_model,
    load_window_model,
    runs_by_torch,
    stream_rules,
    window_rules,
)
from stream_app.settings import Settings
from stream_app.sizes import state_bytes, window_bytes

ONNX = ".onnx"


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
    if runs_by_torch(task):
        return _by_torch(settings, task, states)
    return (_steps if task.window is None else _windows)(settings, task, states)


def load_torch(tasks: Iterable[Declaration]) -> None:
    """Import torch if the model of a task needs it. That takes 2 s, most of a start."""
    if not any(map(runs_by_torch, tasks)):
        return
    # oneDNN keeps 1,024 compiled shapes by default, and final scores have any length: 260 MB within an hour. The shapes
    # of hop scores, which come all the time, are some hundred; one that is met again costs a fifth more.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    import torch  # noqa: F401


def _by_torch(settings: Settings, task: Declaration, states: StateStore) -> TaskEngine:
    from core.engines.infer import state_size
    from core.engines.scorer import CastScorer
    from core.engines.stepper import SignalStepper
    from core.models.fingerprint import fingerprint
    from core.models.signal_lstm import SignalExtractionLSTM

    model = load_task_model(settings, task)
    if isinstance(model, SignalExtractionLSTM):
        stepper = SignalStepper(model, stream_rules(settings, task), states, settings.output_format, time.perf_counter)
        return TaskEngine(stepper, fingerprint(model), state_bytes(state_size(model), task.width))
    rules, windows = stream_rules(settings, task), window_rules(settings, task)
    given = model, rules, windows, states, settings.output_format, time.perf_counter
    scorer = CastScorer(*given, deferred=True, declaration=task)
    return TaskEngine(scorer, fingerprint(model), _window_bytes(rules, windows, task))


def _windows(settings: Settings, task: Declaration, states: StateStore) -> TaskEngine:
    from core.engines.window_engine import WindowEngine

    model = load_window_model(settings, task)
    rules, windows = stream_rules(settings, task), window_rules(settings, task)
    engine = WindowEngine(model.task, rules, windows, states, settings.output_format, time.perf_counter, deferred=True)
    return TaskEngine(engine, model.fingerprint, _window_bytes(rules, windows, task))


def _steps(settings: Settings, task: Declaration, states: StateStore) -> TaskEngine:
    from core.engines.steps import StepEngine

    model = load_step_model(settings, task)
    given = stream_rules(settings, task), states, settings.output_format, time.perf_counter
    engine = StepEngine(model.task, model.states(), *given)
    return TaskEngine(engine, model.fingerprint, state_bytes(model.state_size, task.width))


def _window_bytes(rules: StreamRules, windows: WindowRules, task: Declaration) -> int:
    filled = rules.max_gap if rules.gap_policy == "hold" else 0
    return window_bytes(windows.window_length, task.width, filled)
