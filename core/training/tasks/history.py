"""A history, whatever kind of file it is in -> sequences in memory, as a worker would read them record by record.

Shapes: T samples of a sequence, F numbers that the model reads of one, N samples of all sequences.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from core.arrays import Float32s, Int64s
from core.callbacks import OnNote, OnProgress, unheard
from core.data.csv.arrow import ColumnarFile, is_columnar
from core.data.csv.header import mentions
from core.data.csv.import_csv import ImportOptions, import_csv
from core.data.csv.names import Renamed
from core.data.csv.numbers import Decimal
from core.data.csv.table import MAX_PREAMBLE
from core.data.csv.tasks import TaskSummary
from core.data.opening import open_file
from core.data.task_file import TaskFile
from core.data.task_inputs import ModelInputs
from core.errors import DataError
from core.judging.normal import disturbed
from core.tasks.declaration import Declaration, Field
from core.tasks.keys import LARGEST_NUMBER

TRUTH = "anomaly"
"""A dataset or column of 0 and 1 that marks samples that are not normal: nothing is learnt from them. An empty
cell is 0."""
READ_SAMPLES = 1 << 18
MOST_LEFT_OUT = 0.05
"""The share of the lines of a table: where more cannot be used, something else is wrong."""
Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class Recorded:
    """One sequence of a history.

    ``values`` (T, F) are what the model reads. ``times_ms`` (T,) are since 1970, None where the file has none.
    ``marked`` (T,) are the samples that somebody knows to be not normal. ``extra`` has further columns, (T, numbers)
    each, by name. ``disturbed`` (T,) are the marked samples and those behind them that still show it.
    """

    name: str
    stream: str
    values: Float32s
    times_ms: Int64s | None
    marked: Marks
    disturbed: Marks
    extra: dict[str, Float32s] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class History:
    """Sequences of one task, and the file in the one layout (`core.data.task_file`) from which they were read."""

    file: Path
    sequences: list[Recorded]
    period_ms: float
    timed: bool
    """The times or the rate come from the file: ``period_ms`` is not assumed."""
    source: str
    """The name of the file that the user gave."""

    @property
    def samples(self) -> int:
        """N."""
        return sum(map(len, self.sequences))

    @property
    def streams(self) -> list[str]:
        """The names of the streams, in order; "" is that of sequences without one."""
        return list(dict.fromkeys(each.stream for each in self.sequences))


@dataclass(frozen=True)
class HistoryOptions:
    """The way a table is read, as `caststream import` has it; names in the task's table [train] are known too."""

    renamed: Renamed = field(default_factory=dict)
    decimal: Decimal | None = None
    sampling_rate: float | None = None


AS_IT_IS = HistoryOptions()
NO_TEXTS: Mapping[str, dict[str, int]] = {}


@contextmanager
def open_history(
    path: Path,
    declaration: Declaration,
    extra: Sequence[str] = (),
    options: HistoryOptions = AS_IT_IS,
    on_note: OnNote = unheard,
    on_progress: OnProgress = unheard,
    texts: Mapping[str, dict[str, int]] = NO_TEXTS,
) -> Iterator[History]:
    """Open a CSV, Parquet, Feather or HDF5 file of a task's samples; the block has `History.file` besides.

    Lines of a table that a worker would refuse are left out and told, as the worker leaves them out.

    Args:
        extra: names of further columns or datasets of numbers, which must be there; NaN where one has no number.
        texts: those of them that hold texts in a table, each with its texts by number, which are added.

    Raises:
        DataError: the file cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="caststream-") as folder:
        names = [*extra, *([TRUTH] if TRUTH not in extra and _has(path, TRUTH) else [])]
        wide = _widened(declaration, names)
        file = path if is_hdf5(path) else Path(folder) / "history.h5"
        if file is not path:
            _import(path, file, wide, options, texts, on_note, on_progress)
        yield _read(path, file, declaration, wide, names, on_note)


def _widened(declaration: Declaration, names: Sequence[str]) -> Declaration:
    """The task with further fields behind its own."""
    more = tuple(
        Field(
            name,
            None,
            (name,),
            low=-LARGEST_NUMBER,
            high=LARGEST_NUMBER,
            missing="unknown",
        )
        for name in names
    )
    return replace(declaration, fields=(*declaration.fields, *more))


def is_hdf5(path: Path) -> bool:
    """True for HDF5, and for what is not there or no table: opening it says why."""
    return not path.is_file() or h5py.is_hdf5(path) or path.suffix.lower() in (".h5", ".hdf5", ".hdf", ".he5")


def _has(path: Path, name: str) -> bool:
    """True if a file has a dataset or a column of this name."""
    if is_hdf5(path):
        with open_file(path) as file:
            return name in file
    if is_columnar(path):
        return name in ColumnarFile(path, {}).names
    with path.open("rb") as lines:
        head = [line.decode("utf-8-sig", "replace") for line in islice(lines, MAX_PREAMBLE)]
    return any(mentions(line.rstrip("\r\n"), name, {}) for line in head)


def _import(
    path: Path,
    out: Path,
    wide: Declaration,
    options: HistoryOptions,
    texts: Mapping[str, dict[str, int]],
    on_note: OnNote,
    on_progress: OnProgress,
) -> None:
    renamed = {**wide.training.columns, **options.renamed}
    chosen = ImportOptions(None, renamed, options.decimal, True, options.sampling_rate, wide, texts)
    done = import_csv(path, out, on_progress, chosen, on_note)
    assert isinstance(done, TaskSummary)
    if lines := done.left_out.lines:
        told = f"{lines:,} lines cannot be used: {'; '.join(done.left_out.named)}"
        hint = 'where a cell is empty, missing = "hold" in the field takes the value before'
        if lines > MOST_LEFT_OUT * (done.samples + lines):
            raise DataError(path, f"{told}; {hint}")
        on_note(f"{told}; they are left out, as a worker does; {hint}")
    if done.lacking:
        on_note(f"{done.lacking:,} values are missing: the one before is held there")


def _read(
    source: Path, path: Path, declaration: Declaration, wide: Declaration, names: Sequence[str], on_note: OnNote
) -> History:
    width = sum(each.numbers for each in declaration.fields)
    with TaskFile(path, wide, on_note if path == source else unheard) as file:
        sequences = []
        for each in file.sequences:
            raw = np.concatenate(
                [
                    file.values(first, min(READ_SAMPLES, each.start + each.count - first))
                    for first in range(each.start, each.start + each.count, READ_SAMPLES)
                ]
            )
            values, _ = ModelInputs(declaration).of(raw[:, :width], None)
            extra = {name: raw[:, width + place] for place, name in enumerate(names)}
            marked = np.nan_to_num(extra[TRUTH]) != 0 if TRUTH in extra else np.zeros(each.count, bool)
            behind = disturbed(marked, declaration.training.horizon)
            times = file.times(each.start, each.count)
            sequences.append(Recorded(each.name, each.stream, values, times, marked, behind, extra))
        period_ms, timed = file.period_ms, file.rate_hz is not None
    steps = [np.diff(each.times_ms) for each in sequences if each.times_ms is not None and len(each) > 1]
    usual = float(np.median(np.concatenate(steps))) if steps else 0.0
    return History(path, sequences, usual or period_ms, timed or usual > 0, source.name)
