"""Samples to try a model with: noise in the ranges of its fields, or recorded ones.

Shapes: T steps, R rows, F numbers of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from core.arrays import Float32s, Floats
from core.data.task_inputs import ModelInputs
from core.errors import DataError
from core.tasks.declaration import LARGEST_VALUE, Declaration, Field

_UNKNOWN = 3.0  # either side of zero, where nobody has said what is normal
_SCALES = (1.0, 0.3, 0.1, 0.01)  # of the range: a model that is not scaled saturates at its ends
_MOST_RECORDED = 4_000


class SampleSource:
    """Draws samples.

    Args:
        declaration: the task.
        recorded: (N, F) to draw from; None: noise.
    """

    def __init__(self, declaration: Declaration, recorded: Float32s | None = None) -> None:
        bounds = [bound for field in declaration.fields for bound in [_bounds(field)] * field.width]
        self._low, self._high = (np.array(each) for each in zip(*bounds, strict=True))
        self._recorded = recorded

    def draw(self, steps: int, rows: int, seed: int = 0) -> Float32s:
        """Samples (T, R, F)."""
        random = np.random.default_rng(seed)
        if self._recorded is not None:
            return self._recorded[random.integers(len(self._recorded), size=(steps, rows))]
        middle, half = (self._high + self._low) / 2, (self._high - self._low) / 2
        scale = np.resize(_SCALES, rows)[:, None]
        found: Float32s = (middle + half * scale * random.uniform(-1, 1, (steps, rows, len(middle)))).astype(np.float32)
        return found


def _bounds(field: Field) -> tuple[float, float]:
    if field.normal is not None:
        return field.normal
    if field.low == -LARGEST_VALUE and field.high == LARGEST_VALUE:
        return -_UNKNOWN, _UNKNOWN
    return field.low, field.high


def read_samples(path: Path, declaration: Declaration) -> Float32s:
    """The first samples (N, F) of an HDF5 file that has a dataset for each field, (N,) or (N, k).

    Raises:
        DataError: it has not, or they are not finite.
    """
    try:
        with h5py.File(path, "r") as file:
            columns = [column for field in declaration.fields for column in _columns(path, file, field)]
    except OSError as error:
        raise DataError(path, f"cannot be read as HDF5: {error}") from error
    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or 0 in lengths:
        raise DataError(path, "its fields have different numbers of samples, or none")
    found, _ = ModelInputs(declaration).of(np.concatenate(columns, axis=1).astype(np.float32), None)
    if not np.isfinite(found).all():
        raise DataError(path, "it holds numbers that are not finite in float32")
    return found


def _columns(path: Path, file: h5py.File, field: Field) -> Iterator[Floats]:
    name = next((name for name in (field.name, *field.aliases) if isinstance(file.get(name), h5py.Dataset)), None)
    if name is None:
        raise DataError(path, "there is no such dataset: the file needs one for each field", field.name)
    if file[name].ndim not in (1, 2) or file[name].dtype.kind not in "fiub":
        raise DataError(path, "must hold numbers, (samples,) or (samples, numbers)", name)
    values = np.asarray(file[name][:_MOST_RECORDED], np.float64)
    values = values.reshape(len(values), -1)
    if values.shape[1] != field.numbers:
        raise DataError(path, f"has {values.shape[1]} numbers per sample, the field {field.numbers}", name)
    yield values
