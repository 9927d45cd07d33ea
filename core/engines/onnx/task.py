"""A declared task's model as ONNX Runtime steps it."""

from __future__ import annotations

from core.engines.onnx.bank import OnnxStates
from core.engines.onnx.binding import Binding, Wanted, bind
from core.engines.onnx.plan import PLANS
from core.engines.onnx.rows import Rows
from core.engines.onnx.session import Graph
from core.tasks.declaration import Declaration


def wanted_of(declaration: Declaration) -> Wanted:
    """The part of a declaration that its graph has to fit."""
    model = declaration.model
    tensors = dict.fromkeys(output.tensor for output in declaration.outputs if output.tensor)
    return Wanted(declaration.width, model.input, model.states, model.constants, tuple(tensors))


def open_graph(declaration: Declaration, model: bytes) -> tuple[Graph, Binding]:
    """A task's graph, and what its names are.

    Raises:
        StartupError: it cannot be used, or does not fit the declaration.
    """
    graph = Graph(str(declaration.model.file), model)
    return graph, bind(graph, wanted_of(declaration))


def open_states(declaration: Declaration, model: bytes, plan: str) -> OnnxStates:
    """An empty bank of a task that was checked.

    Args:
        declaration: of the kind step.
        model: the model file's bytes, those that were checked.
        plan: name of the batch plan that the check has found (``Checked.plan``).

    Raises:
        StartupError: as `open_graph`.
    """
    return OnnxStates(Rows(*open_graph(declaration, model), PLANS[plan]))
