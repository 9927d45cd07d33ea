"""StepModel: the model of a declared step task, by the compiled kernel or ONNX Runtime, with its outputs."""

from __future__ import annotations

from collections.abc import Callable

from core.engines.bank import StateBank
from core.engines.binding import Binding
from core.engines.declared.outputs import StepOutputs
from core.engines.declared.states import AppliedStates
from core.engines.onnx.alone import LiveRows
from core.engines.onnx.bank import OnnxStates
from core.engines.onnx.plan import PLANS
from core.engines.onnx.task import open_graph
from core.engines.own_weights import KernelStates, has_own_weights, open_weights
from core.engines.steps import StepTask
from core.models.ranges import Ranges
from core.tasks.declaration import Declaration
from core.tasks.fingerprint import FIELDS_DIGITS, fingerprint_of
from core.wire.samples import field_list, sample_decoder


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
        binding, self._bank = _open(declaration, model, plan)
        file = str(declaration.model.file)
        self.outputs = StepOutputs(file, declaration.outputs, binding.columns, declaration.width)
        self.declaration = declaration
        self.fingerprint = fingerprint_of(declaration, model)
        self._own_size = binding.state_size
        self.state_size = self._own_size + self.outputs.kept

    @property
    def task(self) -> StepTask:
        """The task's parts that a `StepEngine` runs, on `states`."""
        fields = self.declaration.fields
        return StepTask(
            fingerprint=self.fingerprint,
            fields=field_list(self.declaration),
            decode=sample_decoder(self.declaration),
            outputs=self.outputs.fields,
            state_size=self.state_size,
            ranges=Ranges.normal(fields, self.declaration.places()),
            fields_digits=FIELDS_DIGITS,
            finite=False,
        )

    def states(self) -> AppliedStates:
        """An empty bank. Banks of one model may share its buffers, so their calls must not overlap."""
        return AppliedStates(self._bank(), self.outputs, self._own_size)


def _open(declaration: Declaration, model: bytes, plan: str) -> tuple[Binding, Callable[[], StateBank]]:
    """A model's names, and what makes an empty bank of it."""
    if has_own_weights(declaration):
        kernel, binding = open_weights(declaration, model)
        return binding, lambda: KernelStates(kernel, declaration.width)
    graph, binding = open_graph(declaration, model)
    rows = LiveRows(graph, binding, PLANS[plan])
    return binding, lambda: OnnxStates(rows)
