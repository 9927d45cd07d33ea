"""Signals of a CSV -> the layout of signals: rows of one length, each with one condition."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from core.data.csv.bad_lines import NOTHING, LeftOut
from core.data.csv.header import Columns
from core.data.csv.names import shown
from core.data.csv.order import Sorted
from core.data.csv.samples import BLOCK, Samples
from core.data.csv.sequences import ORDER_COLUMNS, LinePlace, Sequences
from core.data.csv.table import Table
from core.data.outputs import write_text
from core.errors import RecordError, StartupError
from core.tasks.reading import shipped
from core.wire.records import MAX_VALUE


@dataclass(frozen=True)
class SignalSummary:
    """Counts of what a signals file was made of.

    ``steps`` is the length of each row; ``targets`` whether it has targets; ``sampling_rate`` None where neither the
    times nor somebody said it; ``other_lengths`` the sequences that were left out for their length.
    """

    rows: int
    steps: int
    targets: bool
    sampling_rate: float | None
    gaps: int
    other_lengths: tuple[str, ...]
    ignored: tuple[str, ...]
    left_out: LeftOut = NOTHING


class SignalRow(NamedTuple):
    """One sample: ``values`` are signal and target, NaN where there is none."""

    place: LinePlace
    values: list[float]
    condition: tuple[float, ...]


class SignalImport:
    """Reads the rows of signals and writes them."""

    columns: ClassVar = Columns((), shipped("signal").columns, ("sequence", *ORDER_COLUMNS, "target"))
    width: ClassVar = 2

    def __init__(self, table: Table, samples: Samples, sequences: Sequences) -> None:
        self._table, self._samples, self._sequences = table, samples, sequences
        self._conditions: list[tuple[float, ...]] = []
        self.sampling_rate: float | None = None  # as somebody says
        self.any_length = False  # leave sequences of another length out

    def parse(self, cells: list[str]) -> SignalRow:
        """The sample of a row; raises RecordError."""
        signal, *condition = self._table.numbers(cells)
        return SignalRow(self._sequences.place(cells), [signal, self._target(cells)], tuple(condition))

    def add(self, line: int, row: SignalRow) -> None:
        """Take a sample in; raises RecordError: the row contradicts an earlier one."""
        known = self._sequences.known(row.place)
        if known is not None and self._conditions[known] != row.condition:
            raise RecordError(
                "wrong_type",
                f"the condition is {row.condition}, on an earlier line of the same sequence it is "
                f"{self._conditions[known]}: give each condition a sequence of its own",
            )
        if self._sequences.add(line, row.place, row.values) == len(self._conditions):
            self._conditions.append(row.condition)

    def write(self, file: h5py.File, done: Sorted) -> SignalSummary:
        """Fill ``file`` with the sequences in order.

        Raises:
            StartupError: they are not of one length.
        """
        steps, chosen = self._one_length(done)
        rows = int(chosen.sum())
        targets = self._table.has("target")
        self._write_samples(file, done, steps, chosen, targets)
        kept = done.sequences[chosen]
        conditions = np.array([self._conditions[each] for each in kept], np.float32)
        file.create_dataset("condition_vectors", data=conditions, track_times=False)
        names = self._sequences.names(kept)
        if all(names):
            file.create_dataset("sequence", data=names, dtype=h5py.string_dtype(), track_times=False)
        rate = self.sampling_rate or self._sequences.rate_hz()
        described = {} if rate is None else {"sampling_rate": rate}
        write_text(file, "metadata", json.dumps(described))
        write_text(file, "config", json.dumps({"data": described}))
        others = tuple(self._sequences.names(done.sequences[~chosen]))
        return SignalSummary(rows, steps, targets, rate, done.gaps, others, self._table.ignored)

    def _one_length(self, done: Sorted) -> tuple[int, NDArray[np.bool_]]:
        """The length of the rows, and which sequences have it."""
        lengths: Counter[int] = Counter(done.lengths.tolist())
        steps = lengths.most_common(1)[0][0]
        chosen: NDArray[np.bool_] = done.lengths == steps
        if not self.any_length and not chosen.all():
            others = self._sequences.names(done.sequences[~chosen])
            raise StartupError(
                f"the rows of a signals file have one length: most sequences have {steps:,} samples, others not: "
                f"{shown(others)}; --skip-bad skips those"
            )
        return steps, chosen

    def _write_samples(
        self, file: h5py.File, done: Sorted, steps: int, chosen: NDArray[np.bool_], targets: bool
    ) -> None:
        samples = self._samples.all()
        shape = (int(chosen.sum()), steps)
        names = ("mixed_signals", "target_signals") if targets else ("mixed_signals",)
        data = [file.create_dataset(name, shape, "f4", track_times=False) for name in names]
        starts = (np.cumsum(done.lengths) - done.lengths)[chosen]
        for row, start in enumerate(starts.tolist()):
            for first in range(0, steps, BLOCK):
                end = min(steps, first + BLOCK)
                block = samples[done.taken(start + first, start + end)]
                for column, each in enumerate(data):
                    each[row, first:end] = block[:, column]

    def _target(self, cells: list[str]) -> float:
        if not self._table.has("target"):
            return 0.0
        target = self._table.number("target", self._table.cell(cells, "target"))
        if abs(target) > MAX_VALUE:
            raise RecordError("out_of_range", f"target is {target}: must be a number within {MAX_VALUE:g}")
        return target
