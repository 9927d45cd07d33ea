"""Samples as records hold them -> what the model reads. Shapes: T steps of a sequence, F numbers of one input."""

from __future__ import annotations

import numpy as np

from core.arrays import Float32s
from core.tasks.declaration import Declaration, Field


class ModelInputs:
    """Puts in what comes from the sample before: values that are held, and numbers that overlap."""

    def __init__(self, declaration: Declaration) -> None:
        self._fields = declaration.fields
        self._plain = not any(field.overlap or field.missing == "hold" for field in self._fields)
        self.numbers = sum(field.numbers for field in self._fields)

    def of(self, samples: Float32s, before: Float32s | None) -> tuple[Float32s, Float32s]:
        """The model's input (T, F), and the last sample, without gaps, for the block that follows.

        Args:
            samples: (T, numbers), NaN where a field is lacking.
            before: the sample before the first one; None where a sequence begins.
        """
        if self._plain:
            return samples, samples[-1]
        earlier = np.zeros(self.numbers, np.float32) if before is None else before
        parts, last, place = [], [], 0
        for field in self._fields:
            columns = slice(place, place + field.numbers)
            held = _held(samples[:, columns], earlier[columns]) if field.missing == "hold" else samples[:, columns]
            parts += [_overlapping(field, held, earlier[columns]), held]
            last.append(held[-1])
            place += field.numbers
        return np.concatenate(parts, axis=1), np.concatenate(last)


def _held(values: Float32s, before: Float32s) -> Float32s:
    """Fill rows that are lacking with the row before."""
    there = ~np.isnan(values[:, 0])
    if there.all():
        return values
    latest = np.maximum.accumulate(np.where(there, np.arange(1, len(values) + 1), 0))
    found: Float32s = np.concatenate([before[None], values])[latest]
    return found


def _overlapping(field: Field, values: Float32s, before: Float32s) -> Float32s:
    """The last numbers of the row before each row, (T, overlap)."""
    found: Float32s = np.concatenate([before[None], values[:-1]])[:, field.numbers - field.overlap :]
    return found
