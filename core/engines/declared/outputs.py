"""The outputs of a declared task: which numbers of the model each is made of, and how it stands in a record.

Shapes: B rows, K numbers of the model, F of a sample, M of all outputs, A numbers kept from step to step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from core.arrays import Float32s
from core.engines.declared.made import MadeOutput, StepRows, made
from core.errors import StartupError
from core.tasks.declaration import Output
from core.wire.outputs import NumberKind, OutputField

ONE_VALUE = ("above", "argmax_step", "error", "forecast_error", "label", "surprise", "likelihood_ratio", "leading")
"""Each gives one number, whatever it is made of."""


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
        self._made: dict[str, MadeOutput] = {}
        self.kept = 0
        for output in outputs:
            place = columns(output.tensor) if output.of is None else slice(0)
            size = place.stop - place.start if output.of is None else self._made[output.of].numbers
            check_output(file, output, size, width)
            self._made[output.name] = each = made(output, place, self.kept, self._made)
            self.kept = each.kept.stop
        self._published = [each for each in self._made.values() if each.output.publish]
        self.fields = tuple(field_of(each.output, each.numbers) for each in self._published)

    @property
    def width(self) -> int:
        """M."""
        return sum(each.numbers for each in self._published)

    def step(self, samples: Float32s, numbers: Float32s, before: Float32s) -> tuple[Float32s, Float32s]:
        """Make the outputs (B, M) of one step, and what is kept (B, A).

        Args:
            samples: (B, F).
            numbers: (B, K), of the model.
            before: (B, A), kept from the step before; zeros where a sequence begins.
        """
        step = StepRows(samples, numbers, before, np.empty_like(before))
        for name, each in self._made.items():
            step.found[name] = each.apply(step)
        found = np.hstack([each.published(step) for each in self._published])
        with np.errstate(over="ignore"):  # a number too large for float32 is infinite, and so none
            return found.astype(np.float32), step.after


def field_of(output: Output, numbers: int) -> OutputField:
    """An output of so many numbers, as it stands in a record."""
    if output.apply == "argmax_step":
        return OutputField(output.name, kind="whole")
    if output.apply in ("label", "leading"):
        return OutputField(output.name, kind="text", texts=output.labels)
    if output.apply == "above":
        return OutputField(output.name, kind="text", texts=(False, True))
    if output.apply in ("error", "forecast_error", "surprise"):
        return OutputField(output.name, kind="distance")
    kind: NumberKind = "awaited" if output.apply in ("expected", "likelihood_ratio") else "float32"
    names = output.names or output.labels
    return OutputField(output.name, names if len(names) > 1 else (), numbers, kind)


def check_output(file: str, output: Output, size: int, width: int) -> None:
    """Raise StartupError where an output does not fit the numbers that it reads."""
    where = f"{file}: output '{output.name}'"
    source = f"tensor '{output.tensor}'" if output.of is None else f"output '{output.of}'"
    if output.apply == "forecast":
        _check_forecast(where, output, size, width)
        return
    for what, names in (("names", output.names), ("labels", output.labels)):
        if names and len(names) != size and output.apply != "leading":
            raise StartupError(f"{where} has {len(names)} {what}, and {source} has {size} numbers: name each of them")
    if output.apply == "above" and size != 1:
        raise StartupError(f"{where}: above is for one number, and {source} has {size}")
    if output.apply in ("error", "forecast_error") and size > width:
        raise StartupError(f"{where}: {source} has {size} numbers, and a sample {width}: they cannot be compared")


def _check_forecast(where: str, output: Output, size: int, width: int) -> None:
    count = len(output.names)
    if size != 2 * count:
        raise StartupError(
            f"{where}: tensor '{output.tensor}' has {size} numbers, and a forecast of {count} numbers has {2 * count}, "
            "their means and the logarithms of their variances: export these, or name the numbers that are forecast, "
            "the first ones of a sample, by names"
        )
    if count > width:
        raise StartupError(f"{where} has {count} names, and a sample {width} numbers: they cannot be compared")
