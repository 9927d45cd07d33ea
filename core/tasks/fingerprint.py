"""The name of a declared model in every output: a hash of everything that decides its numbers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from core.tasks.declaration import Declaration, Field, Output

FIELDS_DIGITS = 4
"""The number of a fingerprint's first digits that are of the fields alone: what was kept of others is no sample now."""


def fingerprint_of(declaration: Declaration, model: bytes) -> str:
    """12 hex digits of SHA-256: `FIELDS_DIGITS` of the fields, the others of what of a declaration moves outputs, and
    of the model file's bytes.

    Not in it are the task's name, topics, rules, units, ranges, what is normal, what is done where a field is missing,
    other names of fields, columns and the example: a change of them resets no state. Of tasks that ship with the
    package see `core.models.fingerprint`.
    """
    digest = hashlib.sha256(_canonical(declaration))
    digest.update(model)
    return _digits(_fields(declaration.fields), FIELDS_DIGITS) + digest.hexdigest()[: 12 - FIELDS_DIGITS]


def model_hash(model: bytes) -> str:
    """The SHA-256 of a model file's bytes: what a worker loads must be what was checked."""
    return hashlib.sha256(model).hexdigest()


def _canonical(declaration: Declaration) -> bytes:
    window = declaration.window
    model = declaration.model
    told = {
        "kind": declaration.kind,
        "fields": _fields(declaration.fields),
        "input": model.input,
        "states": list(model.states.items()),  # their order is that of the stored state
        "constants": model.constants,
        "outputs": [_output(output) for output in declaration.outputs],
        "window": None if window is None else [window.length, window.first, window.hop],
    }
    return _json(told)


def _fields(fields: tuple[Field, ...]) -> list[Any]:
    return [[field.name, field.length, field.overlap] for field in fields]


def _json(told: Any) -> bytes:
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


def _digits(told: Any, count: int) -> str:
    return hashlib.sha256(_json(told)).hexdigest()[:count]


def _output(output: Output) -> list[Any]:
    names, labels = list(output.names), list(output.labels)
    numbers = [output.scale, output.shift, output.threshold, output.clear]
    floats = [None if number is None else float(number) for number in numbers]  # 1 and 1.0 must not hash apart
    return [output.name, output.tensor, output.of, output.apply, names, labels, floats, *_of_forecast(output)]


def _of_forecast(output: Output) -> list[Any]:
    """The keys that came later: where none of them is set, a fingerprint is what it was before."""
    told = {
        "changes": output.changes,
        "least": [float(number) for number in output.least],
        "horizon": output.horizon,
        "publish": output.publish,
    }
    plain = {"changes": False, "least": [], "horizon": None, "publish": True}
    return [told] if told != plain else []
