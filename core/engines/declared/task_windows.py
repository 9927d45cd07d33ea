"""Opens the model of a declared window task: a checkpoint by the compiled kernel, a graph by ONNX Runtime."""

from __future__ import annotations

from core.engines.declared.own_windows import open_own_windows
from core.engines.declared.window_scoring import OpenedWindows
from core.engines.onnx.alone import LiveWindows
from core.engines.onnx.plan import ANY, PLANS
from core.engines.onnx.task import open_window_graph
from core.engines.onnx.windows import OnnxWindows
from core.engines.own_weights import has_own_weights
from core.tasks.declaration import Declaration


def open_task_windows(declaration: Declaration, model: bytes) -> OpenedWindows:
    """The model of a window task.

    Args:
        declaration: of the kind window.
        model: the model file's bytes.

    Raises:
        StartupError: it cannot be used, or does not fit the declaration.
    """
    if has_own_weights(declaration):
        return open_own_windows(declaration, model)
    graph, shortest, longest = open_window_graph(declaration, model)
    trial = OnnxWindows(graph, longest, ANY)
    return OpenedWindows(graph.file, shortest, longest, trial, lambda plan: LiveWindows(graph, longest, PLANS[plan]))
