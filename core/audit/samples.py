"""Samples of any task, read a second time: from a record to the numbers that the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.tasks.declaration import Declaration, Field
from core.wire.samples import SampleDecoder, sample_decoder

Row = tuple[float, ...]
"""A sample (F,) as the model reads it."""
NO_ROW: Row = ()
"""Stands for the sample before where a sequence begins."""


class SampleReader:
    """Reads the samples of a task.

    Args:
        fields: of the task.
        decode: reads a record's value; raises RecordError.
    """

    def __init__(self, fields: Sequence[Field], decode: SampleDecoder) -> None:
        self.decode = decode
        self.width = sum(field.width for field in fields)
        self._fields = tuple(fields)
        self._may_lack = [field.name for field in fields if field.missing == "hold"]

    @classmethod
    def of(cls, task: Declaration) -> SampleReader:
        """The reader of a task's samples."""
        return cls(task.fields, sample_decoder(task))

    def lacks(self, sample: Any) -> bool:
        """True if a value must be held from the sample before."""
        return any(getattr(sample, name) is None for name in self._may_lack)

    def row(self, sample: Any, before: Row, overlaps: bool) -> Row:
        """The numbers of a sample.

        Args:
            sample: as it was decoded.
            before: the row of the sample before, `NO_ROW` if there is none.
            overlaps: arrays go on from those of the sample before; else zeros stand in front of them.
        """
        row: list[float] = []
        for field in self._fields:
            held = before[len(row) + field.overlap :][: field.numbers]
            if field.overlap:
                last = before[: len(row) + field.width][-field.overlap :] if overlaps else ()
                row += last or (0.0,) * field.overlap
            value = getattr(sample, field.name)
            row += held if value is None else [value] if field.length is None else value
        return tuple(row)
