"""TaskScorer: scores the windows of a declared task by its ONNX model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.engines.declared.window_model import WindowModel
from core.engines.results import StateStore, StreamRules, WindowRules
from core.engines.scoring import WindowTask
from core.engines.window_engine import WindowEngine
from core.models.ranges import Ranges
from core.native.fields import FieldList
from core.tasks.fingerprint import FIELDS_DIGITS
from core.wire.codecs import task_codec
from core.wire.records import OutputFormat

_LARGEST = float(np.finfo(np.float32).max)  # whatever range a field has, or had when a window was stored


class TaskScorer(WindowEngine):
    """A declared task's source in, its outputs out.

    Args:
        model: of the task.
        rules: how records are judged.
        window_rules: what an output sees and when it is due.
        store: the recovered table: heads and segments.
        output_format: ``json`` or ``msgpack``.
        clock: seconds, for ``ChunkResult``'s stage times.
        deferred: outputs are not computed by `run` and `evict`, but left to the caller as ``ChunkResult.deferred``.
    """

    def __init__(
        self,
        model: WindowModel,
        rules: StreamRules,
        window_rules: WindowRules,
        store: StateStore,
        output_format: OutputFormat = "json",
        clock: Callable[[], float] | None = None,
        deferred: bool = False,
    ) -> None:
        declaration = model.declaration
        fields = declaration.fields
        task = WindowTask(
            fingerprint=model.fingerprint,
            fields=FieldList(fields, end=True, booleans=True),
            decode=task_codec(declaration.name, fields).decode,
            outputs=model.outputs.fields,
            model=model,
            ranges=Ranges.normal(fields, declaration.places()),
            probability=_probability(model),
            largest=_LARGEST,
            fields_digits=FIELDS_DIGITS,
        )
        super().__init__(task, rules, window_rules, store, output_format, clock, deferred)


def _probability(model: WindowModel) -> int | None:
    """The place of the first output that is one probability; None without one."""
    place = 0
    for output, field in zip(model.declaration.outputs, model.outputs.fields, strict=True):
        if output.apply == "sigmoid" and field.numbers == 1:
            return place
        place += field.numbers
    return None
