"""The quick training's promise: what it states is what evaluation prints, and what falls short is told."""

import tomllib
from pathlib import Path

import pytest
import train_quick

from core.training.config import read_settings

ROOT = Path(__file__).resolve().parent.parent

GOOD = {"signal": {"mse_after_1s": 0.0003, "correlation_after_1s": 0.9997}, "defect": {"auc": 0.93, "brier": 0.05}}


@pytest.mark.parametrize("kind", ["signal", "defect"])
def test_what_is_reached_falls_short_of_nothing(kind):
    assert train_quick.shortcomings(kind, GOOD[kind]) == []
    assert GOOD[kind].keys() == train_quick.STATED[kind].keys()


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [("signal", "mse_after_1s", 0.01), ("signal", "correlation_after_1s", None), ("defect", "auc", 0.7)],
)
def test_each_figure_that_falls_short_is_named_with_its_bound(kind, name, value):
    [line] = train_quick.shortcomings(kind, GOOD[kind] | {name: value})

    assert line.startswith(f"{kind}: {name} is {value}, stated is at ")


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_every_example_configuration_is_accepted(path):
    settings = read_settings("signal" if "signal" in path.name else "defect", path)

    for key, value in tomllib.loads(path.read_text()).items():
        assert getattr(settings, key) == value
