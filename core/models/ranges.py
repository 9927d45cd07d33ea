"""The range of each input in a model's training, and the values that lie far outside of it.

A value lies far outside where it is beyond the lowest or the highest of the training by more than half of the distance
between the two. A model that was asked by one-hot conditions knows no others: any other vector lies far outside.
Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float64s, Floats
from core.native.limits import Limits
from core.tasks.declaration import Field
from core.tasks.reading import shipped

ColumnSlices = Mapping[str, slice]

MARGIN = 0.5  # of the range's width, on either side
# A sensor that stood still in training has no width: so much of its value is still the same.
STILL = 1e-3

SIGNAL_FIELDS: ColumnSlices = shipped("signal").slices()
CASTING_FIELDS: ColumnSlices = shipped("casting").slices()
"""The columns of a sample that a field of a record fills."""


def width_of(fields: ColumnSlices) -> int:
    """Return F, the columns of all fields."""
    return max(int(columns.stop) for columns in fields.values())


def no_limits(width: int) -> Limits:
    """Limits of samples (F,) that every sample keeps to."""
    return Limits((-np.inf,) * width, (np.inf,) * width, False)


@dataclass(frozen=True)
class Outside:
    """The values of one field far outside: their number, the ``place`` of the first one, and words for it and for the
    range in training.
    """

    field: str
    count: int
    place: int
    seen: str
    expected: str
    normal: bool = False
    """The range is what a task declares as normal."""


@dataclass(frozen=True)
class Ranges:
    """The lowest and the highest value of each input in training, and whether all conditions were one-hot."""

    fields: ColumnSlices
    low: tuple[float, ...]
    high: tuple[float, ...]
    one_hot: bool = False
    declared: bool = False
    """They are what a task declares as normal: nothing beyond them is, and they need no margin."""

    @classmethod
    def normal(cls, declared: Sequence[Field], fields: ColumnSlices) -> Ranges | None:
        """The ranges that a task declares as normal; None if it declares none."""
        if all(field.normal is None for field in declared):
            return None
        pairs = [field.normal or (-np.inf, np.inf) for field in declared for _ in range(field.width)]
        return cls(fields, tuple(low for low, _ in pairs), tuple(high for _, high in pairs), declared=True)

    @classmethod
    def read(cls, told: Mapping[str, Any] | None, fields: ColumnSlices) -> Ranges | None:
        """Read the ranges of a checkpoint's ``training_ranges``; None if it has none, or ranges of other inputs.

        Raises:
            KeyError, TypeError, ValueError: it is not as `plain` writes it.
        """
        if told is None:
            return None
        low, high = (tuple(float(value) for value in told[name]) for name in ("low", "high"))
        if len(low) != len(high) or not all(a <= b for a, b in zip(low, high, strict=True)):
            raise ValueError("training_ranges must hold as many values of low as of high, and none above it")
        return cls(fields, low, high, bool(told.get("one_hot", False))) if len(low) == width_of(fields) else None

    def plain(self) -> dict[str, Any]:
        """Return the ranges as a checkpoint holds them."""
        return {"low": list(self.low), "high": list(self.high), "one_hot": self.one_hot}

    def limits(self) -> Limits:
        """The lowest and the highest values that do not lie far outside."""
        lowest, highest = self._bounds()
        return Limits(lowest.tolist(), highest.tolist(), self.one_hot)

    def _bounds(self) -> tuple[Float64s, Float64s]:
        low, high = np.array(self.low), np.array(self.high)
        if self.declared:  # a value at its bound may be rounded beyond it
            return np.minimum(low, low.astype(np.float32)), np.maximum(high, high.astype(np.float32))
        margin = np.maximum(MARGIN * (high - low), STILL * np.maximum(np.abs(low), np.abs(high)))
        return low - margin, high + margin

    def far_outside(self, samples: Floats) -> list[Outside]:
        """Find what lies far outside in samples (N, F), by field."""
        lowest, highest = self._bounds()
        beyond = ~((samples >= lowest) & (samples <= highest))  # (N, F)
        found = []
        for field, columns in self.fields.items():
            bad = beyond[:, columns].any(axis=1)
            if self._asks(field):
                bad |= ~_is_one_hot(samples[:, columns])
            if bad.any():
                place = int(np.argmax(bad))
                seen = _words(samples[place, columns])
                found.append(Outside(field, int(bad.sum()), place, seen, self._expected(field), self.declared))
        return found

    def _asks(self, field: str) -> bool:
        return self.one_hot and field == "condition_vector"

    def _expected(self, field: str) -> str:
        if self._asks(field):
            return "one 1 and three 0"
        columns = self.fields[field]
        low, high = self.low[columns], self.high[columns]
        if self.declared:  # one range for all numbers of the field
            low, high = low[:1], high[:1]
        return f"{_words(low)} to {_words(high)}"


class RangeCounter:
    """The ranges of samples that come in blocks."""

    def __init__(self) -> None:
        self._low, self._high = np.array(np.inf), np.array(-np.inf)  # of all columns, while nothing was added
        self._one_hot = True

    def add(self, samples: Floats) -> None:
        """Take samples (N, F) in."""
        if len(samples):
            self._low = np.minimum(self._low, samples.min(axis=0))
            self._high = np.maximum(self._high, samples.max(axis=0))

    def add_conditions(self, conditions: Floats) -> None:
        """Look whether condition vectors (N, F - 1) are one-hot."""
        self._one_hot = self._one_hot and bool(_is_one_hot(conditions).all())

    def ranges(self, fields: ColumnSlices) -> Ranges:
        """The ranges of all that was added."""
        one_hot = self._one_hot and fields is SIGNAL_FIELDS
        low, high = (np.broadcast_to(each, width_of(fields)).tolist() for each in (self._low, self._high))
        return Ranges(fields, tuple(low), tuple(high), one_hot)


def _is_one_hot(conditions: Floats) -> NDArray[np.bool_]:
    ones, zeros = conditions == 1, conditions == 0
    alone: NDArray[np.bool_] = (ones.sum(axis=1) == 1) & (ones | zeros).all(axis=1)
    return alone


def _words(values: Iterable[float]) -> str:
    texts = [f"{value:.6g}" for value in values]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
