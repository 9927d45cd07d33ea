"""A declared task's model as ONNX Runtime steps it."""

from __future__ import annotations

from typing import NamedTuple

from core.engines.binding import Binding
from core.engines.onnx.alone import LiveRows, LiveWindows
from core.engines.onnx.bank import OnnxStates
from core.engines.onnx.binding import WantedGraph, bind
from core.engines.onnx.plan import PLANS
from core.engines.onnx.session import Graph
from core.engines.onnx.windows import OnnxWindows
from core.tasks.declaration import Declaration


def wanted_of(declaration: Declaration) -> WantedGraph:
    """The part of a declaration that its graph has to fit."""
    model = declaration.model
    tensors = dict.fromkeys(output.tensor for output in declaration.outputs if output.tensor)
    return WantedGraph(declaration.width, model.input, model.states, model.constants, tuple(tensors))


def open_graph(declaration: Declaration, model: bytes) -> tuple[Graph, Binding]:
    """A step task's graph, and what its names are.

    Raises:
        StartupError: it cannot be used, or does not fit the declaration.
    """
    graph = Graph(str(declaration.model.file), model)
    return graph, bind(graph, wanted_of(declaration))


class WindowGraph(NamedTuple):
    """The graph of a window task, and what its names are for the shortest windows and for the longest."""

    graph: Graph
    shortest: Binding
    longest: Binding


def open_window_graph(declaration: Declaration, model: bytes) -> WindowGraph:
    """A window task's graph, which takes its shortest windows and its longest; errors as `open_graph` has them."""
    graph, window = Graph(str(declaration.model.file), model), declaration.window
    assert window is not None
    wanted = wanted_of(declaration)
    return WindowGraph(graph, bind(graph, wanted, window.first), bind(graph, wanted, window.length))


def open_states(declaration: Declaration, model: bytes, plan: str) -> OnnxStates:
    """An empty bank of a task that was checked.

    Args:
        declaration: of the kind step.
        model: the model file's bytes, those that were checked.
        plan: name of the batch plan that the check has found (``Checked.plan``).

    Raises:
        StartupError: as `open_graph`.
    """
    return OnnxStates(LiveRows(*open_graph(declaration, model), PLANS[plan]))


def open_windows(declaration: Declaration, model: bytes, plan: str) -> OnnxWindows:
    """A window task's model, ready to score; arguments and errors as `open_states` has them."""
    opened = open_window_graph(declaration, model)
    return LiveWindows(opened.graph, opened.longest, PLANS[plan])
