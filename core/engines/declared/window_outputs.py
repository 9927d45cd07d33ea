"""The outputs of a declared window task: of the tensors that a model gives of a window, what stands in a record.

Shapes: N windows, T samples of a window, F numbers of a sample, M of all outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.arrays import Float32s, Float64s, Int64s
from core.engines.declared import functions
from core.engines.declared.outputs import ONE_VALUE, check_output, field_of
from core.engines.onnx.windows import Scored
from core.errors import StartupError
from core.tasks.declaration import Output
from core.wire.outputs import OutputField

Shape = tuple[int, ...]


@dataclass(frozen=True)
class WindowShapes:
    """The shapes of a model's tensors by name, without the axis of windows: of the shortest windows and the longest."""

    first: int  # samples of the shortest
    length: int  # and of the longest
    shortest: Mapping[str, Shape]
    longest: Mapping[str, Shape]

    def per_sample(self, tensor: str) -> int:
        """Return how many numbers a tensor [samples, ...] has for each sample; 0 if it is no such tensor."""
        (first, *each), (last, *others) = self.shortest[tensor] or (0,), self.longest[tensor] or (0,)
        found = (first, last) == (self.first, self.length) and each == others
        return math.prod(each) if found else 0

    def numbers(self, tensor: str) -> int:
        """Return how many numbers a tensor has; 0 if that depends on the window."""
        size = math.prod(self.longest[tensor])
        return size if size == math.prod(self.shortest[tensor]) else 0


@dataclass(frozen=True)
class _Made:
    """One output, and where it takes its numbers from."""

    output: Output
    place: int  # of its tensor, in what the model gives of a window; -1: it is made of another output

    def of_windows(self, windows: Sequence[Float32s], scored: Sequence[Scored]) -> Float64s:
        """The numbers (N, n) that a tensor gives, before what is applied to each row alone."""
        tensors = [each[self.place] for each in scored]
        if self.output.apply == "argmax_step":
            return np.array([[functions.first_largest(tensor.reshape(-1))] for tensor in tensors])
        if self.output.apply == "error":
            return np.array([[functions.window_distance(*each)] for each in zip(tensors, windows, strict=True)])
        return np.stack([tensor.reshape(-1) for tensor in tensors]).astype(np.float64)

    def apply(self, values: Float64s, steps: Sequence[Int64s]) -> Float64s:
        """The numbers of the output (N, n), of those that it is made of."""
        output = self.output
        if output.apply == "above":
            return functions.above(values, output, np.zeros((len(values), 1), np.float32))[0]
        if output.apply == "argmax_step":
            if self.place < 0:
                values = np.array([[functions.first_largest(row)] for row in values])
            return functions.at_steps(values, steps)
        return functions.alone(values, output)


class WindowOutputs:
    """The outputs of a window task, in their order.

    Args:
        file: the task's model, for messages.
        outputs: as declared.
        shapes: of the tensors, in the order in which the model gives them.
        width: F.

    Raises:
        StartupError: names or labels do not fit the tensor, or a function wants other numbers.
    """

    def __init__(self, file: str, outputs: Sequence[Output], shapes: WindowShapes, width: int) -> None:
        places = {name: place for place, name in enumerate(shapes.longest)}
        sizes: dict[str, int] = {}
        self._made: list[_Made] = []
        fields: list[OutputField] = []
        for output in outputs:
            read = _sizes_of(file, output, shapes, sizes, width)
            sizes[output.name] = 1 if output.apply in ONE_VALUE else read
            self._made.append(_Made(output, -1 if output.of is not None else places[output.tensor]))
            fields.append(field_of(output, sizes[output.name]))
        self.fields = tuple(fields)
        self.width = sum(sizes.values())

    def make(self, windows: Sequence[Float32s], scored: Sequence[Scored], steps: Sequence[Int64s]) -> Float64s:
        """Make the outputs (N, M), as they are published: whole numbers, the others in the precision of float32.

        Args:
            windows: each (T, F).
            scored: what the model gave of each.
            steps: of the samples of each, (T,).
        """
        found: dict[str, Float64s] = {}
        for made in self._made:
            of = made.output.of
            values = made.of_windows(windows, scored) if of is None else found[of]
            found[made.output.name] = made.apply(values, steps)
        return np.hstack([_as_published(*each) for each in zip(self.fields, found.values(), strict=True)])


def _as_published(field: OutputField, numbers: Float64s) -> Float64s:
    if field.kind in ("whole", "text"):
        return numbers
    with np.errstate(over="ignore"):  # a number too large for float32 is infinite, and so none
        return numbers.astype(np.float32).astype(np.float64)


def _sizes_of(file: str, output: Output, shapes: WindowShapes, sizes: Mapping[str, int], width: int) -> int:
    """Return how many numbers an output reads; raises StartupError where they do not fit it."""
    where = f"{file}: output '{output.name}'"
    if output.of is not None:
        return _of_another(where, file, output, shapes, sizes, width)
    shape, each = list(shapes.longest[output.tensor]), shapes.per_sample(output.tensor)
    if output.apply == "argmax_step" and each != 1:
        raise StartupError(
            f"{where}: argmax_step reads one number for each sample of a window, and tensor '{output.tensor}' is "
            f"{shape} for a window of {shapes.length}: export it as [batch, samples]"
        )
    if output.apply == "error" and not 1 <= each <= width:
        raise StartupError(
            f"{where}: error compares a tensor [batch, samples, up to {width} numbers] with the window, and tensor "
            f"'{output.tensor}' is {shape} for a window of {shapes.length}: name one of that shape"
        )
    if output.apply in ("argmax_step", "error"):
        return 1
    size = shapes.numbers(output.tensor)
    if not size:
        raise StartupError(
            f"{where}: tensor '{output.tensor}' has numbers for each sample of a window, {shape} for one of "
            f'{shapes.length}, which is published by apply = "argmax_step" or "error" alone: set one of them, or '
            "export numbers of the whole window"
        )
    check_output(file, output, size, width)
    return size


def _of_another(
    where: str, file: str, output: Output, shapes: WindowShapes, sizes: Mapping[str, int], width: int
) -> int:
    size = sizes[output.of or ""]
    if output.apply == "error":
        raise StartupError(f"{where}: error of a window reads a tensor: name it by tensor, in place of of")
    if output.apply == "argmax_step" and not size == shapes.length == shapes.first:
        raise StartupError(
            f"{where}: argmax_step reads one number for each sample of a window, and output '{output.of}' has {size}: "
            "name a tensor [batch, samples] by tensor, in place of of"
        )
    check_output(file, output, size, width)
    return size
