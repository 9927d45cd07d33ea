"""The types of samples: those of a task are made of its fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.tasks.declaration import Field
from core.wire.record_limits import MAX_SEQUENCE_BYTES, MAX_STEP, MAX_TIME_MS, MAX_VALUE, MIN_TIME_MS

# Limits stand in the types, where they cost nothing: in Python they would double the price of decoding.
Number = Annotated[float, Meta(ge=-MAX_VALUE, le=MAX_VALUE)]  # NaN lies in no range
Step = Annotated[int, Meta(ge=0, le=MAX_STEP)]
TimestampMs = Annotated[int, Meta(ge=MIN_TIME_MS, le=MAX_TIME_MS)]
SequenceName = Annotated[str, Meta(max_length=MAX_SEQUENCE_BYTES)]  # in characters: the bytes are checked besides


def sample_type(name: str, fields: Sequence[Field], has_end: bool) -> type[msgspec.Struct]:
    """The type of a task's samples: its fields, then ``sequence``, ``step``, ``timestamp_ms`` and, if so, ``end``.

    A field that may be missing is None then.
    """
    own = [(field.name, _type_of(field)) for field in fields if field.missing == "refuse"]
    optional: list[tuple[str, Any, Any]] = [
        (field.name, _type_of(field) | None, None) for field in fields if field.missing == "hold"
    ]
    optional += [("sequence", SequenceName | None, ""), ("step", Step | None, None)]
    optional += [("timestamp_ms", TimestampMs | None, None)]
    optional += [("end", bool | None, False)] if has_end else []
    return msgspec.defstruct(name, [*own, *optional], frozen=True, gc=False)


def _type_of(field: Field) -> Any:
    number = Annotated[float, Meta(ge=field.low, le=field.high)]
    if field.length is None:
        return number
    return Annotated[list[number], Meta(min_length=field.length, max_length=field.length)]


def block_of(sample: Any, fields: Sequence[Field], before: Sequence[float], overlaps: bool = True) -> tuple[float, ...]:
    """A sample (F,) as the model reads it.

    Args:
        sample: of the type that is made of the fields.
        fields: of the task.
        before: the stream's last sample (F,): what is missing is held from there. Zeros where there is none.
        overlaps: what overlaps comes from there too; else it is zeros, as where a sequence begins.
    """
    block: list[float] = []
    for field in fields:
        end = len(block) + field.width
        block += before[end - field.overlap : end] if overlaps else (0.0,) * field.overlap
        held = getattr(sample, field.name)
        if held is None:
            block += before[end - field.numbers : end]
        else:
            block += [held] if field.length is None else held
    return tuple(block)


def lacked(sample: Any, may_lack: Sequence[str]) -> list[str]:
    """Return the fields that a sample lacks, of those that it may."""
    return [name for name in may_lack if getattr(sample, name) is None]
