"""The tensors of a model that steps, whatever runs it: samples, states, constants and outputs, by name and shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RowTensor:
    """A tensor with one slice per row."""

    name: str
    shape: tuple[int, ...]  # of one row
    axis: int  # where the rows are

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def of_rows(self, rows: int) -> tuple[int, ...]:
        """The shape for so many rows."""
        return (*self.shape[: self.axis], rows, *self.shape[self.axis :])


@dataclass(frozen=True)
class State:
    """A tensor that is carried: it goes in under its own name and comes out as ``after``."""

    before: RowTensor
    after: str


@dataclass(frozen=True)
class Binding:
    """Every input of a graph, and the outputs that are read. K: the numbers of all outputs that a row gives."""

    samples: RowTensor
    states: tuple[State, ...]
    constants: Mapping[str, NDArray[Any]]
    outputs: tuple[RowTensor, ...]
    unread: tuple[str, ...]  # outputs that nobody reads

    @property
    def state_size(self) -> int:
        """Numbers in the state of a row."""
        return sum(state.before.size for state in self.states)

    @property
    def output_width(self) -> int:
        """K."""
        return sum(output.size for output in self.outputs)

    def columns(self, tensor: str) -> slice:
        """The place of a tensor's numbers among the K."""
        start = 0
        for output in self.outputs:
            if output.name == tensor:
                return slice(start, start + output.size)
            start += output.size
        raise KeyError(tensor)
