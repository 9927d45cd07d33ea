"""The samples of a task, whichever it is, as values."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from core.native.fields import FieldList
from core.tasks.declaration import Declaration, Field
from core.tasks.reading import SHIPPED, shipped
from core.wire.codecs import task_codec
from core.wire.records import decode_casting, decode_signal

SampleDecoder = Callable[..., Any]
"""Takes a record's value and headers, gives its sample, and raises RecordError."""

_SHIPPED: dict[str, SampleDecoder] = {"signal": decode_signal, "casting": decode_casting}


def sample_decoder(task: Declaration) -> SampleDecoder:
    """Return what reads the task's samples, in full: in a worker, for a sender, and for what is sent again."""
    return _SHIPPED[task.name] if is_older(task) else _declared(task.name, task.fields)


def field_list(task: Declaration) -> FieldList:
    """Return the list by which the compiled loops read the task's plain samples, as `sample_decoder` does."""
    return FieldList(task.fields, end=takes_end(task), booleans=not is_older(task))


@lru_cache
def _declared(name: str, fields: tuple[Field, ...]) -> SampleDecoder:
    return task_codec(name, fields).decode


def takes_end(task: Declaration) -> bool:
    """True if a sample of the task may say that it is the last one of its sequence."""
    return task != shipped("signal")


def is_older(task: Declaration) -> bool:
    """True of the two tasks that ship: their records are older than declarations, so truth values are no numbers there.

    No other task has their names.
    """
    return task.name in SHIPPED
