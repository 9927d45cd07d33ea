"""train for a task of one's own: from a CSV to a task file that runs, as a person types it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from core.tasks.reading import read_declaration
from tests.commands import Run
from tests.histories import plant, write_csv

pytestmark = pytest.mark.slow

QUICK = ["--epochs", "2", "--config", "quick.toml"]


@pytest.fixture
def begun(run: Run) -> Run:
    """A folder with history.csv, pump.toml as drafted from it, and settings of a small model."""
    write_csv(Path("history.csv"), plant(1500))
    Path("quick.toml").write_text("hidden_size = 8\nnum_layers = 1\nsegment = 16\n")
    assert run("task", "new", "pump", "--from", "history.csv").status == 0
    return run


def test_from_a_csv_to_a_task_that_runs(begun: Run) -> None:
    done = begun("train", "pump.toml", "history.csv", "--false-alarms", "2/day", *QUICK)

    assert (done.status, done.out) == (0, "")
    assert re.search(
        r"^trained 2 epochs in \d+ s: pump.safetensors holds the model of epoch \d$", done.err, re.MULTILINE
    )
    assert re.search(r"^threshold \S+ .* a wish of 14 per stream and week", done.err, re.M)
    assert done.err.endswith("  caststream tail pump.toml\n")
    assert "2/day" in Path("pump.md").read_text()
    assert begun("task", "check", "pump.toml").out.count("example: 200 steps agree") == 1
    assert begun("import", "history.csv", "history.h5", "--task", "pump.toml").status == 0
    assert begun("predict", "history.h5", "--output", "out.jsonl", "--task", "pump.toml").status == 0
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert list(lines[1])[-6:-1] == ["expected", "surprise", "score", "leading", "alarm"]
    assert (lines[0]["score"], lines[0]["alarm"]) == (None, False)


def test_a_training_that_goes_on_writes_the_weights_of_one_without_a_break(begun: Run) -> None:
    settings = ["--config", "quick.toml", "--epochs"]
    begun("train", "pump.toml", "history.csv", "--out", "cut.safetensors", *settings, "1")
    resumed = begun("train", "pump.toml", "history.csv", "--out", "cut.safetensors", *settings, "3", "--resume")
    whole = begun("train", "pump.toml", "history.csv", "--out", "whole.safetensors", *settings, "3")

    assert (resumed.status, whole.status) == (0, 0)
    assert Path("cut.example.npz").read_bytes() == Path("whole.example.npz").read_bytes()
    assert read_declaration("pump.toml").model.file.name == "whole.safetensors"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.toml", "history.csv"), "there is no such task file"),
        (("pump.toml", "nowhere.csv"), "no such file"),
        (("pump.toml", "history.csv", "--false-alarms", "often"), "false alarms are 'often'"),
        (("pump.toml", "history.csv", "--resume"), "nothing to resume"),
        (("pump.toml", "history.csv", "--column", "speed=Q"), "speed"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(begun: Run, arguments: tuple[str, ...], said: str) -> None:
    before = Path("pump.toml").read_text()

    done = begun("train", *arguments)

    assert (done.status, said in done.err) == (2, True), done.err
    assert Path("pump.toml").read_text() == before
    assert not Path("pump.safetensors").exists()
