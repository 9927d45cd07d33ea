"""Search the samples of a file for values far outside what a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass

from core.arrays import Floats
from core.models.ranges import Outside, Ranges


@dataclass
class _Found:
    """A field's first value far outside, where it stands, and how many samples have one."""

    first: Outside
    row: int
    step: int
    count: int = 0


class Survey:
    """Takes samples in any order of rows.

    Args:
        ranges: the model's; None: nothing is looked for.
    """

    def __init__(self, ranges: Ranges | None) -> None:
        self._ranges = ranges
        self._found: dict[str, _Found] = {}
        self._samples = 0

    def add(self, samples: Floats, row: int, step: int = 0) -> None:
        """Look at samples (T, F) of a row, from ``step`` on."""
        self._samples += len(samples)
        if self._ranges is None:
            return
        for outside in self._ranges.far_outside(samples):
            found = self._found.setdefault(outside.field, _Found(outside, row, step + outside.place))
            found.count += outside.count

    def lines(self) -> list[str]:
        """Return a line for each field: how many values, the first one, and what was expected."""
        fields = () if self._ranges is None else self._ranges.fields
        declared = self._ranges is not None and self._ranges.declared
        where = "outside the normal range" if declared else "far outside what the model was trained on"
        return [
            f"{field}: {found.count:,} of {self._samples:,} samples are {where}: "
            f"{found.first.seen} in row {found.row} at step {found.step}, expected {found.first.expected}"
            for field in fields
            if (found := self._found.get(field)) is not None
        ]
