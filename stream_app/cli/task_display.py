"""A task as text, for a person."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from core.tasks.declaration import LARGEST_VALUE, Declaration, Field, Output
from stream_app.settings import Settings

_KINDS = {"step": "one step per sample", "window": "a window of samples at a time"}
_MOST_COLUMNS = 4


def described(task: Declaration, settings: Settings) -> Iterator[str]:
    """The lines that tell the topics, fields and outputs of a task, under the names of the settings."""
    topics = task.topics
    yield f"{task.name}: {_KINDS[task.kind]}, {task.width} numbers into the model"
    yield f"  source  {settings.topic(topics.source)}"
    yield f"  output  {settings.topic(topics.output)}"
    yield f"  table   {settings.changelog(topics.table)}"
    yield f"  model   {os.path.normpath(task.model.file)}"
    if task.window is not None:
        window = task.window
        yield f"  window  up to {window.length} samples, first output at {window.first}, then every {window.hop}"
    if rules := _rules(task):
        yield f"  rules   {rules}"
    yield from _table("fields", [_field(field) for field in task.fields])
    yield from _table("outputs", [_output(output) for output in task.outputs])


def _rules(task: Declaration) -> str:
    rules = task.rules
    held = {name: getattr(rules, name) for name in ("gap_policy", "max_gap", "idle_timeout", "max_step_jump")}
    return ", ".join(f"{name} {value}" for name, value in held.items() if value is not None)


def _table(title: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"  {title}"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        yield f"    {'  '.join(cells)}".rstrip()


def _field(field: Field) -> tuple[str, ...]:
    return (
        field.name,
        "number" if field.length is None else f"{field.length} numbers",
        field.unit,
        _range(field.low, field.high),
        "" if field.normal is None else f"normal {field.normal[0]:g} to {field.normal[1]:g}",
        "; ".join(_further(field)),
    )


def _range(low: float, high: float) -> str:
    return f"within ±{LARGEST_VALUE:,.0f}" if (low, high) == (-LARGEST_VALUE, LARGEST_VALUE) else f"{low:g} to {high:g}"


def _further(field: Field) -> Iterator[str]:
    if field.aliases:
        yield f"also {', '.join(field.aliases)}"
    if field.columns != (field.name,):
        few = len(field.columns) <= _MOST_COLUMNS
        yield f"in a CSV {', '.join(field.columns) if few else f'{field.columns[0]} to {field.columns[-1]}'}"
    if field.missing == "hold":
        yield "held where it is missing"
    if field.overlap:
        yield f"with the last {field.overlap} of the record before"


def _output(output: Output) -> tuple[str, ...]:
    source = output.of or output.tensor
    return (
        output.name,
        output.unit,
        f"{output.apply} of {source}" if output.apply else f"the model's {source}",
        _parameters(output),
    )


def _parameters(output: Output) -> str:
    if output.apply == "above":
        return f"from {output.threshold:g}, until below {output.clear:g}"
    if output.apply == "likelihood_ratio":
        return f"over {output.horizon} steps"
    names = ", ".join(output.names or output.labels)
    return names if output.publish else f"{names} (not published)".lstrip()
