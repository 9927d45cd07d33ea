"""An open file of signals or castings: its datasets as numbers, and its facts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from core.arrays import Float32s
from core.callbacks import OnNote
from core.data.opening import Unchanged
from core.data.rates import read_text
from core.data.values import Values
from core.wire.records import SENSORS


@dataclass
class Recording:
    """A checked file. ``file[name]`` gives a dataset's numbers, as `Values` or as an array.

    Attributes:
        h5: the file, as h5py has it.
        kind: "signal" or "casting".
        guard: knows all files that are read.
        columns: what is kept in memory, one entry for each cast.
        rate_hz: samples per second.
        rate_told: whether the file tells the rate; else it is assumed.
        names: what the rows are called in the file; None where it does not say.
        notes: lines that whoever reads the file should see.
    """

    h5: h5py.File
    kind: str
    guard: Unchanged
    read: Mapping[str, Values]
    columns: Mapping[str, NDArray[Any]]
    rate_hz: float
    rate_told: bool
    names: Sequence[str] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def filename(self) -> str:
        """The path that the file was opened by."""
        return str(self.h5.filename)

    @property
    def files(self) -> list[Path]:
        """This file and all that are read through it."""
        return self.guard.paths

    def values(self, name: str) -> Values:
        """The numbers of a dataset, with a cache that holds a few of its chunks."""
        return self.read[name] if name in self.read else Values(self.h5, name, guard=self.guard.check)

    def sensors(self, first: int, end: int) -> Float32s:
        """The samples ``[first, end)`` of a castings file, (T, 5)."""
        return np.stack([self.read[name][first:end] for name in SENSORS], axis=1).astype(np.float32)

    def json(self, name: str) -> Any:
        """The content of a dataset that is one JSON text; None where there is no such dataset.

        Raises:
            DataError, ValueError: it is no text, or no JSON.
        """
        return json.loads(read_text(self.h5, name)) if name in self.h5 else None

    def __getitem__(self, name: str) -> Any:
        if name in self.columns:
            return self.columns[name]
        return self.read[name] if name in self.read else self.h5[name]

    def __contains__(self, name: str) -> bool:
        return name in self.columns or name in self.read or name in self.h5

    def tell(self, on_note: OnNote) -> None:
        """Hand over the notes."""
        for note in self.notes:
            on_note(note)

    def close(self) -> None:
        """Close the file."""
        self.h5.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
