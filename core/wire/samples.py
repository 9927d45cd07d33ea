"""The samples of a task, whichever it is, as values."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from core.tasks.declaration import Declaration, Field
from core.tasks.reading import shipped
from core.wire.codecs import task_codec
from core.wire.records import decode_casting, decode_signal

SampleDecoder = Callable[..., Any]
"""Takes a record's value and headers, gives its sample, and raises RecordError."""

_SHIPPED: dict[str, SampleDecoder] = {"signal": decode_signal, "casting": decode_casting}
"""Older than declarations: no truth values count as numbers there, and a signal has no end."""


def sample_decoder(task: Declaration) -> SampleDecoder:
    """Return what reads the task's samples."""
    return _SHIPPED.get(task.name) or _declared(task.name, task.fields)


@lru_cache
def _declared(name: str, fields: tuple[Field, ...]) -> SampleDecoder:
    return task_codec(name, fields).decode


def takes_end(task: Declaration) -> bool:
    """True if a sample of the task may say that it is the last one of its sequence."""
    return task != shipped("signal")
