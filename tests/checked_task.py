"""A task of one model in a folder, whose check passes or refuses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import StartupError
from core.tasks.reading import read_declaration

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from core.engines.onnx.task import open_states
from core.tasks.check.examine import examine
from core.tasks.check.example import run_row
from core.tasks.check.findings import Checked
from core.tasks.sizes import STATE_BYTES

FIELDS = "vibration = { length = 3 }"
THREE = "a = {}\nb = {}\nc = {}"


class Task:
    """A task of one model in a folder."""

    def __init__(self, folder: Path, model: bytes, more: str = "", fields: str = FIELDS, top: str = "") -> None:
        self.path, self.file = folder / "pump.toml", folder / "pump.onnx"
        self.model = model
        self.file.write_bytes(model)
        self.path.write_text(
            f'name = "pump"\nkind = "step"\n{top}\n[fields]\n{fields}\n[model]\nfile = "pump.onnx"\n{more}\n'
            "[outputs]\ny = {}\n"
        )

    def check(self, data: Path | None = None, state_bytes: int = STATE_BYTES) -> Checked:
        return examine(read_declaration(self.path), self.model, data, state_bytes)

    def refusal(self, **given: Any) -> str:
        with pytest.raises(StartupError) as error:
            self.check(**given)
        assert "\n" not in str(error.value)
        return str(error.value)

    def write_example(self, **changed: Any) -> None:
        """The example of a framework that computes what the graph does, but for what is ``changed``."""
        declaration = read_declaration(self.path, need_files=False)
        samples = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
        outputs = run_row(open_states(declaration, self.model, "any"), samples, start=0)
        np.savez(self.path.with_name("pump.npz"), **{"x": samples, "y": outputs} | changed)


EXAMPLE = 'example = "pump.npz"'
