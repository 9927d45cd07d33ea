"""The batch plan: in which batches a row's result has the same bits as alone. Found by a probe, once per model.

Most graphs give them in any batch. Weights that are inputs of an operator want two rows, as one row takes another way
through the matrix product; Softplus and Elu of odd width want a multiple of eight; an unaligned ReduceMean goes alone.
"""

from __future__ import annotations

from dataclasses import dataclass

TILE_ROWS = 1024


@dataclass(frozen=True, slots=True)
class PadPlan:
    """The number of rows in a call: those given, filled up with rows of zeros."""

    name: str
    most: int = TILE_ROWS  # rows given
    least: int = 1
    multiple: int = 1

    def padded(self, rows: int) -> int:
        """The rows of a call for so many given."""
        return max(self.least, -(-rows // self.multiple) * self.multiple)


ANY = PadPlan("any")
PAD_2 = PadPlan("pad 2", least=2)
PAD_8 = PadPlan("pad 8", multiple=8)
ONE_BY_ONE = PadPlan("one by one", most=1)
PLANS = {plan.name: plan for plan in (ANY, PAD_2, PAD_8, ONE_BY_ONE)}
"""By name, the fastest first."""
