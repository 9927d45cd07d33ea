"""The check of a user's own weights: sizes, finite numbers, fields that are read, the example.

The compiled kernel gives a row the same bits in every batch, so there is no batch plan to be found.
Shapes: B rows, L layers, H hidden units, F numbers of a sample, S of a state, K of the linear layer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.arrays import Float32s
from core.engines.binding import Binding
from core.engines.declared.outputs import StepOutputs
from core.engines.onnx.plan import ANY
from core.engines.onnx.probe import reach
from core.engines.onnx.rows import Room
from core.engines.own_weights import KernelStates, open_weights
from core.errors import StartupError
from core.native.lstm import StepKernel
from core.tasks.check.cost import check_size
from core.tasks.check.findings import Checked
from core.tasks.check.moves import POOL_ROWS, POOL_STEPS, are_many, check_fields, still_numbers, unread
from core.tasks.check.noise import SampleSource, read_samples
from core.tasks.check.trial import StepTrial
from core.tasks.declaration import Declaration


def examine_weights(declaration: Declaration, model: bytes, data: Path | None, most_state_bytes: int) -> Checked:
    """Check weights; arguments and errors as `core.tasks.check.examine.examine` has them."""
    file = str(declaration.model.file)
    kernel, binding = open_weights(declaration, model)
    outputs = StepOutputs(file, declaration.outputs, binding.columns, declaration.width)
    check_size(file, binding.state_size + outputs.kept, most_state_bytes)
    noise = SampleSource(declaration)
    source = noise if data is None else SampleSource(declaration, read_samples(data, declaration))
    rows = KernelRows(kernel, binding)
    samples = noise.draw(POOL_STEPS, POOL_ROWS)
    still = still_numbers(rows, reach(rows, samples), samples)
    check_fields(file, declaration, still)

    trial = StepTrial(declaration, model, binding, lambda: KernelStates(kernel, declaration.width), source)
    trial.check_carried(trial.bank())
    agreed = trial.agreed()
    told = unread(declaration, still)
    if agreed is None and are_many(declaration, still):
        raise StartupError(f"{file}: {told[0]}; correct it, or set example in [model]")
    missing = "there is no example, so nothing shows that the task's fields are in the order of the model's inputs"
    return trial.passed(ANY.name, agreed, (*told, *([missing] if agreed is None else [])))


class KernelRows:
    """The compiled kernel as `core.engines.onnx.rows.CallRows` is: one step of some rows."""

    def __init__(self, kernel: StepKernel, binding: Binding) -> None:
        self.binding, self.plan = binding, ANY
        self._kernel = kernel
        self._room = self.room(0)

    def room(self, rows: int) -> Room:
        """The buffers for a call of so many rows."""
        states = tuple(np.zeros(state.before.of_rows(rows), np.float32) for state in self.binding.states)
        self._room = Room(np.zeros(self.binding.samples.of_rows(rows), np.float32), states)
        return self._room

    def run(self, rows: int) -> tuple[Float32s, list[Float32s]]:
        """Step the rows of the last ``room``: the outputs (B, K), and the states after, (L, B, H) each."""
        samples, states = self._room
        whole = np.hstack([np.moveaxis(state, 1, 0).reshape(rows, -1) for state in states])  # (B, S)
        every = np.arange(rows)
        outputs = self._kernel.advance(samples, every, np.zeros_like(every), np.ones_like(every), whole)
        parts = np.split(whole, len(states), axis=1)
        return outputs, [
            np.moveaxis(part.reshape(rows, *state.before.shape), 0, 1)
            for part, state in zip(parts, self.binding.states, strict=True)
        ]
