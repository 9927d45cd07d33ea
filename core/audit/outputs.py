"""The outputs of a task as records must hold them, made of the numbers of its model.

Shapes: T steps of a run, or windows; n numbers of an output, M of all outputs, A that a state keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from core.arrays import Float32s, Float64s
from core.audit.applied import Applied
from core.native.fields import MAX_FLOAT32
from core.tasks.declaration import Output

Given = Callable[[Output], Float64s]
"""The numbers (T, n) of an output that is made of a tensor."""
Applying = Callable[[Output, Float64s, float], Applied]
"""Computes an output of the numbers that it is made of, which have a scale."""
ONE_NUMBER = ("above", "argmax_step", "error", "forecast_error", "label", "surprise", "likelihood_ratio", "leading")


class Made(NamedTuple):
    """The outputs of some steps or windows (T, M), what a state keeps (T, A), and numbers as good in their places."""

    numbers: Float64s
    others: Float64s
    kept: Float32s
    kept_others: Float32s


class ExpectedOutputs:
    """The outputs of a task, by what it declares.

    Args:
        outputs: as declared.
        tensors: how many numbers each tensor has, of those that are published as they are.
        scales: of the tensors, as `core.audit.scales` has them; 1 where there is none.
    """

    def __init__(
        self, outputs: Sequence[Output], tensors: Mapping[str, int], scales: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        self._outputs, self._tensor_scales = tuple(outputs), scales
        self._scales: dict[str, float] = {}
        for output in outputs:
            # The others are probabilities, numbers of standard deviations, or no numbers.
            has_scale = output.apply in (None, "error", "forecast_error", "forecast", "expected")
            self._scales[output.name] = self._scale_of_source(output) if has_scale else 1.0
        self._places: dict[str, slice] = {}
        sizes: dict[str, int] = {}
        self.width = 0
        for output in outputs:
            read = tensors.get(output.tensor, 1) if output.of is None else sizes[output.of]
            size = len(output.names) if output.apply == "forecast" else read
            sizes[output.name] = 1 if output.apply in ONE_NUMBER else size
            if output.publish:
                self._places[output.name] = slice(self.width, self.width + sizes[output.name])
                self.width += sizes[output.name]
        self._published = [output for output in outputs if output.publish]

    @property
    def names(self) -> list[str]:
        """The names of those that are published, in order."""
        return list(self._places)

    def _scale_of_source(self, output: Output) -> float:
        """The scale of the numbers that an output is made of."""
        return self._tensor_scales.get(output.tensor, 1.0) if output.of is None else self._scales[output.of]

    def make(self, rows: int, given: Given, apply: Applying) -> Made:
        """Make the outputs of so many steps or windows."""
        found: dict[str, Applied] = {}
        with np.errstate(all="ignore"):  # what is not finite is not published
            for output in self._outputs:
                values = given(output) if output.of is None else found[output.of].numbers
                found[output.name] = apply(output, values, self._scale_of_source(output))
            return _joined(list(found.values()), [found[name] for name in self._places], rows)

    def values(self, numbers: Sequence[float]) -> list[Any]:
        """The outputs as a record holds them, in their order, of numbers (M,)."""
        return [_shown(output, list(numbers[self._places[output.name]])) for output in self._published]

    def differences(self, numbers: Sequence[float], others: Sequence[float] | None, found: Any) -> dict[str, float]:
        """Return by output how far a record is off, as `PartitionAudit.differences`.

        Args:
            numbers: (M,).
            others: (M,), as good; None: there are none.
            found: the record.
        """
        off: dict[str, float] = {}
        for output in self._published:
            place = self._places[output.name]
            value, wanted = getattr(found, output.name), list(numbers[place])
            difference = _difference(_shown(output, wanted), value, self._scales[output.name])
            if difference == math.inf and others is not None and value is not None:
                as_good = _shown(output, list(others[place]))
                difference = 0.0 if as_good == value and type(as_good) is type(value) else difference
            if difference:
                off[output.name] = difference
        return off


def _joined(found: Sequence[Applied], published: Sequence[Applied], rows: int) -> Made:
    numbers = np.hstack([each.shown for each in published])
    numbers[np.abs(numbers) > MAX_FLOAT32] = np.inf
    others = [np.full(each.shown.shape, np.nan) if each.others is None else each.others for each in published]
    none = np.empty((rows, 0), np.float32)
    keeping = [each for each in found if each.kept is not None]
    kept = [none, *(each.kept for each in keeping if each.kept is not None)]
    as_good = [np.full_like(each.kept, np.nan) if each.kept_others is None else each.kept_others for each in keeping]
    return Made(numbers, np.hstack(others), np.hstack(kept), np.hstack([none, *as_good]))


def _shown(output: Output, numbers: list[float]) -> Any:
    """One output as a record holds it."""
    held = [number if math.isfinite(number) else None for number in numbers]
    first = held[0] if held else None
    if output.apply in ("label", "leading"):
        return None if first is None else output.labels[int(first)]
    if output.apply == "above":
        return None if first is None else bool(first)
    if output.apply == "argmax_step":
        return None if first is None else int(first)
    if output.apply in ("error", "forecast_error"):
        return first if first is not None and first >= 0 else None
    names = output.names or output.labels
    if len(names) > 1:
        return dict(zip(names, held, strict=True))
    return first if len(held) == 1 else held


def _difference(expected: Any, found: Any, scale: float) -> float:
    """Return how far a value is off, the worst of its numbers; infinite where no number stands against a number."""
    if type(expected) is float and isinstance(found, (int, float)) and not isinstance(found, bool):
        difference = abs(expected - found) / max(scale, abs(expected))
        return difference if math.isfinite(difference) else math.inf  # a NaN would be larger than no tolerance
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        return max((_difference(value, found[name], scale) for name, value in expected.items()), default=0.0)
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return max((_difference(*pair, scale) for pair in zip(expected, found, strict=True)), default=0.0)
    return 0.0 if type(expected) is type(found) and expected == found else math.inf
