"""The findings of a check that a model has passed."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CarriedState:
    """A state: the graph's input, the output that becomes it, and its shape for one stream."""

    before: str
    after: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Checked:
    """The findings, as plain data."""

    fingerprint: str
    model: str  # SHA-256 of the model file's bytes
    plan: str  # the batch plan's name
    states: tuple[CarriedState, ...]
    outputs: dict[str, tuple[int, ...]]  # the shape of each tensor that is read, for one sample
    microseconds: dict[int, float]  # per row, by rows of a call
    example: tuple[int, float] | None = None  # steps that were compared, and the largest relative difference
    notes: tuple[str, ...] = ()

    @property
    def state_bytes(self) -> int:
        """Bytes of one stream's state."""
        return 4 * sum(math.prod(state.shape) for state in self.states)
