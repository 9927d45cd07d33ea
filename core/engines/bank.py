"""The bank of hidden states: numbered rows, and the step of a batch that reads and writes them.

Shapes: N samples, S numbers of a state, K of a model's outputs. The *state* of an LSTM is h of all layers, then c of
all layers: 2*L*H float32; that of a GRU is h of all layers: L*H.
"""

from __future__ import annotations

from typing import Protocol

from core.arrays import Float32s, Int64s
from core.step_batch import StepBatch

ZEROS = 0  # the row that stays zero: where a sequence begins


class StateBank(Protocol):
    """Numbered rows with a hidden state each. Row `ZEROS` is always zero and never written. Calls do not overlap."""

    @property
    def capacity(self) -> int:
        """Rows, `ZEROS` included."""

    def grow(self) -> None:
        """Add rows of zeros behind the last one, at amortised cost; existing rows keep number and content."""

    def step(self, batch: StepBatch) -> Float32s:
        """Step the runs of a batch through their samples.

        Returns:
            The predictions (N,), or (N, K), in the order of the batch's samples.

        Raises:
            ValueError: sizes do not fit each other, or samples are not runs without holes.
            IndexError: a row or run that is not there, or a target `ZEROS`.
        """

    def read(self, rows: Int64s) -> Float32s:
        """A copy of the states in these rows, (n, S)."""

    def write(self, row: int, state: Float32s) -> None:
        """Put a state (S,) into a row."""

    def clear(self, row: int) -> None:
        """Put zeros into a row."""

    def warm_up(self) -> None:
        """Run the shapes of live chunks, so that none of them pays for a first call. Changes no row."""
