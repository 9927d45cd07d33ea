"""A model that steps, with the task's outputs in place of its numbers: what an output keeps is one more state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.arrays import Float32s
from core.engines.declared.outputs import StepOutputs
from core.engines.onnx.axes import RowTensor
from core.engines.onnx.binding import State
from core.engines.onnx.rows import CallRows, Room

KEPT = "kept by outputs"


class AppliedRows:
    """`CallRows` whose outputs are those of the task, (B, M).

    Args:
        rows: the model.
        outputs: of the task.
    """

    def __init__(self, rows: CallRows, outputs: StepOutputs) -> None:
        kept = RowTensor(KEPT, (outputs.kept,), 0)
        self.binding = replace(
            rows.binding,
            states=(*rows.binding.states, *([State(kept, KEPT)] if outputs.kept else [])),
            outputs=(RowTensor("outputs", (outputs.width,), 0),),
        )
        self.plan = rows.plan
        self._rows, self._outputs = rows, outputs
        self._kept = np.zeros(kept.of_rows(rows.plan.most), np.float32)
        self._samples = self._kept

    def room(self, rows: int) -> Room:
        """The buffers for a call of so many rows, as `CallRows.room`."""
        room = self._rows.room(rows)
        self._samples = room.samples
        return Room(room.samples, (*room.states, *([self._kept[:rows]] if self._outputs.kept else [])))

    def run(self, rows: int) -> tuple[Float32s, list[Float32s]]:
        """Step the rows of the last ``room``: the outputs (B, M), and the states after. Errors as `CallRows.run`."""
        numbers, states = self._rows.run(rows)
        found, kept = self._outputs.step(self._samples, numbers, self._kept[:rows])
        return found, [*states, *([kept] if self._outputs.kept else [])]
