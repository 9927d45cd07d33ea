"""Reading large HDF5 datasets in bounded memory, each compressed chunk once and not once per read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from core.data.layout import file_kind, open_castings, open_signals
from core.errors import DataError
from core.records import MAX_VALUE, SENSORS

# Values read at once: 4 MiB of float32. One chunk of the file, where that is larger, as HDF5 inflates whole chunks.
BLOCK_VALUES = 1 << 20
CACHE_BYTES = 16 << 20
OnCheck = Callable[[int, int], None]


def open_checked(path: str | Path, on_check: OnCheck | None = None) -> tuple[h5py.File, str]:
    """Open a file of either kind, told by its datasets, and check every value that a record would carry.

    Args:
        path: the file.
        on_check: told the values checked so far and their total, once per block.

    Returns:
        The open file, which the caller closes, and its kind: "signal" or "casting".

    Raises:
        DataError: as `open_signals` and `open_castings`; also a value that no record may carry.
    """
    kind = file_kind(path)
    opened = open_signals(path, check_values=False) if kind == "signal" else open_castings(path, check_values=False)
    try:
        check_values(opened, ("mixed_signals", "condition_vectors") if kind == "signal" else SENSORS, on_check)
    except DataError:
        opened.close()
        raise
    except (OSError, RuntimeError) as error:  # damage that opening did not show
        opened.close()
        raise DataError(path, f"cannot be read, the file is damaged: {error}".splitlines()[0]) from error
    return opened, kind


def cached(file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset ``name``, with a cache that holds a few of its chunks.

    HDF5's default of 1 MiB keeps no chunk that is larger, and inflates it again at each read.
    """
    chunks = file[name].chunks
    if chunks is None:
        return file[name]
    chunk_bytes = int(np.prod(chunks)) * file[name].dtype.itemsize
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(10_007, max(CACHE_BYTES, chunk_bytes) if chunk_bytes > 1 << 18 else 1 << 22, 0.75)
    return h5py.Dataset(h5py.h5d.open(file.id, name.encode(), access))


def check_values(file: h5py.File, names: Sequence[str], on_check: OnCheck | None = None) -> None:
    """Refuse NaN, infinity and values above 1e6 in the datasets ``names``.

    Raises:
        DataError: names the dataset and the first bad value's place.
    """
    done, total = 0, sum(file[name].size for name in names)
    for name in names:
        data = cached(file, name)
        for place in _blocks(data):
            block = data[place]
            good = np.abs(block) <= MAX_VALUE  # false for NaN, too
            if not good.all():
                _refuse(file, name, block, good, place)
            done += block.size
            if on_check is not None:
                on_check(done, total)


def _refuse(file: h5py.File, name: str, block: np.ndarray, good: np.ndarray, place: tuple[slice, ...]) -> None:
    at = tuple(int(axis[0]) for axis in np.nonzero(~good))
    shown = ", ".join(str(part.start + index) for part, index in zip(place, at, strict=True))
    value = block[at]
    rule = "must be finite" if not np.isfinite(value) else f"must be within {MAX_VALUE:g}"
    raise DataError(file.filename, f"value at [{shown}] is {value}: {rule}", name)


def _blocks(data: h5py.Dataset) -> Iterator[tuple[slice, ...]]:
    """Slices that cover the dataset in order, each a whole number of its chunks, of about BLOCK_VALUES values."""
    sizes = list(data.chunks or (1,) * data.ndim)
    for axis in reversed(range(data.ndim)):  # the last axis first: its neighbours lie together in the file
        others = int(np.prod(sizes)) // sizes[axis]
        sizes[axis] *= max(1, BLOCK_VALUES // (others * sizes[axis]))
        sizes[axis] = min(sizes[axis], data.shape[axis])
    starts = (range(0, length, size) for length, size in zip(data.shape, sizes, strict=True))
    for corner in itertools.product(*starts):
        yield tuple(slice(first, first + size) for first, size in zip(corner, sizes, strict=True))
