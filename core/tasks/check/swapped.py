"""States that look swapped: the graph's own names pair them another way, or an LSTM's h goes in where its c comes out.

Nothing in the numbers tells: both have the same shape, and both move every output. An example is the only proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from core.engines.onnx.contents import Node
from core.engines.onnx.names import pairs

_CARRY = {  # operators that pass numbers on as they are
    *("Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"),
    *("Transpose", "Unsqueeze"),
}
_H, _C = 5, 6  # inputs of an LSTM


def swapped_states(states: Mapping[str, str], outputs: Iterable[str], nodes: list[Node]) -> str | None:
    """The reason to doubt how a graph's states are paired; None: there is none."""
    named = pairs(states, outputs)
    for before, after in states.items():
        fits = named.get(before, after)
        if fits != after and fits in states.values():
            return f"state '{before}' becomes output '{after}', but by its name '{fits}' is its next value"
    for before, after in states.items():
        goes_in, comes_out = _read_as(before, nodes), _written_as(after, nodes)
        if len(goes_in) == len(comes_out) == 1 and goes_in != comes_out:
            return (
                f"state '{before}' is read as {goes_in.pop()} of an LSTM, but its next value, output '{after}', is "
                f"{comes_out.pop()} of one"
            )
    return None


def _read_as(name: str, nodes: list[Node]) -> set[str]:
    """Return 'h', 'c' or both: as what an LSTM reads a tensor."""
    reached, found = {name}, set()
    for node in nodes:  # in a graph, a node stands behind those that it reads
        if node.operator == "LSTM":
            places = {"h": _H, "c": _C}
            found |= {
                kind for kind, place in places.items() if place < len(node.inputs) and node.inputs[place] in reached
            }
        elif node.operator in _CARRY and node.inputs and node.inputs[0] in reached:
            reached |= set(node.outputs)
    return found


def _written_as(name: str, nodes: list[Node]) -> set[str]:
    """Return 'h', 'c' or both: as what LSTMs have made a tensor."""
    wanted, found = {name}, set()
    for node in reversed(nodes):
        if node.operator == "LSTM":
            made = dict(zip(node.outputs, ("h", "h", "c"), strict=False))
            found |= {kind for output, kind in made.items() if output in wanted}
        elif node.operator in _CARRY and wanted & set(node.outputs):
            wanted |= set(node.inputs if node.operator == "Concat" else node.inputs[:1])
    return found
