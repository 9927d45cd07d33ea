"""A folder in which tests write task files, and the text of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import StartupError
from core.tasks.declaration import Declaration
from core.tasks.reading import read_declaration

PUMP = """
name = "pump"
kind = "step"
[fields]
vibration = { length = 3, unit = "mm/s", range = [-200, 200], normal = [-25, 25], alias = ["vib"] }
speed = {}
[model]
file = "pump.onnx"
"""
WINDOWS = PUMP.replace('"step"', '"window"')


class Folder:
    """A folder with a model, in which tests write task files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "pump.onnx").touch()

    def read(self, text: str | bytes, **options: bool) -> Declaration:
        file = self.path / "pump.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_declaration(file, **options)

    def refused(self, text: str | bytes) -> str:
        """The message about a task file, without the file's name."""
        with pytest.raises(StartupError) as raised:
            self.read(text)
        said = str(raised.value)
        assert said.startswith(f"{self.path / 'pump.toml'}: ")
        assert "\n" not in said
        assert len(said) < 1_000
        return said.removeprefix(f"{self.path / 'pump.toml'}: ")


def changed(old: str, new: str, text: str = PUMP) -> str:
    assert old in text
    return text.replace(old, new, 1)


SPEED = "speed = {}"
OUT = PUMP + "[outputs]\n"
FORECAST = 'forecast = { tensor = "y", apply = "forecast", changes = true, '
FORECASTS = FORECAST + "least = [] }\n"
OF_FORECAST = """
expected = { of = "forecast", apply = "expected" }
surprise = { of = "forecast", apply = "surprise" }
score = { of = "forecast", apply = "likelihood_ratio" }
leading = { of = "score", apply = "leading" }
alarm = { of = "score", apply = "above", threshold = 2 }
"""
MODEL = 'file = "pump.onnx"'
