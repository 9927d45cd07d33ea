"""Histories for trainings of declared tasks: small, and made by a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.arrays import Float64s
from core.training.config import TaskSettings

TASK = """\
name = "pump"
kind = "step"

[fields]
flow = { unit = "m3/h" }
level = {}
"""


def task_file(folder: Path, more: str = "") -> Path:
    path = folder / "pump.toml"
    path.write_text(TASK + more, encoding="utf-8")
    return path


def plant(samples: int, seed: int = 0) -> Float64s:
    """Flow and level (samples, 2): the flow swings around 50, the level follows it one step later."""
    source = np.random.default_rng(seed)
    phase = 2 * np.pi * np.arange(samples) / 25
    flow = 50 + 4 * np.sin(phase) + source.normal(0, 0.3, samples)
    level = 1000 + 20 * np.sin(phase - 0.25) + source.normal(0, 1, samples)
    return np.stack([flow, level], axis=1)


def write_csv(path: Path, values: Float64s, period_s: int = 60, first: str = "2026-01-01T00:00:00") -> Path:
    times = np.datetime64(first, "s") + np.arange(len(values)) * np.timedelta64(period_s, "s")
    rows = [f"{time}Z,{flow:.3f},{level:.2f}" for time, (flow, level) in zip(times, values, strict=True)]
    path.write_text("\n".join(["timestamp,flow,level", *rows]) + "\n", encoding="utf-8")
    return path


def quick(**given: object) -> TaskSettings:
    """Settings of a training that takes a second."""
    return TaskSettings(**{"epochs": 3, "hidden_size": 8, "num_layers": 1, "segment": 16, "max_minutes": None} | given)  # type: ignore[arg-type]
