"""The bank of hidden states: numbered rows, and the step of a batch that reads and writes them.

Shapes: N samples, B runs, S streams, F features, L layers, H hidden units. A *run* is a row of the batch: consecutive
samples of a stream without a reset between. A *state* is h of all layers, then c of all layers: 2*L*H float32.
"""

from __future__ import annotations

from typing import Protocol

from core.arrays import Float32s, Int64s

ZEROS = 0  # the row that stays zero: where a sequence begins


class StateBank(Protocol):
    """Numbered rows with a hidden state each. Row `ZEROS` is always zero and never written. Calls do not overlap."""

    @property
    def capacity(self) -> int:
        """Rows, `ZEROS` included."""

    def grow(self) -> None:
        """Add rows of zeros behind the last one, at amortised cost; rows at hand keep number and content."""

    def step(
        self,
        samples: Float32s,
        runs: Int64s,
        times: Int64s,
        lengths: Int64s,
        starts: Int64s,
        targets: Int64s,
        last: Int64s,
    ) -> Float32s:
        """Step B runs through their samples; arrays are C-contiguous, indices int64 (int32 is converted).

        Args:
            samples: (N, F), of all runs, in any order.
            runs: (N,), the run of each sample.
            times: (N,), its place in that run, from 0 without holes.
            lengths: (B,), samples of each run, >= 1; their sum is N.
            starts: (B,), the row in which each run begins, as it is before the call; none but `ZEROS` twice.
            targets: (S,), rows that take a state after the call; a row may be named again with the same run.
            last: (S,), the run whose state after its last sample goes to that row.

        Returns:
            The predictions (N,), in the order of ``samples``.

        Raises:
            ValueError: sizes do not fit each other, or samples are not runs without holes.
            IndexError: a row or run that is not there, or a target `ZEROS`.
        """

    def read(self, rows: Int64s) -> Float32s:
        """A copy of the states in these rows, (n, 2*L*H)."""

    def write(self, row: int, state: Float32s) -> None:
        """Put a state (2*L*H,) into a row."""

    def clear(self, row: int) -> None:
        """Put zeros into a row."""

    def warm_up(self) -> None:
        """Run the shapes of live chunks, so that none of them pays for a first call. Changes no row."""
