"""An ONNX model -> the draft of a task: how its graph is bound, as far as its names and shapes tell it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from core.drafts.columns import field_name
from core.drafts.draft import Draft, DraftField
from core.engines.onnx.names import pairs
from core.engines.onnx.session import Graph, Port, read_model

RANK_OF_WINDOWS = 3
LENGTH = 500  # where the model takes windows of any length: the default of a task file


def draft_of_onnx(path: Path, folder: Path) -> Draft:
    """Read the inputs and outputs of a model.

    Args:
        folder: where the task file will stand.

    Raises:
        StartupError: it is no ONNX model, or ONNX Runtime is missing or refuses it.
    """
    graph = Graph(str(path), read_model(path))
    inputs = {port.name: port for port in graph.inputs}
    states = pairs(inputs, [port.name for port in graph.outputs])
    left = [port for port in graph.inputs if port.name not in states]
    samples = next((port for port in left if len(port.shape) in (2, 3)), left[0] if left else graph.inputs[0])
    outputs = [port.name for port in graph.outputs if port.name not in states.values()]
    field = _field(samples)
    example = path.with_suffix(".example.npz")
    return Draft(
        (field,),
        os.path.relpath(path, folder),
        samples.name,
        states,
        tuple(port.name for port in left if port is not samples),
        _named(outputs, field.name),
        (
            f"Written from {path.name}.",
            f"Its inputs: {', '.join(map(str, graph.inputs))}.",
            f"Its outputs: {', '.join(map(str, graph.outputs))}.",
        ),
        os.path.relpath(example, folder) if example.is_file() else None,
        _window(samples) if len(inputs) == 1 else None,
    )


def _field(port: Port) -> DraftField:
    width = port.shape[-1] if port.shape else None
    name = field_name(port.name)
    if isinstance(width, int):
        return DraftField(name, width, comment="or fields of their own, in the order of the model's input")
    return DraftField(name, comment="say length = the numbers of a sample: the model does not tell it")


def _window(port: Port) -> int | None:
    """The samples in a window of a model that takes windows, (B, T, F) with T above 1; None if it takes no windows."""
    if len(port.shape) != RANK_OF_WINDOWS or port.shape[1] == 1 or port.shape[0] == 1:
        return None
    return port.shape[1] if isinstance(port.shape[1], int) else LENGTH


def _named(tensors: Iterable[str], field: str) -> dict[str, str]:
    """Names of outputs, each with its tensor."""
    taken = [field]
    for tensor in tensors:
        taken.append(field_name(tensor, taken))
    return dict(zip(taken[1:], tensors, strict=True))
