"""The form of a task's records: which text stands around their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.arrays import Int64s
from core.tasks.declaration import Declaration, Field
from core.tasks.reading import shipped


@dataclass(frozen=True)
class RecordForm:
    """The fields whose numbers a sample has, in order; ``has_end``: records say whether they are a sequence's last."""

    fields: Sequence[Field]
    has_end: bool

    @cached_property
    def names(self) -> list[bytes]:
        """The JSON that stands before each field."""
        return [b',"%s":' % field.name.encode() for field in self.fields]

    @cached_property
    def lengths(self) -> Int64s:
        """The numbers of each field that is an array, 0 of one that is a number."""
        return np.array([field.length or 0 for field in self.fields], np.int64)


def form_of(task: Declaration) -> RecordForm:
    """Return the form of a task's records. The end of a sequence means something to windows alone."""
    return RecordForm(task.fields, task.kind == "window")


# The condition of a signal is the same in all samples of a sequence: it is no number of a sample here.
SIGNALS = RecordForm(shipped("signal").fields[:1], has_end=False)
CASTINGS = form_of(shipped("casting"))
