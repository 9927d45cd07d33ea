from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.integer[Any]]

INSTRUCTION_SETS: tuple[str, ...]

def gated_tanh(gates: Floats, values: Floats, instructions: str = ...) -> Floats: ...

class LstmKernel:
    def __init__(
        self,
        features: int,
        hidden_size: int,
        layers: Sequence[tuple[Floats, Floats, Floats, Floats]],
        output: tuple[Floats, Floats],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        instructions: str = ...,
    ) -> None: ...
    @property
    def state_size(self) -> int: ...
    def advance(
        self, samples: Floats, runs: Integers, times: Integers, lengths: Integers, states: Floats
    ) -> Floats: ...

class StateRows:
    def __init__(self, kernel: LstmKernel) -> None: ...
    @property
    def capacity(self) -> int: ...
    def grow(self) -> None: ...
    def step(
        self,
        samples: Floats,
        runs: Integers,
        times: Integers,
        lengths: Integers,
        starts: Integers,
        targets: Integers,
        last: Integers,
    ) -> Floats: ...
    def read(self, rows: Integers) -> Floats: ...
    def write(self, row: int, state: Floats) -> None: ...
    def clear(self, row: int) -> None: ...
