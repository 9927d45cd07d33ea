"""Small HDF5 files of both kinds, with values that tell where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from core.wire.records import SENSORS

NOMINAL = np.array([1.2, 1520.0, 150.0, 200.0, 25.0])
SPREAD = np.array([0.05, 10.0, 5.0, 15.0, 3.0])


def write_signals(path: Path, rows: int, steps: int, seed: int = 0, **options: Any) -> NDArray[np.float32]:
    """A signals file; returns the samples (rows, steps). Row i asks for condition i % 4."""
    mixed = np.random.default_rng(seed).normal(0, 0.7, (rows, steps)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.create_dataset("mixed_signals", data=mixed, **options)
        file["target_signals"] = mixed
        file["condition_vectors"] = np.eye(4, dtype=np.float32)[np.arange(rows) % 4]
        file["metadata"] = '{"frequencies": [1, 3, 5, 7]}'
    return mixed


def write_castings(path: Path, lengths: list[int], seed: int = 0, **options: Any) -> list[NDArray[np.float32]]:
    """A castings file; returns the samples of each cast, (length, 5)."""
    ends = np.cumsum(lengths)
    samples = (NOMINAL + SPREAD * np.random.default_rng(seed).standard_normal((ends[-1], 5))).astype(np.float32)
    with h5py.File(path, "w") as file:
        for column, name in enumerate(SENSORS):
            file.create_dataset(name, data=samples[:, column], **options)
        file["cast_start"] = (ends - lengths).astype("i8")
        file["cast_length"] = np.array(lengths, "i4")
        file["label"] = np.full(len(lengths), -1, "i1")
        file["defect_probability"] = np.full(len(lengths), np.nan, "f4")
        file.create_dataset("trigger", data=[""] * len(lengths), dtype=h5py.string_dtype())
        file["metadata"] = "{}"
        file["config"] = "{}"
    return np.split(samples, ends[:-1])


def write_large(path: Path) -> None:
    """200 MB of samples in 200 rows, compressed to little: one chunk is deflated, and written for all."""
    rows, steps = 200, 250_000
    with h5py.File(path, "w") as file:
        data = file.create_dataset("mixed_signals", (rows, steps), "f4", chunks=(20, 5_000), compression=1)
        data[:20, :5_000] = 0.5
        _, chunk = data.id.read_direct_chunk((0, 0))
        for row in range(0, rows, 20):
            for step in range(0, steps, 5_000):
                data.id.write_direct_chunk((row, step), chunk)
        file.create_dataset("target_signals", (rows, steps), "f4", chunks=(20, 5_000))
        file["condition_vectors"] = np.eye(4, dtype="f4")[np.arange(rows) % 4]
        file["metadata"] = '{"frequencies": [1, 3, 5, 7], "num_samples": 200, "time_steps": 250000}'
