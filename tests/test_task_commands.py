"""`caststream task`: what it says, what it writes, and lines that export a model rightly."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.tasks.reading import read_declaration, shipped
from core.wire.schema import asyncapi
from stream_app.cli.export_help import EXPORTS
from tests.commands import Run
from tests.fuzz.tasks import PUMP, WINDOWS


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_task_is_described_with_its_names_on_the_broker(run: Run) -> None:
    done = run("task", "describe", "casting", "--topic-prefix", "plant.", "--app-id", "line1")

    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0] == "casting: a window of samples at a time, 5 numbers into the model"
    assert "  source  plant.casting-samples" in lines
    assert "  output  plant.casting-scores" in lines
    assert "  table   line1-casting-windows-changelog" in lines
    assert "  window  up to 500 samples, first output at 100, then every 30" in lines
    assert "    mold_temperature    number  °C     within ±1,000,000" in lines
    assert "    attention_peak  argmax_step of attention" in lines


def test_without_a_name_the_tasks_that_ship_are_described(run: Run) -> None:
    done = run("task", "describe")

    assert done.out.count(" numbers into the model") == 2
    assert "    condition_vector  4 numbers  within ±1,000,000  in a CSV c1, c2, c3, c4" in done.out


def test_a_task_of_ones_own_is_described_without_its_model(run: Run) -> None:
    Path("pump.toml").write_text(PUMP)
    Path("motion.toml").write_text(WINDOWS)

    pump, motion = run("task", "describe", "pump.toml"), run("task", "describe", "motion.toml")

    assert "  rules   gap_policy hold, idle_timeout 60.0" in pump.out
    assert (
        "-200 to 200        normal -25 to 25  also vib; in a CSV vibration_1 to vibration_12; with the last 2"
        in pump.out
    )
    assert "held where it is missing" in pump.out
    assert "from 3.5, until below 3" in pump.out
    assert "softmax of logits" in motion.out
    assert (pump.err, motion.err) == ("", "")


def test_the_document_for_producers_is_json(run: Run) -> None:
    done = run("task", "describe", "signal", "--asyncapi", "--topic-prefix", "a.")

    assert json.loads(done.out) == asyncapi([shipped("signal")], "a.".__add__)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["describe", "castng"], "there is no task 'castng'; did you mean 'casting'?"),
        (["describe", "no.toml"], "no.toml: there is no such task file"),
        (["new", "pump", "--from", "no.csv"], "no.csv: there is no such file"),
        (["new", "a b", "--from", "history.csv"], "'a b' is no name of a task: it must be a letter or digit"),
        (["new", "../a", "--from", "history.csv"], "'../a' is no name of a task"),
        (["new", "signal", "--from", "history.csv"], "the task 'signal' ships with caststream: choose another name"),
        (["new", "pump"], "Missing option '--from'"),
        (["export-help", "jax"], "Invalid value for "),
    ],
)
def test_a_failure_is_one_line(run: Run, arguments: list[str], words: str) -> None:
    Path("history.csv").write_text("a,b\n1,2\n")

    done = run("task", *arguments)

    assert (done.status, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not list(Path().glob("*.toml"))


def test_a_task_file_is_written_once(run: Run) -> None:
    Path("history.csv").write_text("a,b,vib_1,vib_2\n1,2,3,4\n")

    first, second = (run("task", "new", "pump", "--from", "history.csv") for _ in range(2))

    assert (first.status, second.status) == (0, 2)
    assert first.err == "wrote pump.toml: read it through, then `caststream train pump.toml history.csv`\n"
    assert "pump.toml is there already" in second.err
    assert read_declaration("pump.toml", need_files=False).width == 4


@pytest.mark.parametrize("framework", EXPORTS)
def test_the_lines_that_export_are_printed_as_they_are(run: Run, framework: str) -> None:
    done = run("task", "export-help", framework)

    assert done.out == EXPORTS[framework]
    assert ast.parse(done.out)
    assert "states = { h0 = " in done.out


@pytest.mark.slow
def test_a_model_exported_by_these_lines_carries_its_state_in_any_batch(tmp_path: Path) -> None:
    torch, runtime = pytest.importorskip("torch"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    lines: dict[str, Any] = {}
    exec(compile(EXPORTS["torch"], "export-help", "exec"), lines)
    torch.manual_seed(1)
    rnn, head = torch.nn.LSTM(3, 5, num_layers=2, batch_first=True), torch.nn.Linear(5, 2)
    lines["export"](rnn, head, str(tmp_path / "pump.onnx"))
    session = runtime.InferenceSession(tmp_path / "pump.onnx")
    random = np.random.default_rng(1)

    assert [each.name for each in session.get_inputs()] == ["x", "h0", "c0"]
    assert [path.name for path in tmp_path.iterdir()] == ["pump.onnx"]
    for batch in (1, 7):
        x = random.normal(size=(batch, 20, 3)).astype(np.float32)
        h, c = (random.normal(size=(2, batch, 5)).astype(np.float32) for _ in range(2))
        with torch.no_grad():
            expected = head(rnn(torch.tensor(x), (torch.tensor(h), torch.tensor(c)))[0]).numpy()
        for step in range(20):
            y, h, c = session.run(["y", "hn", "cn"], {"x": x[:, step : step + 1], "h0": h, "c0": c})
            assert np.abs(y - expected[:, step]).max() < 1e-5
