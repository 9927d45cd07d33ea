"""The shipped task that a task is like: the code has two forms of records and outputs so far, those of the two.

A task of the user's own with the same fields and outputs runs as they do, on topics, a model and windows of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.errors import StartupError
from core.tasks import Task
from core.tasks.declaration import Declaration
from core.tasks.reading import shipped
from core.wire.records import decode_prediction, decode_score

Decoder = Callable[..., Any]
_OUTPUTS: dict[Task, Decoder] = {"signal": decode_prediction, "casting": decode_score}


def like(task: Declaration) -> Task | None:
    """Return the shipped task whose fields and outputs a task has; None if it has others."""
    names: tuple[Task, ...] = ("signal", "casting")
    return next((name for name in names if _form(task) == _form(shipped(name))), None)


def need_like(task: Declaration, what: str) -> Task:
    """Return the shipped task whose fields and outputs a task has. Raises StartupError: it has others, so ``what`` does
    not know it yet.
    """
    form = like(task)
    if form is None:
        raise StartupError(
            f"task {task.name!r}: so far {what} only for tasks with the fields and outputs of signal or casting"
        )
    return form


def _form(task: Declaration) -> tuple[object, ...]:
    return task.kind, task.fields, task.outputs


def output_decoder(task: Declaration) -> Decoder | None:
    """Return what reads the task's outputs, and raises RecordError; None if nothing does yet."""
    found = like(task)
    return None if found is None else _OUTPUTS[found]
