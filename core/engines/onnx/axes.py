"""The axis of a tensor that has the rows: told by its name, else found by runs with 2 and with 3 rows.

Shapes: B rows of the batch, F numbers of a sample. Samples are (B, F), (B, 1, F) or (1, B, F); a state has B anywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.engines.binding import RowTensor
from core.engines.onnx.session import Graph, Port
from core.errors import RunError, StartupError

FLOAT = "tensor(float)"
REMEDY = "export it with a batch axis that is dynamic and an example batch of 2 (caststream task export-help torch)"
_TRIED = (2, 3)  # rows
_MOST_LAYOUTS = 64  # that are tried


@dataclass(frozen=True, slots=True)
class Ports:
    """The purpose of each input and output of a graph."""

    samples: Port
    states: tuple[tuple[Port, Port], ...]  # before a step and after it
    constants: Mapping[str, NDArray[Any]]
    outputs: tuple[Port, ...]


Layout = tuple[RowTensor, tuple[RowTensor, ...]]  # of samples, and of states


def find_layout(graph: Graph, ports: Ports, samples: list[RowTensor]) -> tuple[Layout, tuple[RowTensor, ...]]:
    """Find where samples, states and outputs have their rows, given where the samples may have theirs.

    Raises:
        StartupError: the graph takes no batch, or other samples; naming the tensor and what to do.
    """
    states = [_state_layouts(graph.file, ports.samples, *pair) for pair in ports.states]
    problem = ""
    for chosen, *others in itertools.islice(itertools.product(samples, *states), _MOST_LAYOUTS):
        layout = chosen, tuple(others)
        try:
            return layout, _try(graph, ports, layout)
        except StartupError as error:
            problem = problem or str(error)
    raise StartupError(problem)


def step_layouts(file: str, port: Port, width: int) -> list[RowTensor]:
    """Places where samples of one step may have their rows; ``width`` is F.

    Raises:
        StartupError: the input takes something else.
    """
    if port.type != FLOAT:
        raise StartupError(f"{file}: input {port} takes no float32: export the model in float32")
    if len(port.shape) not in (2, 3):
        raise StartupError(f"{file}: input {port} is neither [batch, {width}] nor [batch, 1, {width}]: export it so")
    *leading, last = port.shape
    _check_width(file, port, last, width)
    found = []
    for axis in range(len(leading)):
        others = leading[:axis] + leading[axis + 1 :]
        if not isinstance(leading[axis], int) and all(size == 1 or not isinstance(size, int) for size in others):
            found.append(RowTensor(port.name, (1,) * len(others) + (width,), axis))
    if found:
        return found
    long = [size for size in leading if isinstance(size, int) and size != 1]
    if long and len(leading) == 2:
        raise StartupError(
            f"{file}: input {port} takes {long[0]} steps at once: export it for one step, [batch, 1, {width}]"
        )
    raise _frozen(file, "input", port)


def window_layouts(file: str, port: Port, width: int, steps: int) -> list[RowTensor]:
    """Places where windows of so many samples may have their rows; ``width`` is F.

    Raises:
        StartupError: the input takes something else.
    """
    if port.type != FLOAT:
        raise StartupError(f"{file}: input {port} takes no float32: export the model in float32")
    if len(port.shape) != 3:
        raise StartupError(f"{file}: input {port} is not [batch, samples, {width}]: export it so")
    batch, time, last = port.shape
    _check_width(file, port, last, width)
    if isinstance(time, int) and time != steps:
        raise StartupError(
            f"{file}: input {port} takes windows of exactly {time} samples, the task gives {steps}, too: set length "
            f"and first in [window] to {time}, or export it with a dynamic time axis"
        )
    if isinstance(batch, int):
        raise _frozen(file, "input", port)
    return [RowTensor(port.name, (steps, width), 0)]


def _check_width(file: str, port: Port, last: int | str | None, width: int) -> None:
    if isinstance(last, int) and last != width:
        raise StartupError(
            f"{file}: input {port} takes {last} numbers, the task's fields give {width}: add or remove fields, or set "
            "their length"
        )


def _state_layouts(file: str, samples: Port, before: Port, after: Port) -> list[RowTensor]:
    for side, port in (("input", before), ("output", after)):
        if port.type != FLOAT:
            raise StartupError(f"{file}: state {side} {port} is no float32: states are; cast it inside the graph")
    if len(before.shape) != len(after.shape) and after.shape:
        raise StartupError(
            f"{file}: state '{before.name}' goes in as {before} and comes out as {after}: pair it with another output"
        )
    sizes = [
        given if isinstance(given, int) else told if isinstance(told, int) else given
        for given, told in zip(before.shape, after.shape or before.shape, strict=True)
    ]
    free = [axis for axis, size in enumerate(before.shape) if not isinstance(size, int)]
    if not free:
        raise _frozen(file, "state input", before)
    named = [axis for axis in free if before.shape[axis] and before.shape[axis] in samples.shape[:-1]]
    fits = named if len(named) == 1 else free
    known = [axis for axis in fits if all(isinstance(size, int) for at, size in enumerate(sizes) if at != axis)]
    if not known:
        raise StartupError(
            f"{file}: state input {before} has several axes of unknown size: leave the batch axis alone dynamic"
        )
    return [RowTensor(before.name, _fixed(sizes, axis), axis) for axis in known]


def _fixed(sizes: Sequence[int | str | None], axis: int) -> tuple[int, ...]:
    return tuple(size for at, size in enumerate(sizes) if at != axis and isinstance(size, int))


def _frozen(file: str, what: str, port: Port) -> StartupError:
    return StartupError(f"{file}: {what} {port} has a frozen batch: {REMEDY}")


def _try(graph: Graph, ports: Ports, layout: Layout) -> tuple[RowTensor, ...]:
    """Find where the outputs have their rows, in this layout."""
    names = [port.name for port in ports.outputs] + [after.name for _, after in ports.states]
    shapes = []
    for rows in _TRIED:
        try:
            shapes.append([np.shape(each) for each in graph.run(names, feed_of(layout, ports.constants, rows))])
        except RunError as error:
            raise StartupError(f"{error}; it cannot take {rows} rows: {REMEDY}") from error
    for before, *found in zip(layout[1], *(each[len(ports.outputs) :] for each in shapes), strict=True):
        _check_state(graph.file, before, found)
    return tuple(
        _output_layout(graph.file, port, *found)
        for port, *found in zip(ports.outputs, *(each[: len(ports.outputs)] for each in shapes), strict=True)
    )


def feed_of(layout: Layout, constants: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Samples of every size and states of zeros, for so many rows."""
    random, (samples, states) = np.random.default_rng(rows), layout
    feed = {samples.name: random.normal(size=samples.of_rows(rows)).astype(np.float32)}
    return feed | {state.name: np.zeros(state.of_rows(rows), np.float32) for state in states} | dict(constants)


def _check_state(file: str, before: RowTensor, found: Sequence[tuple[int, ...]]) -> None:
    for rows, shape in zip(_TRIED, found, strict=True):
        if shape != before.of_rows(rows):
            raise StartupError(
                f"{file}: state '{before.name}' goes in as {list(before.of_rows(rows))} and comes out as {list(shape)}"
                ": pair it with another output in [model] states, or export it again"
            )


def _output_layout(file: str, port: Port, two: tuple[int, ...], three: tuple[int, ...]) -> RowTensor:
    moved = [axis for axis, sizes in enumerate(zip(two, three, strict=False)) if sizes == _TRIED]
    if len(two) != len(three) or len(moved) != 1 or _without(two, moved[0]) != _without(three, moved[0]):
        raise StartupError(
            f"{file}: output '{port.name}' is {list(two)} for 2 rows and {list(three)} for 3: it has no axis of rows; "
            f"{REMEDY}"
        )
    return RowTensor(port.name, _without(two, moved[0]), moved[0])


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]
