"""TaskStepper: steps the streams of a declared task by its ONNX model."""

from __future__ import annotations

from collections.abc import Callable

from core.engines.declared.outputs import StepOutputs
from core.engines.declared.rows import AppliedRows
from core.engines.onnx.bank import OnnxStates
from core.engines.onnx.plan import PLANS
from core.engines.onnx.rows import CallRows
from core.engines.onnx.task import open_graph
from core.engines.results import StateStore, StreamRules
from core.engines.steps import StepEngine, StepTask
from core.models.ranges import Ranges
from core.native.fields import FieldList
from core.tasks.declaration import Declaration
from core.tasks.fingerprint import fingerprint_of
from core.wire.codecs import task_codec
from core.wire.records import OutputFormat


class StepModel:
    """The model of a step task, opened: what an engine and an offline run need of it.

    Args:
        declaration: of the kind step.
        model: the model file's bytes, those that were checked.
        plan: name of the batch plan that the check has found.

    Raises:
        StartupError: the model cannot be used, or does not fit the declaration.
    """

    def __init__(self, declaration: Declaration, model: bytes, plan: str) -> None:
        graph, binding = open_graph(declaration, model)
        file = str(declaration.model.file)
        self.outputs = StepOutputs(file, declaration.outputs, binding.columns, declaration.width)
        self._rows = AppliedRows(CallRows(graph, binding, PLANS[plan]), self.outputs)
        self.declaration = declaration
        self.fingerprint = fingerprint_of(declaration, model)
        self.state_size = self._rows.binding.state_size

    def states(self) -> OnnxStates:
        """An empty bank. Banks of one model share its buffers, so their calls must not overlap."""
        return OnnxStates(self._rows)


class TaskStepper(StepEngine):
    """A declared task's source in, its outputs out.

    Args:
        model: of the task.
        rules: how records are judged.
        store: the recovered table: stream key -> state.
        output_format: ``json`` or ``msgpack``.
        clock: seconds, for ``ChunkResult``'s stage times.
    """

    def __init__(
        self,
        model: StepModel,
        rules: StreamRules,
        store: StateStore,
        output_format: OutputFormat = "json",
        clock: Callable[[], float] | None = None,
    ) -> None:
        declaration = model.declaration
        fields = declaration.fields
        task = StepTask(
            fingerprint=model.fingerprint,
            fields=FieldList(fields, end=True, booleans=True),
            decode=task_codec(declaration.name, fields).decode,
            outputs=model.outputs.fields,
            state_size=model.state_size,
            ranges=Ranges.normal(fields, declaration.slices()),
        )
        super().__init__(task, model.states(), rules, store, output_format, clock)
