"""The audit of each task, with its model: by what it declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Any

from core.audit.models import BankSteps, ScoredWindowsModel, StepsModel, WindowsModel
from core.audit.partition import PartitionAudit
from core.audit.samples import SampleReader
from core.audit.scope import Scope
from core.audit.steps import StepAudit
from core.audit.windows import WindowAudit
from core.tasks.declaration import Declaration, Output
from core.tasks.fingerprint import fingerprint_of
from stream_app.rules import checked_model, is_of_shipped_kind, load_task_model, stream_rules, window_rules
from stream_app.settings import Settings
from stream_app.verify.scales import scales_of_steps, scales_of_windows

MakeAudit = Callable[[Scope], PartitionAudit]


def audit_makers(settings: Settings) -> dict[str, MakeAudit]:
    """Return the auditors of a partition, by task. Raises StartupError for a bad checkpoint or task."""
    return {task.name: _maker(settings, task) for task in settings.declarations()}


def _maker(settings: Settings, task: Declaration) -> MakeAudit:
    rules = stream_rules(settings, task)
    own = not is_of_shipped_kind(task)  # the numbers of those that ship are about 1
    if task.kind == "step":
        samples, steps = _steps_model(settings, task)
        scales = scales_of_steps(task, steps) if own else None
        return partial(StepAudit, task, samples, steps, rules, scales=scales)
    samples, windows = _windows_model(settings, task)
    scales = scales_of_windows(task, windows) if own else None
    return partial(WindowAudit, task, samples, windows, rules, window_rules(settings, task), scales=scales)


def _steps_model(settings: Settings, task: Declaration) -> tuple[SampleReader, StepsModel]:
    if not is_of_shipped_kind(task):
        return SampleReader.of(task), declared_steps(task, *checked_model(settings, task))
    from core.audit.shipped_models import SignalSteps

    model: Any = load_task_model(settings, task)
    return SampleReader.of(task), SignalSteps(model)


def _windows_model(settings: Settings, task: Declaration) -> tuple[SampleReader, WindowsModel]:
    if not is_of_shipped_kind(task):
        return SampleReader.of(task), declared_windows(task, *checked_model(settings, task))
    from core.audit.shipped_models import DefectWindows

    model: Any = load_task_model(settings, task)
    return SampleReader.of(task), DefectWindows(model)


def declared_steps(task: Declaration, model: bytes, plan: str) -> BankSteps:
    """The model of a declared step task, without what the task computes of its numbers: the audit does that.

    Args:
        task: the declaration.
        model: the model file's bytes, those that were checked.
        plan: name of the batch plan that the check has found.

    Raises:
        StartupError: the model cannot be used, or does not fit the declaration.
    """
    from core.engines.declared.stepper import StepModel

    names = list(dict.fromkeys(output.tensor for output in task.outputs if output.of is None))
    plain = tuple(Output(f"tensor_{number}", name) for number, name in enumerate(names))
    opened = StepModel(replace(task, outputs=plain), model, plan)
    ends = list(accumulate(field.length for field in opened.outputs.fields))
    places = [slice(end - field.length, end) for field, end in zip(opened.outputs.fields, ends, strict=True)]
    tensors = dict(zip(names, places, strict=True))
    return BankSteps(opened.states(), tensors, opened.state_size, fingerprint_of(task, model))


def declared_windows(task: Declaration, model: bytes, plan: str) -> ScoredWindowsModel:
    """The model of a declared window task; arguments and errors as `declared_steps` has them."""
    from core.engines.declared.task_windows import open_task_windows

    return ScoredWindowsModel(open_task_windows(task, model).live(plan), fingerprint_of(task, model))
