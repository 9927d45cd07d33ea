"""The records of a task, for its senders and readers: JSON Schema of samples and outputs, and an AsyncAPI document."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from core.tasks.declaration import Declaration, Field, Output
from core.wire.record_limits import MAX_KEY_BYTES, MAX_SEQUENCE_BYTES, MAX_STEP, MAX_TIME_MS, MIN_TIME_MS

Schema = dict[str, Any]

_TEXT = {"type": "string", "maxLength": MAX_SEQUENCE_BYTES}
_STEP = {"type": "integer", "minimum": 0, "maximum": MAX_STEP}
_TIME = {"type": "integer", "minimum": MIN_TIME_MS, "maximum": MAX_TIME_MS}
_NUMBER = {"type": ["number", "null"]}
_PROBABILITY = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_STREAM = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES}
LEAST_OF = {"error": 0, "forecast_error": 0, "surprise": 0, "likelihood_ratio": -0.5}
"""By function, the least number that it gives."""
_SHOWN_TIME = 1_767_225_600_000  # 2026-01-01


def sample_schema(task: Declaration) -> Schema:
    """The schema of a sample. Fields that it does not name are ignored, and null means absent."""
    properties: Schema = {
        "sequence": _said(_or_null(_TEXT), "The run of samples over which the state is carried."),
        "step": _said(_or_null(_STEP), "Number of the sample in its sequence; by default the next one."),
        "timestamp_ms": _said(_or_null(_TIME), "Event time, milliseconds since 1970; by default the record's own."),
        "end": _said(_or_null({"type": "boolean"}), "True at the last sample of a sequence."),
    }
    for field in task.fields:
        properties |= dict.fromkeys((field.name, *field.aliases), _field(field))
    schema: Schema = {"type": "object", "properties": properties}
    needed = [field for field in task.fields if field.missing == "refuse"]
    if required := [field.name for field in needed if not field.aliases]:
        schema["required"] = required
    if ways := [_one_of(field) for field in needed if field.aliases]:
        schema["allOf"] = ways
    return schema


def output_schema(task: Declaration) -> Schema:
    """The schema of an output, its properties in the order in which they are published."""
    windows = task.window is not None
    properties: Schema = {"stream": _STREAM, "sequence": _TEXT, "step": _STEP}
    if windows:
        properties["start"] = _said(_STEP, "First step of the window.")
        properties["length"] = _said({"type": "integer", "minimum": 0}, "Samples in the window.")
    properties["timestamp_ms"] = _TIME
    properties |= {output.name: _output(output) for output in task.published}
    if windows:
        properties["final"] = _said({"type": "boolean"}, "True for the last output of a sequence.")
    properties["model"] = _said({"type": "string"}, "Fingerprint of the model.")
    if windows:
        properties["reason"] = _said({"type": "string"}, "Why the outputs are null.")
    properties["gap"] = _said({"type": "integer", "minimum": 1}, "Steps missing right before, where there are some.")
    optional = ("reason", "gap")
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def example_sample(task: Declaration) -> dict[str, Any]:
    """A sample that the schema accepts."""
    values = {field.name: _example(field) for field in task.fields}
    return {"sequence": "2026-01-01", "step": 0, "timestamp_ms": _SHOWN_TIME, **values}


def asyncapi(tasks: Iterable[Declaration], topic: Callable[[str], str]) -> dict[str, Any]:
    """An AsyncAPI 3 document of tasks: a channel for the samples and one for the outputs of each.

    Args:
        topic: gives the whole name of a topic, with its prefix.
    """
    channels: Schema = {}
    operations: Schema = {}
    messages: Schema = {}
    tasks = list(tasks)
    for task in tasks:
        for what, address, action, message in (
            ("samples", task.topics.source, "receive", _samples(task)),
            ("outputs", task.topics.output, "send", _outputs(task)),
        ):
            name = f"{task.name}-{what}"
            messages[name] = message
            channels[name] = {"address": topic(address), "messages": {name: _ref("components", "messages", name)}}
            operations[f"{action}-{name}"] = {
                "action": action,
                "channel": _ref("channels", name),
                "messages": [_ref("channels", name, "messages", name)],
            }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": f"caststream: {', '.join(task.name for task in tasks)}", "version": "1"},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def _samples(task: Declaration) -> Schema:
    return _message(f"A sample of {task.name}", sample_schema(task)) | {"examples": [{"payload": example_sample(task)}]}


def _outputs(task: Declaration) -> Schema:
    offset = _said({"type": "string", "pattern": "^[0-9]+$"}, "Offset of the sample that the output is of.")
    headers = {"type": "object", "properties": {"source-offset": offset, "app-id": {"type": "string"}}}
    return _message(f"An output of {task.name}", output_schema(task)) | {"headers": headers}


def _message(title: str, payload: Schema) -> Schema:
    key = _said(_STREAM, "The stream.")
    return {"title": title, "payload": payload, "bindings": {"kafka": {"key": key, "bindingVersion": "0.5.0"}}}


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "/".join(("#", *path))}


def _field(field: Field) -> Schema:
    number = {"type": "number", "minimum": field.low, "maximum": field.high}
    shape = number
    if field.length is not None:
        shape = {"type": "array", "items": number, "minItems": field.length, "maxItems": field.length}
    if field.missing == "hold":
        shape = _or_null(shape)
    return _with_unit(shape, field.unit)


def _one_of(field: Field) -> Schema:
    return {"anyOf": [{"required": [name]} for name in (field.name, *field.aliases)]}


def _output(output: Output) -> Schema:
    if output.apply in ("label", "leading"):
        return {"enum": [*output.labels, None]}
    if output.apply == "above":
        return {"type": ["boolean", "null"]}
    if output.apply == "argmax_step":
        return _or_null(_STEP)
    return _with_unit(_numbers(output), output.unit)


def _numbers(output: Output) -> Schema:
    """One number, several by their names, or as many as the model gives."""
    if output.apply in LEAST_OF:
        return {"type": ["number", "null"], "minimum": LEAST_OF[output.apply]}
    number = _PROBABILITY if output.apply in ("sigmoid", "softmax") else _NUMBER
    names = output.names or output.labels
    if len(names) > 1:
        return {"type": ["object", "null"], "properties": dict.fromkeys(names, number), "required": list(names)}
    return number if names else {"anyOf": [number, {"type": "array", "items": number}]}


def _or_null(schema: Schema) -> Schema:
    return schema | {"type": [schema["type"], "null"]}


def _said(schema: Schema, meaning: str) -> Schema:
    return schema | {"description": meaning}


def _with_unit(schema: Schema, unit: str) -> Schema:
    return _said(schema, f"In {unit}.") if unit else schema


def _example(field: Field) -> Any:
    low, high = field.normal or (field.low, field.high)
    number = 0.0 if low <= 0 <= high else low
    return number if field.length is None else [number] * field.length
