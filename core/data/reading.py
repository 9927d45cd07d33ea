"""Reading large HDF5 datasets in bounded memory, each compressed chunk once and not once per read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import h5py
import numpy as np

from core.callbacks import OnProgress
from core.data.recording import Recording
from core.data.values import Values

# Values read at once: 4 MiB of float32. One chunk of the file, where that is larger, as HDF5 inflates whole chunks.
BLOCK_VALUES = 1 << 20


def cached(file: h5py.File | Recording, name: str) -> Values:
    """The numbers of the dataset ``name``, with a cache that holds a few of its chunks."""
    return file.values(name) if isinstance(file, Recording) else Values(file, name)


def check_values(file: h5py.File | Recording, names: Sequence[str], on_check: OnProgress | None = None) -> None:
    """Refuse what was not measured, NaN, infinity and values beyond 1e6 in the datasets ``names``.

    Raises:
        DataError: names the dataset and the first bad value's place.
    """
    found = [cached(file, name) for name in names]
    done, total = 0, sum(data.size for data in found)
    for data in found:
        for place in _blocks(data):
            done += data.checked(place).size
            if on_check is not None:
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
