"""Copy a part of a data file to a file of its own, so that held-out rows are evaluated like any file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from core.data.layout import CASTS, SIGNALS, open_castings, open_signals
from core.data.outputs import create_file, write_text
from core.data.recording import Recording
from core.wire.records import SENSORS

BLOCK_VALUES = 1 << 20


def write_signals_part(path: Path, out: Path, rows: range) -> None:
    """Write the samples ``rows`` of a signals file, with what the file says of them, to ``out``.

    Raises:
        DataError: one of the two files cannot be used.
    """
    with open_signals(path, check_values=False) as source, create_file(out) as file:
        steps = source["mixed_signals"].shape[1]
        for name in (*SIGNALS, "condition_vectors"):
            _copy(source, file, name, rows, max(1, BLOCK_VALUES // steps))
        for name in ("metadata", "config"):
            if (said := source.json(name)) is not None:
                write_text(file, name, json.dumps(_said_of(said, rows)))
        if source.rate_told:
            file.attrs["sampling_rate"] = source.rate_hz


def _said_of(said: Any, rows: range) -> Any:
    """Return the part of the metadata of all samples that is about ``rows``."""
    if isinstance(said, list):
        return said[rows.start : rows.stop]
    return {**said, "num_samples": len(rows)} if "num_samples" in said else said


def write_castings_part(path: Path, out: Path, rows: range) -> None:
    """Write the casts ``rows`` of a castings file to ``out``.

    Raises:
        DataError: one of the two files cannot be used.
    """
    with open_castings(path, check_values=False) as source, create_file(out) as file:
        chosen = slice(rows.start, rows.stop)
        starts = source["cast_start"][chosen].astype(np.int64)
        ends = starts + source["cast_length"][chosen]
        for name in SENSORS:
            _copy(source, file, name, range(int(starts.min()), int(ends.max())), BLOCK_VALUES)
        file.create_dataset("cast_start", data=starts - starts.min(), track_times=False)
        for name in CASTS[1:]:
            file.create_dataset(name, data=source[name][chosen], dtype=source[name].dtype, track_times=False)
        write_text(file, "metadata", json.dumps({"sensors": SENSORS, "casts": len(rows), "sampling_rate": 1.0}))


def _copy(source: Recording, file: h5py.File, name: str, rows: range, at_once: int) -> None:
    data = source.values(name)
    copied = file.create_dataset(name, (len(rows), *data.shape[1:]), data.dtype, track_times=False)
    for block in _blocks(rows, at_once):
        copied[block.start - rows.start : block.stop - rows.start] = data[block.start : block.stop]


def _blocks(rows: range, at_once: int) -> Iterator[range]:
    for first in range(rows.start, rows.stop, at_once):
        yield range(first, min(first + at_once, rows.stop))
