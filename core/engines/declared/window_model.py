"""WindowModel: the model of a declared window task, and what the task makes of its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.arrays import Float32s, Float64s, Int64s
from core.engines.binding import Binding
from core.engines.declared.task_windows import open_task_windows
from core.engines.declared.window_outputs import WindowOutputs, WindowShapes
from core.engines.declared.window_scoring import OpenedWindows
from core.engines.scoring import WindowTask
from core.models.ranges import Ranges
from core.tasks.declaration import Declaration
from core.tasks.fingerprint import FIELDS_DIGITS, fingerprint_of
from core.wire.samples import field_list, sample_decoder

_LARGEST = float(np.finfo(np.float32).max)  # whatever range a field has, or had when a window was stored


class WindowModel:
    """The model of a window task, opened: what an engine and an offline run need of it.

    A window has the same outputs, bit for bit, whatever others are scored with it: that is what the batch plan is for.

    Args:
        declaration: of the kind window.
        model: the model file's bytes, those that were checked.
        plan: name of the batch plan that the check has found.

    Raises:
        StartupError: the model cannot be used, or does not fit the declaration.
    """

    def __init__(self, declaration: Declaration, model: bytes, plan: str) -> None:
        opened = open_task_windows(declaration, model)
        self.outputs = outputs_of(declaration, opened)
        self._windows = opened.live(plan)
        self.declaration = declaration
        self.fingerprint = fingerprint_of(declaration, model)

    @property
    def task(self) -> WindowTask:
        """The task's parts that a `WindowEngine` runs."""
        fields = self.declaration.fields
        return WindowTask(
            fingerprint=self.fingerprint,
            fields=field_list(self.declaration),
            decode=sample_decoder(self.declaration),
            outputs=self.outputs.fields,
            model=self,
            ranges=Ranges.normal(fields, self.declaration.places()),
            probability=self._probability(),
            largest=_LARGEST,
            fields_digits=FIELDS_DIGITS,
        )

    def _probability(self) -> int | None:
        """The place of the first output that is one probability; None without one."""
        place = 0
        for output, field in zip(self.declaration.outputs, self.outputs.fields, strict=True):
            if output.apply == "sigmoid" and field.numbers == 1:
                return place
            place += field.numbers
        return None

    def score(self, windows: Sequence[Float32s], steps: Sequence[Int64s] | None = None) -> Float64s:
        """Score N windows, each (T, F), of ``first`` to ``length`` samples.

        Args:
            windows: of any lengths, in any order.
            steps: of the samples of each window, (T,); None: 0, 1 and so on.

        Returns:
            (N, M), the numbers of ``outputs.fields`` in their order, as they are published; NaN or infinity is none.

        Raises:
            RunError: the runtime cannot.
        """
        if not windows:
            return np.empty((0, self.outputs.width))
        if steps is None:
            steps = [np.arange(len(window)) for window in windows]
        return self.outputs.make(windows, self._windows.score(windows), steps)


def outputs_of(declaration: Declaration, opened: OpenedWindows) -> WindowOutputs:
    """The outputs of a window task; raises StartupError where they do not fit its model."""
    window = declaration.window
    assert window is not None
    shapes = WindowShapes(window.first, window.length, _shapes(opened.shortest), _shapes(opened.longest))
    return WindowOutputs(opened.file, declaration.outputs, shapes, declaration.width)


def _shapes(binding: Binding) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in binding.outputs}
