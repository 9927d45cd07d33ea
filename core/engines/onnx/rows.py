"""One call of a graph for some rows, in buffers that never move.

The buffers begin at multiples of 64 bytes: some kernels add in an order that depends on the address. Shapes: B rows, F
numbers of a sample, K numbers of all outputs; a state has its own shape, with B in one place.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float32s
from core.engines.binding import Binding, RowTensor
from core.engines.onnx.plan import ANY, PadPlan
from core.engines.onnx.session import Graph

ALIGNED_BYTES = 64


class Room(NamedTuple):
    """The input of the next call, to be filled in: samples (B, F), and the states."""

    samples: Float32s
    states: tuple[Float32s, ...]


class StepsRows(Protocol):
    """A model that steps rows, as `CallRows` does."""

    @property
    def binding(self) -> Binding:
        """The purpose of its inputs and outputs."""

    @property
    def plan(self) -> PadPlan:
        """The way in which rows are put together."""

    def room(self, rows: int) -> Room:
        """The buffers of the next call."""

    def run(self, rows: int) -> tuple[Float32s, list[Float32s]]:
        """Step the rows of the last ``room``."""


class CallRows:
    """A graph that steps up to ``plan.most`` rows at a time.

    Args:
        graph: the model.
        binding: what its inputs and outputs are.
        plan: how rows are put together.
    """

    def __init__(self, graph: Graph, binding: Binding, plan: PadPlan = ANY) -> None:
        self.binding, self.plan = binding, plan
        self._graph = graph
        self._names = [output.name for output in binding.outputs] + [state.after for state in binding.states]
        carried = [state.before for state in binding.states]
        self._read = [*binding.outputs, *carried]
        tensors = (binding.samples, *carried)
        self._buffers = [(tensor, aligned(plan.padded(plan.most) * tensor.size)) for tensor in tensors]
        self._feed: dict[str, NDArray[Any]] = {
            name: _copy_aligned(constant) for name, constant in binding.constants.items()
        }

    @property
    def file(self) -> str:
        return self._graph.file

    def by(self, plan: PadPlan) -> CallRows:
        """The same model by another plan."""
        return CallRows(self._graph, self.binding, plan)

    def room(self, rows: int) -> Room:
        """The buffers for a call of so many rows, 1 to ``plan.most``; rows that fill up are zeros."""
        padded = self.plan.padded(rows)
        given = []
        for tensor, buffer in self._buffers:
            self._feed[tensor.name] = view = buffer[: padded * tensor.size].reshape(tensor.of_rows(padded))
            if padded > rows:
                view[along(tensor, rows, padded)] = 0
                view = view[along(tensor, 0, rows)]
            given.append(view)
        return Room(given[0].reshape(rows, -1), tuple(given[1:]))

    def run(self, rows: int) -> tuple[Float32s, list[Float32s]]:
        """Step the rows of the last ``room``: the outputs (B, K), and the states after.

        Raises:
            RunError: the runtime cannot.
        """
        found = self._graph.run(self._names, self._feed)
        if self.plan.padded(rows) > rows:
            found = [array[along(tensor, 0, rows)] for tensor, array in zip(self._read, found, strict=True)]
        count = len(self.binding.outputs)
        return self._outputs(found[:count], rows), found[count:]

    def _outputs(self, found: list[NDArray[Any]], rows: int) -> Float32s:
        outputs = np.empty((rows, self.binding.output_width), np.float32)
        start = 0
        for tensor, array in zip(self.binding.outputs, found, strict=True):
            by_row = np.moveaxis(array, tensor.axis, 0) if tensor.axis else array
            outputs[:, start : start + tensor.size] = by_row.reshape(rows, tensor.size)
            start += tensor.size
        return outputs


def along(tensor: RowTensor, start: int, end: int) -> tuple[slice, ...]:
    """The index of some rows of a tensor."""
    return (*(slice(None),) * tensor.axis, slice(start, end))


def aligned(numbers: int) -> Float32s:
    """Zeros at an address that does not change how a kernel adds."""
    room = np.zeros(numbers + ALIGNED_BYTES // 4, np.float32)
    start = -room.ctypes.data % ALIGNED_BYTES // 4
    return room[start : start + numbers]


def _copy_aligned(array: NDArray[Any]) -> NDArray[Any]:
    room = np.zeros(array.nbytes + ALIGNED_BYTES, np.uint8)
    start = -room.ctypes.data % ALIGNED_BYTES
    found = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found
