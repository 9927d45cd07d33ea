from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float32s
from core.step_batch import StepBatch

Integers = NDArray[np.integer[Any]]

INSTRUCTION_SETS: tuple[str, ...]

def gated_tanh(gates: Float32s, values: Float32s, instructions: str = ...) -> Float32s: ...

class StepKernel:
    def __init__(
        self,
        features: int,
        hidden_size: int,
        layers: Sequence[tuple[Float32s, Float32s, Float32s, Float32s]],
        output: tuple[Float32s, Float32s],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        instructions: str = ...,
    ) -> None: ...
    @property
    def state_size(self) -> int: ...
    def advance(
        self, samples: Float32s, runs: Integers, times: Integers, lengths: Integers, states: Float32s
    ) -> Float32s: ...

class LstmKernel(StepKernel): ...
class GruKernel(StepKernel): ...

class StateRows:
    def __init__(self, kernel: StepKernel) -> None: ...
    @property
    def capacity(self) -> int: ...
    def grow(self) -> None: ...
    def step(self, batch: StepBatch) -> Float32s: ...
    def read(self, rows: Integers) -> Float32s: ...
    def write(self, row: int, state: Float32s) -> None: ...
    def clear(self, row: int) -> None: ...
