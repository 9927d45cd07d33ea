"""The datasets of a task's fields, and those of a signals file, as rows of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import h5py
import numpy as np

from core.arrays import Float32s
from core.data.columns import TURNED, open_values
from core.data.layout import SIGNALS, open_rows
from core.data.opening import Unchanged, dataset_of
from core.data.values import Values
from core.errors import DataError
from core.tasks.declaration import Declaration, Field
from core.tasks.reading import shipped

_KINDS = "fiub"


class HeldSamples(Protocol):
    """Samples of a file, N of them in one row after the other."""

    kind: str
    """The kind by which the sampling rate is judged: signal, casting, or the task's name."""
    samples: int
    row_steps: int | None
    """Steps of each sequence, where the layout has rows of one length."""
    datasets: list[Values]

    def read(self, start: int, count: int) -> list[Float32s]:
        """Return the numbers of each field, (count, numbers)."""

    def block(self, data: Values, start: int, count: int) -> Float32s:
        """Return the numbers of one dataset, (count, numbers)."""


class FieldRows:
    """A dataset for each field."""

    row_steps: int | None = None

    def __init__(self, file: h5py.File, guard: Unchanged, declaration: Declaration) -> None:
        self.kind = declaration.name
        self.datasets = [_open(file, guard, field) for field in declaration.fields]
        self.samples = self.datasets[0].shape[0]
        for data in self.datasets[1:]:
            if data.shape[0] != self.samples:
                problem = f"has {data.shape[0]} samples, '{self.datasets[0].name}' has {self.samples}"
                raise DataError(file.filename, problem, data.name)

    def read(self, start: int, count: int) -> list[Float32s]:
        return [self.block(data, start, count) for data in self.datasets]

    def block(self, data: Values, start: int, count: int) -> Float32s:
        found: Float32s = data.numbers((slice(start, start + count),)).reshape(count, -1)
        return found


class SignalsFileRows:
    """The layout of signals: rows of samples, and a condition for each row."""

    kind = "signal"
    row_steps: int | None

    def __init__(self, file: h5py.File, guard: Unchanged, declaration: Declaration) -> None:
        rows = open_rows(file, guard)
        self._mixed, self._conditions = rows["mixed_signals"], rows["condition_vectors"]
        for data, field in zip((self._mixed, self._conditions), declaration.fields, strict=True):
            data.limits = (field.low, field.high)
        self.datasets = [self._mixed, self._conditions]
        count, self._steps = self._mixed.shape
        self.row_steps, self.samples = self._steps, count * self._steps

    def read(self, start: int, count: int) -> list[Float32s]:
        signals, conditions = [], []
        for row, first, end in self._rows(start, count):
            signals.append(self._mixed.numbers((row, slice(first, end))))
            conditions.append(np.repeat(self._conditions.numbers((slice(row, row + 1),)), end - first, axis=0))
        return [np.concatenate(signals)[:, None], np.concatenate(conditions)]

    def block(self, data: Values, start: int, count: int) -> Float32s:
        raise NotImplementedError("nothing is lacking in a signals file")

    def _rows(self, start: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Each row with the steps of it that are read."""
        steps = self._steps
        for row in range(start // steps, -(-(start + count) // steps)):
            yield row, max(0, start - row * steps), min(steps, start + count - row * steps)


def holds_signals(file: h5py.File, declaration: Declaration) -> bool:
    """True if a file has the layout of signals, and a task its fields."""
    wanted, own = ([(field.name, field.numbers) for field in each.fields] for each in (shipped("signal"), declaration))
    return wanted == own and not set(file).isdisjoint((*SIGNALS, "condition_vectors"))


def _open(file: h5py.File, guard: Unchanged, field: Field) -> Values:
    name = _name_of(file, field)
    axes = 1 if field.length is None or (field.length == 1 and dataset_of(file, name).ndim == 1) else 2
    data = open_values(file, guard, name, axes, _KINDS)
    if axes == 2 and data.shape[1] != field.numbers:
        turned = f": {TURNED}" if data.shape[0] == field.numbers else ""
        problem = f"has {data.shape[1]} numbers a sample (shape {data.shape}), the field has {field.numbers}{turned}"
        raise DataError(file.filename, problem, name)
    data.limits, data.may_lack = (field.low, field.high), field.missing != "refuse"
    data.may_begin = field.missing == "unknown"
    return data


def _name_of(file: h5py.File, field: Field) -> str:
    """The dataset of a field: that of its name, else of the first alias that the file has."""
    held = set(file)
    return next((name for name in (field.name, *field.aliases) if name in held), field.name)
