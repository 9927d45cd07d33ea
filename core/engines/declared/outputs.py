"""The outputs of a declared task: which numbers of the model each is made of, and how it stands in a record.

Shapes: B rows, K numbers of the model, F of a sample, M of all outputs, A numbers kept from step to step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.arrays import Float32s, Float64s
from core.engines.declared import functions
from core.errors import StartupError
from core.tasks.declaration import Output
from core.wire.outputs import OutputField

ONE_VALUE = ("above", "argmax_step", "error", "forecast_error", "label")
"""Each gives one number, whatever it is made of."""


@dataclass(frozen=True)
class _Made:
    """One output: its numbers, where it takes them from, and what it keeps."""

    output: Output
    numbers: int
    columns: slice  # of the model's, where it is made of a tensor
    kept: slice

    def apply(self, values: Float64s, samples: Float32s, before: Float32s, after: Float32s) -> Float64s:
        output = self.output
        if output.apply == "error":
            return functions.distance(values, samples)
        if output.apply == "above":
            found, after[:, self.kept] = functions.above(values, output, before[:, self.kept])
            return found
        if output.apply == "forecast_error":
            found, after[:, self.kept] = functions.forecast_distance(values, samples, before[:, self.kept])
            return found
        return functions.alone(values, output)


class StepOutputs:
    """The outputs of a step task, in their order.

    Args:
        file: the task's model, for messages.
        outputs: as declared.
        columns: where a tensor's numbers stand among the K of the model.
        width: F.

    Raises:
        StartupError: names or labels do not fit the tensor, or a function wants other numbers.
    """

    def __init__(self, file: str, outputs: Sequence[Output], columns: Callable[[str], slice], width: int) -> None:
        self._made: list[_Made] = []
        sizes: dict[str, int] = {}
        kept = 0
        for output in outputs:
            place = columns(output.tensor) if output.of is None else slice(0)
            size = place.stop - place.start if output.of is None else sizes[output.of]
            check_output(file, output, size, width)
            keeps = {"above": 1, "forecast_error": 1 + size}.get(output.apply or "", 0)
            sizes[output.name] = 1 if output.apply in ONE_VALUE else size
            self._made.append(_Made(output, sizes[output.name], place, slice(kept, kept + keeps)))
            kept += keeps
        self.kept = kept
        self.fields = tuple(field_of(each.output, each.numbers) for each in self._made)

    @property
    def width(self) -> int:
        """M."""
        return sum(each.numbers for each in self._made)

    def step(self, samples: Float32s, numbers: Float32s, before: Float32s) -> tuple[Float32s, Float32s]:
        """Make the outputs (B, M) of one step, and what is kept (B, A).

        Args:
            samples: (B, F).
            numbers: (B, K), of the model.
            before: (B, A), kept from the step before; zeros where a sequence begins.
        """
        found: dict[str, Float64s] = {}
        after = np.empty_like(before)
        for each in self._made:
            of = each.output.of
            values = numbers[:, each.columns].astype(np.float64) if of is None else found[of]
            found[each.output.name] = each.apply(values, samples, before, after)
        return np.hstack(list(found.values())).astype(np.float32), after


def field_of(output: Output, numbers: int) -> OutputField:
    """An output of so many numbers, as it stands in a record."""
    if output.apply == "argmax_step":
        return OutputField(output.name, kind="whole")
    if output.apply == "label":
        return OutputField(output.name, kind="text", texts=output.labels)
    if output.apply == "above":
        return OutputField(output.name, kind="text", texts=(False, True))
    if output.apply in ("error", "forecast_error"):
        return OutputField(output.name, kind="distance")
    names = output.names or output.labels
    return OutputField(output.name, names if len(names) > 1 else (), numbers)


def check_output(file: str, output: Output, size: int, width: int) -> None:
    """Raise StartupError where an output does not fit the numbers that it reads."""
    where = f"{file}: output '{output.name}'"
    source = f"tensor '{output.tensor}'" if output.of is None else f"output '{output.of}'"
    for what, names in (("names", output.names), ("labels", output.labels)):
        if names and len(names) != size:
            raise StartupError(f"{where} has {len(names)} {what}, and {source} has {size} numbers: name each of them")
    if output.apply == "above" and size != 1:
        raise StartupError(f"{where}: above is for one number, and {source} has {size}")
    if output.apply in ("error", "forecast_error") and size > width:
        raise StartupError(f"{where}: {source} has {size} numbers, and a sample {width}: they cannot be compared")
