"""A declared task's model as ONNX Runtime steps it."""

from __future__ import annotations

from core.engines.onnx.bank import OnnxStates
from core.engines.onnx.binding import Binding, WantedGraph, bind
from core.engines.onnx.plan import PLANS
from core.engines.onnx.rows import CallRows
from core.engines.onnx.session import Graph
from core.engines.onnx.windows import OnnxWindows
from core.tasks.declaration import Declaration


def wanted_of(declaration: Declaration) -> WantedGraph:
    """The part of a declaration that its graph has to fit."""
    model = declaration.model
    tensors = dict.fromkeys(output.tensor for output in declaration.outputs if output.tensor)
    return WantedGraph(declaration.width, model.input, model.states, model.constants, tuple(tensors))


def open_graph(declaration: Declaration, model: bytes) -> tuple[Graph, Binding]:
    """A task's graph, and what its names are.

    Raises:
        StartupError: it cannot be used, or does not fit the declaration.
    """
    graph, window = Graph(str(declaration.model.file), model), declaration.window
    if window is None:
        return graph, bind(graph, wanted_of(declaration))
    bind(graph, wanted_of(declaration), window.first)  # it has to take the shortest windows as well
    return graph, bind(graph, wanted_of(declaration), window.length)


def open_states(declaration: Declaration, model: bytes, plan: str) -> OnnxStates:
    """An empty bank of a task that was checked.

    Args:
        declaration: of the kind step.
        model: the model file's bytes, those that were checked.
        plan: name of the batch plan that the check has found (``Checked.plan``).

    Raises:
        StartupError: as `open_graph`.
    """
    return OnnxStates(CallRows(*open_graph(declaration, model), PLANS[plan]))


def open_windows(declaration: Declaration, model: bytes, plan: str) -> OnnxWindows:
    """A window task's model, ready to score; arguments and errors as `open_states` has them."""
    graph, binding = open_graph(declaration, model)
    return OnnxWindows(graph, binding, PLANS[plan])
