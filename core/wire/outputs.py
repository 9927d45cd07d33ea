"""The outputs of a task as records hold them, and those of the two tasks that ship."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.native.fields import MAX_FLOAT32

NumberKind = Literal["float32", "float64", "whole", "text", "distance", "awaited"]
NOTHING_YET = -MAX_FLOAT32
"""An ``awaited`` number where there is none yet. No threshold lies below it."""


@dataclass(frozen=True, slots=True)
class OutputField:
    """One named output of a record: a single number, or several as an object by their names, else as an array.

    ``texts``: the words, or truth values, that a number of kind ``text`` stands for, by its place in them. What is no
    finite number is null, whatever its kind; a ``distance``, a float32, also where it is negative, and one that is
    ``awaited`` at `NOTHING_YET`: there is none.
    """

    name: str
    names: tuple[str, ...] = ()  # of its numbers; empty: they have none
    length: int = 1  # where they have no names
    kind: NumberKind = "float32"
    texts: tuple[str | bool, ...] = ()

    @property
    def numbers(self) -> int:
        """The count of its numbers."""
        return len(self.names) or self.length


PREDICTION = (OutputField("prediction"),)
SCORE = (OutputField("probability", kind="float64"), OutputField("attention_peak", kind="whole"))
