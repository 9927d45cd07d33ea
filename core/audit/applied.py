"""The kind of an output of a run, and how near its numbers may lie."""

from __future__ import annotations

from typing import NamedTuple

from core.arrays import Float32s, Float64s

NEAR = 1e-5
"""Numbers as close as this to a threshold, or to each other, may fall on another side of it on another machine.

It is relative to the larger of the number and its scale (`core.audit.scales`).
"""


class Applied(NamedTuple):
    """One output of a run: its numbers (T, n) as others read them, and what a state keeps of it after each step (T, A).

    ``others`` and ``kept_others`` are numbers in their places that are as good; NaN: there are none. ``published`` are
    the numbers that stand in a record, where these are not all that others read.
    """

    numbers: Float64s
    others: Float64s | None = None
    kept: Float32s | None = None
    kept_others: Float32s | None = None
    published: Float64s | None = None

    @property
    def shown(self) -> Float64s:
        """The numbers that stand in a record."""
        return self.numbers if self.published is None else self.published
