"""The types of outputs: those of a task are made of what it declares."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from core.tasks.declaration import Declaration, Kind, Output

_Number = float | None


def output_type(task: Declaration) -> type[msgspec.Struct]:
    """The type of a task's outputs, its fields in the order in which they are published."""
    return _made(task.kind, task.published)


@lru_cache
def _made(kind: Kind, outputs: tuple[Output, ...]) -> type[msgspec.Struct]:
    windows = kind == "window"
    head: list[Any] = [("stream", str), ("sequence", str), ("step", int)]
    head += [("start", int), ("length", int)] if windows else []
    head += [("timestamp_ms", int), *((output.name, type_of(output)) for output in outputs)]
    head += [("final", bool)] if windows else []
    optional: list[Any] = [("reason", str | None, None)] if windows else []
    optional += [("gap", int, 0)]
    return msgspec.defstruct("Output", [*head, ("model", str), *optional], frozen=True, gc=False, omit_defaults=True)


def type_of(output: Output) -> Any:
    """The type of one output. Null: there is no number."""
    if output.apply in ("label", "leading"):
        return str | None
    if output.apply == "above":
        return bool | None
    if output.apply == "argmax_step":
        return int | None
    if output.apply in ("error", "forecast_error", "surprise", "likelihood_ratio"):
        return _Number
    if len(output.names or output.labels) > 1:
        return dict[str, _Number] | None
    return float | list[_Number] | None
