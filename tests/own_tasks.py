"""Task files of a user's own, written by tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from core.models.shipped import checkpoint_path

LIKE_SIGNAL = """
[fields]
signal = {}
condition_vector = { length = 4, columns = ["c1", "c2", "c3", "c4"] }
[outputs]
prediction = {}
"""
LIKE_CASTING = """
[fields]
casting_speed = { unit = "m/min" }
mold_temperature = { unit = "°C" }
mold_level = { unit = "mm" }
cooling_water_flow = { unit = "L/min" }
superheat = { unit = "°C" }
[outputs]
probability = {}
attention_peak = { tensor = "attention", apply = "argmax_step" }
"""
OTHER = """
[fields]
vibration = { length = 3, normal = [-2, 2] }
[outputs]
forecast = { tensor = "y", names = ["de", "nde"] }
"""
"""Fits `tests.onnx_models.gru`."""


def write_task(folder: Path, name: str, form: str = LIKE_SIGNAL, more: str = "", file: str | None = None) -> Path:
    """Write a task file; with weights beside it, those that ship, unless ``file`` names others."""
    kind, shipped = ("window", "defect") if form == LIKE_CASTING else ("step", "signal")
    if file is None:
        shutil.copy(checkpoint_path("defect" if shipped == "defect" else "signal"), folder / f"{name}.safetensors")
    path = folder / f"{name}.toml"
    model = f'[model]\nfile = "{file or f"{name}.safetensors"}"\n'
    path.write_text(f'name = "{name}"\nkind = "{kind}"\n{form}{model}{more}', encoding="utf-8")
    return path
