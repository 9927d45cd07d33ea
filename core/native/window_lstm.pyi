from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.arrays import Float32s

INSTRUCTION_SETS: tuple[str, ...]

class WindowKernel:
    def __init__(
        self,
        layers: Sequence[Sequence[tuple[Float32s, Float32s, Float32s, Float32s]]],
        head: Sequence[tuple[Float32s, Float32s]],
        readout: str,
        activation: str,
        statistics: tuple[ArrayLike, ArrayLike] | None = None,
        input_norm: tuple[ArrayLike, ArrayLike] | None = None,
        batch_norm: tuple[ArrayLike, ArrayLike] | None = None,
        layer_norm: tuple[ArrayLike, ArrayLike, float] | None = None,
        instructions: str = ...,
    ) -> None: ...
    def score(self, samples: Float32s, lengths: NDArray[np.integer[Any]]) -> tuple[Float32s, Float32s]: ...
