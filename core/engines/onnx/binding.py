"""The meaning of each input and output of a graph: the samples, a state, a constant, a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.engines.binding import Binding, RowTensor, State
from core.engines.onnx.axes import FLOAT, Ports, find_layout, step_layouts, window_layouts
from core.engines.onnx.constants import as_constant
from core.engines.onnx.names import pairs
from core.engines.onnx.session import Graph, Port
from core.errors import StartupError
from core.nearest import did_you_mean

_NUMBERS = {FLOAT, "tensor(double)", "tensor(float16)", "tensor(int64)", "tensor(int32)", "tensor(bool)"}


@dataclass(frozen=True)
class WantedGraph:
    """The words of a task about its graph. Names that are left out are found."""

    width: int  # numbers of a sample
    input: str | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    tensors: tuple[str, ...] = ()  # the outputs that are read, each once


def bind(graph: Graph, wanted: WantedGraph, steps: int | None = None) -> Binding:
    """Find out what each input and output of a graph is.

    Args:
        graph: the model.
        wanted: what its task says.
        steps: samples of a window; None: the graph takes one step, and may carry states.

    Raises:
        StartupError: naming the graph's name, what is wrong with it, and what to do.
    """
    inputs = {port.name: port for port in graph.inputs}
    outputs = {port.name: port for port in graph.outputs}
    states = _states(graph.file, wanted, inputs, outputs)
    samples = _samples(graph.file, wanted, inputs, states)
    constants = {
        name: as_constant(graph.file, _known(graph.file, "constants", name, inputs), value)
        for name, value in wanted.constants.items()
    }
    _check_inputs(graph.file, inputs, [samples.name, *states, *constants])
    tensors = [_readable(graph.file, _known(graph.file, "outputs: tensor", name, outputs)) for name in wanted.tensors]
    carried = tuple((inputs[before], outputs[after]) for before, after in states.items())
    ports = Ports(samples, carried, constants, tuple(tensors))
    given = _layouts(graph.file, samples, wanted.width, steps, [*states])
    (where, layouts), found = find_layout(graph, ports, given)
    return Binding(
        samples=where,
        states=tuple(State(before, states[before.name]) for before in layouts),
        constants=constants,
        outputs=found,
        unread=tuple(name for name in outputs if name not in wanted.tensors and name not in states.values()),
    )


def _layouts(file: str, samples: Port, width: int, steps: int | None, states: list[str]) -> list[RowTensor]:
    if steps is None:
        return step_layouts(file, samples, width)
    if states:
        raise StartupError(
            f"{file}: input '{states[0]}' is a state, and a task of the kind window carries none: export the model "
            'with states of zeros inside, or make it a task of kind = "step"'
        )
    return window_layouts(file, samples, width, steps)


def _states(file: str, wanted: WantedGraph, inputs: Mapping[str, Port], outputs: Mapping[str, Port]) -> dict[str, str]:
    """Input -> output: the declared states, then those whose names pair."""
    for before, after in wanted.states.items():
        _known(file, "states", before, inputs)
        _known(file, "states", after, outputs)
    _check_once(file, list(wanted.states.values()))
    left = [name for name in inputs if name not in (wanted.input, *wanted.states, *wanted.constants)]
    free = [name for name in outputs if name not in (*wanted.states.values(), *wanted.tensors)]
    return dict(wanted.states) | pairs(left, free)


def _check_once(file: str, outputs: list[str]) -> None:
    for name in outputs:
        if outputs.count(name) > 1:
            raise StartupError(f"{file}: states: output '{name}' is the next value of two states: each has its own")


def _samples(file: str, wanted: WantedGraph, inputs: Mapping[str, Port], states: Iterable[str]) -> Port:
    if wanted.input is not None:
        return _known(file, "input", wanted.input, inputs)
    left = [name for name in inputs if name not in states and name not in wanted.constants]
    if len(left) == 1:
        return inputs[left[0]]
    raise StartupError(
        f"{file}: which of its inputs takes the samples is not clear: {_listed(left or inputs)}; set input in [model], "
        "and name the others in states or constants"
    )


def _check_inputs(file: str, inputs: Mapping[str, Port], bound: list[str]) -> None:
    for name in bound:
        if bound.count(name) > 1:
            raise StartupError(
                f"{file}: input '{name}' is named twice in [model]: it is a state, a constant or the input"
            )
    if left := [name for name in inputs if name not in bound]:
        raise StartupError(
            f"{file}: input {inputs[left[0]]} gets no value: name the output that is its next value in [model] states, "
            "or a number in constants"
        )


def _readable(file: str, port: Port) -> Port:
    if port.type not in _NUMBERS:
        raise StartupError(f"{file}: output {port} holds no numbers that can be published: export it as float32")
    return port


def _known(file: str, key: str, name: str, ports: Mapping[str, Port]) -> Port:
    if name in ports:
        return ports[name]
    raise StartupError(f"{file}: {key}: '{name}' is not in the graph{did_you_mean(name, ports, 'its names there')}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
