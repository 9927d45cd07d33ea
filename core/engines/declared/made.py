"""The outputs of a step task, a class for each kind: how each is made, and what it keeps from one step to the next.

Shapes: B rows, K numbers of the model, F of a sample, A kept from step to step, n of an output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from core.arrays import Float32s, Float64s
from core.engines.declared import functions
from core.native.forecasts import RATIO_NUMBERS, Forecasts, leaders, likelihood_ratios, surprises
from core.tasks.declaration import Output


@dataclass(frozen=True)
class StepRows:
    """One step of B rows, and what is made of it so far, by output."""

    samples: Float32s  # (B, F)
    numbers: Float32s  # (B, K), of the model
    before: Float32s  # (B, A), kept
    after: Float32s
    found: dict[str, Float64s] = field(default_factory=dict)  # (B, n), as others read it
    expected: dict[str, Float64s] = field(default_factory=dict)  # (B, n), by forecast: that of a step before


class MadeOutput:
    """One output that needs nothing but its own numbers.

    Args:
        output: as declared.
        numbers: how many it has, n.
        columns: of the model's, where it is made of a tensor.
        place: where that which it keeps begins among the A.
        keeps: how many numbers that are.
    """

    def __init__(self, output: Output, numbers: int, columns: slice, place: int, keeps: int = 0) -> None:
        self.output, self.numbers, self.columns = output, numbers, columns
        self.kept = slice(place, place + keeps)

    def apply(self, step: StepRows) -> Float64s:
        """The numbers (B, n) as others read them."""
        return functions.alone(self.values(step), self.output)

    def published(self, step: StepRows) -> Float64s:
        """The numbers (B, n) that stand in a record."""
        return step.found[self.output.name]

    def values(self, step: StepRows) -> Float64s:
        """The numbers that it is made of."""
        if self.output.of is not None:
            return step.found[self.output.of]
        return step.numbers[:, self.columns].astype(np.float64)


class Error(MadeOutput):
    """The distance of a reconstruction to its sample."""

    def apply(self, step: StepRows) -> Float64s:
        return functions.distance(self.values(step), step.samples)


class Above(MadeOutput):
    """Keeps whether it was true."""

    def __init__(self, output: Output, columns: slice, place: int) -> None:
        super().__init__(output, 1, columns, place, 1)

    def apply(self, step: StepRows) -> Float64s:
        found, step.after[:, self.kept] = functions.above(self.values(step), self.output, step.before[:, self.kept])
        return found


class ForecastError(MadeOutput):
    """Keeps the n numbers of a forecast, behind 1."""

    def __init__(self, output: Output, columns: slice, place: int, size: int) -> None:
        super().__init__(output, 1, columns, place, 1 + size)

    def apply(self, step: StepRows) -> Float64s:
        before = step.before[:, self.kept]
        found, step.after[:, self.kept] = functions.forecast_distance(self.values(step), step.samples, before)
        return found


class Forecast(MadeOutput):
    """Keeps the forecast. Others read the distances to the one that was made a step before."""

    def __init__(self, output: Output, columns: slice, place: int) -> None:
        self._native = Forecasts(output.least, output.changes, columns.start, place)
        super().__init__(output, len(output.names), columns, place, self._native.kept)

    def apply(self, step: StepRows) -> Float64s:
        numbers = np.ascontiguousarray(step.numbers)
        found = self._native.step(step.samples, numbers, step.before, step.after)
        step.expected[self.output.name], distances = found
        return distances

    def published(self, step: StepRows) -> Float64s:
        """The forecast for the next sample."""
        first = self.columns.start
        means: Float64s = step.numbers[:, first : first + self.numbers].astype(np.float64)
        return means + step.samples[:, : self.numbers] if self.output.changes else means


class Expected(MadeOutput):
    """The forecast for this sample."""

    def apply(self, step: StepRows) -> Float64s:
        return step.expected[self.output.of or ""]


class Surprise(MadeOutput):
    """The distance to the forecast for this sample."""

    def apply(self, step: StepRows) -> Float64s:
        return surprises(self.values(step))


class LikelihoodRatio(MadeOutput):
    """Keeps running averages of each number of a forecast: of its distances and of their squares, over three spans."""

    def __init__(self, output: Output, forecast: MadeOutput, place: int) -> None:
        self.size = forecast.numbers  # n
        super().__init__(output, 1, slice(0), place, RATIO_NUMBERS * self.size)

    def apply(self, step: StepRows) -> Float64s:
        assert self.output.horizon is not None
        place = self.kept.start
        return likelihood_ratios(self.values(step), self.output.horizon, step.before, step.after, place)


class Leading(MadeOutput):
    """The number with the largest likelihood ratio."""

    def __init__(self, output: Output, ratio: MadeOutput, place: int) -> None:
        assert isinstance(ratio, LikelihoodRatio)
        self._ratio = ratio
        super().__init__(output, 1, slice(0), place)

    def apply(self, step: StepRows) -> Float64s:
        return leaders(self.values(step), step.after, self._ratio.kept.start, self._ratio.size)


def made(output: Output, columns: slice, place: int, above: Mapping[str, MadeOutput]) -> MadeOutput:
    """An output, of the model's ``columns`` or of another one ``above``; what it keeps begins at ``place``."""
    source = None if output.of is None else above[output.of]
    size = columns.stop - columns.start if source is None else source.numbers
    if output.apply == "error":
        return Error(output, 1, columns, place)
    if output.apply == "above":
        return Above(output, columns, place)
    if output.apply == "forecast_error":
        return ForecastError(output, columns, place, size)
    if output.apply == "forecast":
        return Forecast(output, columns, place)
    if source is not None and output.apply == "expected":
        return Expected(output, size, columns, place)
    if output.apply == "surprise":
        return Surprise(output, 1, columns, place)
    if source is not None and output.apply == "likelihood_ratio":
        return LikelihoodRatio(output, source, place)
    if source is not None and output.apply == "leading":
        return Leading(output, source, place)
    return MadeOutput(output, 1 if output.apply == "label" else size, columns, place)
