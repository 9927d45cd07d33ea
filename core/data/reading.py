"""Reading large HDF5 datasets in bounded memory, each compressed chunk once and not once per read."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from core.callbacks import OnProgress, unheard
from core.data.values import Values

# Values read at once: 4 MiB of float32. One chunk of the file, where that is larger, as HDF5 inflates whole chunks.
BLOCK_VALUES = 1 << 20


def check_values(datasets: Collection[Values], on_check: OnProgress = unheard) -> None:
    """Refuse unmeasured values, NaN, infinity and values beyond 1e6.

    Raises:
        DataError: names the dataset and the first bad value's place.
    """
    done, total = 0, sum(data.size for data in datasets)
    for data in datasets:
        for place in _blocks(data):
            done += data.checked(place).size
            on_check(done, total)


def _blocks(data: Any) -> Iterator[tuple[slice, ...]]:
    """Slices that cover the dataset in order, each a whole number of its chunks, of about BLOCK_VALUES values."""
    sizes = list(data.chunks or (1,) * data.ndim)
    for axis in reversed(range(data.ndim)):  # the last axis first: its neighbours lie together in the file
        others = int(np.prod(sizes)) // sizes[axis]
        sizes[axis] *= max(1, BLOCK_VALUES // (others * sizes[axis]))
        sizes[axis] = min(sizes[axis], data.shape[axis])
    starts = (range(0, length, size) for length, size in zip(data.shape, sizes, strict=True))
    for corner in itertools.product(*starts):
        yield tuple(slice(first, first + size) for first, size in zip(corner, sizes, strict=True))
