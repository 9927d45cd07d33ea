"""Casts of a CSV -> the layout of castings."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from core.arrays import Float64s, Int64s
from core.data.csv.bad_lines import NOTHING, LeftOut
from core.data.csv.header import Columns
from core.data.csv.numbers import SHOWN
from core.data.csv.order import Sorted
from core.data.csv.samples import BLOCK, Samples
from core.data.csv.sequences import ORDER_COLUMNS, LinePlace, Sequences
from core.data.csv.table import Table
from core.data.outputs import write_text
from core.engines.results import WindowRules
from core.errors import RecordError
from core.tasks.reading import shipped
from core.wire.records import MAX_SEQUENCE_BYTES, SENSORS

UNKNOWN = -1
Facts = dict[str, float | str]
_EMPTY = ("", "nan", "NaN", "null", "None")


@dataclass(frozen=True)
class CastSummary:
    """Counts of what a castings file was made of.

    ``gaps`` counts the steps that are missing inside casts, ``short`` the casts with too few samples for a score.
    ``ignored`` are the columns without a meaning here.
    """

    casts: int
    samples: int
    defective: int
    good: int
    unknown: int
    short: int
    gaps: int
    ignored: tuple[str, ...]
    left_out: LeftOut = NOTHING


class CastRow(NamedTuple):
    """One sample; ``facts`` holds what the line says about its whole cast, by column."""

    place: LinePlace
    values: list[float]
    facts: Facts


class CastImport:
    """Reads the rows of casts and writes them."""

    columns: ClassVar = Columns(
        ("sequence",), shipped("casting").columns, (*ORDER_COLUMNS, "label", "defect_probability", "trigger")
    )
    width: ClassVar = len(SENSORS)

    def __init__(self, table: Table, samples: Samples, sequences: Sequences) -> None:
        self._table, self._samples, self._sequences = table, samples, sequences
        self._facts: list[Facts] = []  # of each cast: they may stand in all of its lines or in some, but must agree

    def parse(self, cells: list[str]) -> CastRow:
        """The sample of a row; raises RecordError."""
        place = self._sequences.place(cells)
        if not place.sequence:
            raise RecordError("missing_field", "sequence is empty: it names the cast")
        return CastRow(place, self._table.numbers(cells), self._facts_of(cells))

    def add(self, line: int, row: CastRow) -> None:
        """Take a sample in; raises RecordError: the row contradicts an earlier one."""
        known = self._sequences.known(row.place)
        facts = {} if known is None else self._facts[known]
        for name, now in row.facts.items():
            if (before := facts.get(name, now)) != now:
                raise RecordError("wrong_type", f"{name} is {now}, on an earlier line of the same cast it is {before}")
        self._sequences.add(line, row.place, row.values)
        if known is None:
            self._facts.append(facts)
        facts.update(row.facts)

    def write(self, file: h5py.File, done: Sorted) -> CastSummary:
        """Fill ``file`` with the casts in order."""
        casts, lengths = done.sequences, done.lengths
        facts = [self._facts[cast] for cast in casts]
        labels = np.array([each.get("label", UNKNOWN) for each in facts])
        probabilities = np.array([each.get("defect_probability", math.nan) for each in facts])
        self._write_sensors(file, done)
        _write_casts(file, lengths, labels, probabilities)
        triggers = [each.get("trigger", "") for each in facts]
        for name, texts in (("trigger", triggers), ("sequence", self._sequences.names(casts))):
            file.create_dataset(name, data=texts, dtype=h5py.string_dtype(), track_times=False)
        write_text(file, "metadata", json.dumps({"sensors": SENSORS, "casts": len(lengths), "sampling_rate": 1.0}))
        write_text(file, "config", "{}")
        return CastSummary(
            casts=len(lengths),
            samples=int(lengths.sum()),
            defective=int((labels == 1).sum()),
            good=int((labels == 0).sum()),
            unknown=int((labels == UNKNOWN).sum()),
            short=int((lengths < WindowRules().window_min).sum()),
            gaps=done.gaps,
            ignored=self._table.ignored,
        )

    def _write_sensors(self, file: h5py.File, done: Sorted) -> None:
        samples, total = self._samples.all(), int(done.lengths.sum())
        sensors = [file.create_dataset(name, (total,), "f4", track_times=False) for name in SENSORS]
        for first, end, places in done.blocks(BLOCK):
            block = samples[places]
            for column, data in enumerate(sensors):
                data[first:end] = block[:, column]

    def _facts_of(self, cells: list[str]) -> Facts:
        found = {
            "label": self._label(cells),
            "defect_probability": self._probability(cells),
            "trigger": self._trigger(cells),
        }
        return {name: fact for name, fact in found.items() if fact not in (None, UNKNOWN)}

    def _label(self, cells: list[str]) -> int | None:
        cell = self._cell(cells, "label")
        if cell is None:
            return None
        label = self._table.number("label", cell)
        if label not in (0, 1, UNKNOWN):
            raise RecordError(
                "out_of_range", f"label is {cell[:SHOWN]}: must be 1 (defective), 0 (good), or -1 or empty (unknown)"
            )
        return int(label)

    def _probability(self, cells: list[str]) -> float | None:
        cell = self._cell(cells, "defect_probability")
        if cell is None:
            return None
        probability = self._table.number("defect_probability", cell)
        if not 0 <= probability <= 1:
            raise RecordError("out_of_range", f"defect_probability is {cell[:SHOWN]}: must be from 0 to 1, or empty")
        return probability

    def _trigger(self, cells: list[str]) -> str | None:
        cell = self._cell(cells, "trigger")
        if cell is not None and len(cell.encode()) > MAX_SEQUENCE_BYTES:
            raise RecordError(
                "wrong_type", f"trigger is {cell[:SHOWN]!r}...: at most {MAX_SEQUENCE_BYTES} bytes of text"
            )
        return cell

    def _cell(self, cells: list[str], name: str) -> str | None:
        cell = self._table.cell(cells, name)
        return None if cell in _EMPTY else cell


def _write_casts(file: h5py.File, lengths: Int64s, labels: NDArray[np.int64], probabilities: Float64s) -> None:
    columns = {
        "cast_start": (np.cumsum(lengths) - lengths).astype("i8"),
        "cast_length": lengths.astype("i4"),
        "label": labels.astype("i1"),
        "defect_probability": probabilities.astype("f4"),
    }
    for name, values in columns.items():
        file.create_dataset(name, data=values, track_times=False)
