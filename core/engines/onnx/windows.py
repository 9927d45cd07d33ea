"""Windows scored by an ONNX model, those of one length together.

Shapes: W windows, T samples of a window, F numbers of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from core.arrays import Float32s
from core.engines.binding import Binding, RowTensor
from core.engines.onnx.plan import PadPlan
from core.engines.onnx.rows import aligned
from core.engines.onnx.session import Graph

MAX_WINDOWS = 64  # in a call: a live chunk seldom has more that are due, and their layers take memory

Scored = tuple[Float32s, ...]
"""The outputs of a window, one array for each tensor that is read, without its axis of windows."""


class OnnxWindows:
    """A graph that scores windows.

    Args:
        graph: the model.
        binding: its names, for windows of any length that it takes.
        plan: how windows of one length are put together.
    """

    def __init__(self, graph: Graph, binding: Binding, plan: PadPlan) -> None:
        self._graph, self._binding, self.plan = graph, binding, plan
        self._names = [output.name for output in binding.outputs]

    @property
    def file(self) -> str:
        return self._graph.file

    @property
    def tensors(self) -> tuple[RowTensor, ...]:
        """The outputs of a window, in order."""
        return tuple(self._binding.outputs)

    def by(self, plan: PadPlan) -> OnnxWindows:
        """The same model by another plan."""
        return OnnxWindows(self._graph, self._binding, plan)

    def score(self, windows: Sequence[Float32s]) -> list[Scored]:
        """Score windows, each (T, F), of any lengths; the results are in their order.

        Raises:
            RunError: the runtime cannot.
        """
        by_length: dict[int, list[int]] = {}
        for place, window in enumerate(windows):
            by_length.setdefault(len(window), []).append(place)
        found: list[Scored] = [()] * len(windows)
        for alike in by_length.values():
            for tile in self._tiles(alike):
                for place, scored in zip(tile, self._run([windows[each] for each in tile]), strict=True):
                    found[place] = scored
        return found

    def _tiles(self, places: list[int]) -> Iterator[list[int]]:
        most = min(self.plan.most, MAX_WINDOWS)
        return (places[start : start + most] for start in range(0, len(places), most))

    def _run(self, windows: list[Float32s]) -> Iterator[Scored]:
        length, width = windows[0].shape
        padded = self.plan.padded(len(windows))
        samples = aligned(padded * length * width).reshape(padded, length, width)
        samples[: len(windows)] = windows
        feed = {self._binding.samples.name: samples, **self._binding.constants}
        found = [
            np.moveaxis(np.asarray(array, np.float32), output.axis, 0)
            for output, array in zip(self._binding.outputs, self._graph.run(self._names, feed), strict=True)
        ]
        return (tuple(array[place] for array in found) for place in range(len(windows)))
