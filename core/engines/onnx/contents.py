"""The contents of an ONNX file, read from its bytes before any runtime sees them.

Every message is looked at, wherever it stands: in subgraphs of `If`, `Loop` and `Scan`, in functions, in sparse tensors
and in training graphs. ONNX Runtime reads any file that a tensor names as external data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

from core.engines.onnx.protobuf import fields_of
from core.errors import StartupError

_DEEPEST = 64  # graphs in graphs

# Field numbers of onnx.proto. Message -> field -> the message that it holds.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_GRAPH_OF_MODEL = 7
_INPUTS, _OUTPUTS, _OPERATOR = 1, 2, 4  # of a node
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14

READS_FILES = {"EPContext"}
DRAWS = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
RECURRENT = {"GRU", "LSTM", "RNN"}
_INTEGER = {"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat"}
_DYNAMIC = "DynamicQuantize"


@dataclass(frozen=True, slots=True)
class Node:
    """One use of an operator."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(slots=True)
class Contents:
    """The findings of a reading."""

    nodes: list[Node] = field(default_factory=list)  # of every graph
    external: list[str] = field(default_factory=list)  # names of tensors whose numbers are in another file
    graphs: int = 0

    @property
    def operators(self) -> set[str]:
        return {node.operator for node in self.nodes}


def read_contents(file: str, model: bytes) -> Contents:
    """Read a model's bytes.

    Raises:
        StartupError: they are no ONNX model.
    """
    found = Contents()
    try:
        _read(memoryview(model), "model", found, 0)
    except ValueError as error:
        raise StartupError(f"{file}: not an ONNX model: it holds {error}; export it again, or copy it again") from error
    if not found.graphs:
        raise StartupError(f"{file}: not an ONNX model: it holds no graph; export it again, or copy it again")
    return found


def check_contents(file: str, contents: Contents) -> None:
    """Refuse what cannot be run as it is, or reads files.

    Raises:
        StartupError: naming the tensor or the operator, and what to do.
    """
    if contents.external:
        raise StartupError(
            f"{file}: tensor '{contents.external[0]}' is kept in another file, which is never read: export the model "
            "into one file (torch: external_data=False; onnx: save_model(..., save_as_external_data=False))"
        )
    for operators, problem in (
        (contents.operators & READS_FILES, "reads files: export the model without it"),
        (
            {name for name in contents.operators if name in _INTEGER or name.startswith(_DYNAMIC)},
            "quantises by what else is in the batch (int8, dynamic), so a stream's output depends on others: "
            "use the float32 model",
        ),
        (contents.operators & DRAWS, "draws random numbers, so no output can be computed again: export without it"),
    ):
        if operators:
            raise StartupError(f"{file}: operator {min(operators)} {problem}")


def _read(message: memoryview, kind: str, found: Contents, depth: int) -> None:
    if depth > 4 * _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} graphs in each other")
    inside = _INSIDE[kind]
    own: list[tuple[int, int | memoryview]] = []
    for number, value in fields_of(message):
        if number in inside and isinstance(value, memoryview):
            found.graphs += kind == "model" and number == _GRAPH_OF_MODEL
            _read(value, inside[number], found, depth + 1)
        elif kind in ("node", "tensor"):
            own.append((number, value))
    if kind == "node":
        found.nodes.append(Node(_text(own, _OPERATOR), _texts(own, _INPUTS), _texts(own, _OUTPUTS)))
    if kind == "tensor" and any(_is_elsewhere(*each) for each in own):
        found.external.append(_text(own, _TENSOR_NAME))


def _is_elsewhere(number: int, value: int | memoryview) -> bool:
    """True for a field of a tensor that says that its numbers are in another file."""
    return number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)


def _texts(own: list[tuple[int, int | memoryview]], number: int) -> tuple[str, ...]:
    values = (value for found, value in own if found == number and isinstance(value, memoryview))
    return tuple(bytes(value).decode("utf-8", "replace") for value in values)


def _text(own: list[tuple[int, int | memoryview]], number: int) -> str:
    return next(chain(reversed(_texts(own, number)), [""]))
