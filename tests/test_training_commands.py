"""train, evaluate and import-csv: the real thing on little data, and what is said of it."""

from __future__ import annotations

import json
import re
import signal
import sys
import tomllib
from pathlib import Path
from typing import Any

import h5py
import msgspec
import pytest
from rich.console import Console

from core.data.castings import generate_castings
from core.data.signals import generate_signals
from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.weights_file import read_weights
from core.offline.predict import predict
from core.training.config import DefectSettings, SignalSettings
from core.training.loop import Fitted, TrainingProgress
from core.training.snapshot import last_path
from core.wire.records import SENSORS
from stream_app.cli import training_display
from tests.commands import ROOT, Run
from tests.files import write_castings

pytestmark = pytest.mark.slow

SIGNAL = ["--epochs", "2", "--batch-size", "4"]
DEFECT = ["--epochs", "2", "--batch-size", "16"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with signals.h5 (1.2 s each) and casts.h5, and settings of small models."""
    folder = tmp_path_factory.mktemp("data")
    generate_signals(folder / "signals.h5", 8, 1, 1_200)
    generate_castings(folder / "casts.h5", 150, 1)
    (folder / "signal.toml").write_text(
        'hidden_size = 4\ninitialisation = "chrono"\nlearning_rate = 1e-3\nsegment = 50'
    )
    (folder / "defect.yaml").write_text("hidden_size: 4\nnum_layers: 1\nhidden_dims: []\nlearning_rate: 1e-3\n")
    return folder


def test_a_signal_model_is_trained_judged_and_evaluated(run: Run, data: Path) -> None:
    done = run("train", "signal", data / "signals.h5", "--out", "plant.pt", "--config", data / "signal.toml", *SIGNAL)

    assert (done.status, done.out) == (0, "")
    assert re.search(r"^epoch 2 of 2: loss \S+, best on held-out data \S+$", done.err, flags=re.MULTILINE)
    assert re.search(r"^trained 2 epochs in \d+ s: plant.pt holds the model of epoch \d$", done.err, re.MULTILINE)
    assert re.search(r"^on held-out samples after the first second MSE \S+ \(Kalman filter: ", done.err, re.MULTILINE)
    assert done.err.endswith("run it: caststream worker --signal-checkpoint plant.safetensors\n")
    assert load_model(Path("plant.pt"), "signal").hidden_size == 4
    assert read_weights("plant.safetensors", "signal").fingerprint == fingerprint(load_model("plant.pt", "signal"))
    assert "kalman" in Path("plant.md").read_text().lower()
    assert any(Path("plant-logs").iterdir())

    judged = run("evaluate", "signal", data / "signals.h5", "--checkpoint", "plant.pt", "--json", "--plots", "plots")

    figures = json.loads(judged.out)
    assert judged.status == 0
    assert {"mse", "mse_after_1s", "correlation_after_1s", "kalman_mse_after_1s", "per_frequency"} <= figures.keys()
    assert len(list(Path("plots").iterdir())) == int(re.match(r"(\d+) plots are in plots$", judged.err)[1])  # type: ignore[index]


def test_a_defect_model_is_trained_judged_evaluated_and_predicts(run: Run, data: Path) -> None:
    done = run("train", "defect", data / "casts.h5", "--out", "plant.pt", "--config", data / "defect.yaml", *DEFECT)

    assert (done.status, done.out) == (0, "")
    assert re.search(r"^on held-out casts: AUC 0\.\d{4} \(best possible: \S+, baseline: \S+\)", done.err, re.MULTILINE)
    assert "worker --defect-checkpoint plant.safetensors" in done.err
    assert load_model(Path("plant.pt"), "defect").calibration is not None
    assert read_weights("plant.safetensors", "defect").fingerprint == fingerprint(load_model("plant.pt", "defect"))
    assert "threshold" in Path("plant.md").read_text().lower()

    judged = run(
        *("evaluate", "defect", data / "casts.h5", "--checkpoint", "plant.pt", "--json"),
        *("--baseline", data / "casts.h5", "--threshold", "0.25"),
    )

    figures = json.loads(judged.out)
    assert judged.status == 0
    assert figures["threshold"] == 0.25
    assert {"auc", "auc_limit", "auc_baseline", "brier", "brier_limit", "lead_time_s_median"} <= figures.keys()
    assert list(Path("evaluation-defect").iterdir())
    assert predict(data / "casts.h5", Path("scores.h5"), defect_checkpoint=Path("plant.pt")).rows == 150


def test_figures_are_shown_to_people_as_a_table(run: Run, data: Path) -> None:
    done = run("evaluate", "signal", data / "signals.h5", "--max-samples", "2")

    assert done.status == 0
    assert re.search(r"Kalman", done.out)
    assert re.search(r"^ *after 1 s +\S+ +\S+ +\S+ +\S+", done.out, flags=re.MULTILINE)


def test_casts_of_a_file_of_their_own_can_be_held_out(run: Run, data: Path) -> None:
    generate_castings("other.h5", 100, 2)

    done = run(
        *("train", "defect", data / "casts.h5", "--config", data / "defect.yaml", "--validation", "other.h5"),
        *("--epochs", "1"),
    )

    assert done.status == 0
    assert Path("defect.pt").exists()


def test_a_plants_csv_becomes_a_model(run: Run, data: Path) -> None:
    with h5py.File(data / "casts.h5") as file, Path("casts.csv").open("w") as out:
        print("sequence", *SENSORS, "label", "shift", sep=";", file=out)
        for row in range(60):
            start, length = file["cast_start"][row], file["cast_length"][row]
            label = int(row % 3 == 0)  # both in each part
            for values in zip(*(file[name][start : start + length].tolist() for name in SENSORS), strict=True):
                print(f"heat-{row}", *values, label, "B", sep=";", file=out)

    imported = run("import-csv", "casts.csv", "casts.h5")
    trained = run("train", "defect", "casts.h5", "--config", data / "defect.yaml", "--epochs", "1")
    judged = run("evaluate", "defect", "casts.h5", "--checkpoint", "defect.pt", "--json", "--baseline", "casts.h5")

    assert imported.status == 0
    assert re.match(r"wrote 60 casts of [\d,]+ samples to casts.h5: 20 defective, 40 good, 0 without", imported.err)
    assert "columns without a meaning here: shift" in imported.err
    assert trained.status == 0
    figures = json.loads(judged.out)
    assert (figures["auc_limit"], figures["brier_limit"]) == (None, None)
    assert figures["auc"] is not None


def test_a_training_goes_on_where_its_time_was_up(run: Run, data: Path) -> None:
    words = ["train", "defect", data / "casts.h5", "--config", data / "defect.yaml", "--batch-size", "16"]
    Path("long.yaml").write_text((data / "defect.yaml").read_text() + "schedule: constant\n")
    words[4] = Path("long.yaml")

    first = run(*words, "--epochs", "1")
    resumed = run(*words, "--epochs", "2", "--resume")
    whole = run(*words, "--epochs", "2", "--out", "whole.pt")

    assert (first.status, resumed.status, whole.status) == (0, 0, 0)
    assert "trained 2 epochs" in resumed.err
    left, right = (load_model(path, "defect").state_dict() for path in (Path("defect.pt"), Path("whole.pt")))
    assert all(bool((left[name] == right[name]).all()) for name in left)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_the_best_model_and_says_how_to_go_on(
    run: Run, data: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class Impatient:
        def __init__(self, _: Console) -> None: ...

        def __call__(self, now: TrainingProgress) -> None:
            if now.epoch == 2:
                signal.raise_signal(number)

    monkeypatch.setattr(training_display, "_Lines", Impatient)

    done = run("train", "defect", data / "casts.h5", "--config", data / "defect.yaml", "--epochs", "3")

    assert done.status == 130
    assert re.search(r"\(interrupted\): defect.pt holds the model of epoch 1; --resume goes on\n$", done.err)
    assert last_path(Path("defect.pt")).exists()
    assert not Path("defect.md").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "signal", "missing.h5"], "missing.h5: no such file"),
        (["train", "signal", "casts.h5"], "dataset 'mixed_signals': is missing"),
        (["train", "defect", "signals.h5"], "dataset 'casting_speed': is missing"),
        (["train", "signal", "signals.h5", "--epochs", "0"], "epochs is 0: must be a whole number of 1 or more"),
        (["train", "signal", "signals.h5", "--device", "tpu"], "device is 'tpu': must be cpu, cuda or cuda:N"),
        (["train", "signal", "signals.h5", "--config", "a.ini"], "a.ini: a settings file must end in .toml"),
        (["train", "defect", "casts.h5", "--resume"], "nothing to resume"),
        (["train", "defect", "unlabelled.h5"], "dataset 'label'"),
        (["evaluate", "signal", "missing.h5"], "missing.h5: no such file"),
        (["evaluate", "defect", "casts.h5", "--checkpoint", "none.pt"], "none.pt"),
        (["evaluate", "defect", "casts.h5", "--threshold", "2"], "Invalid value for '--threshold'"),
        (["evaluate", "defect", "casts.h5", "--hop", "0"], "setting hop: '0' is not accepted"),
        (["import-csv", "missing.csv", "a.h5"], "missing.csv: no such file"),
        (["import-csv", "casts.h5", "a.h5"], "is no text in UTF-8"),
    ],
)
def test_what_must_be_put_right_first_is_one_line(
    run: Run, data: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    for name in ("signals.h5", "casts.h5"):
        Path(name).symlink_to(data / name)
    write_castings(Path("unlabelled.h5"), [120] * 20)

    done = run(*arguments)

    assert (done.status, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1


def test_a_missing_package_is_told_before_the_training(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)

    done = run("train", "defect", data / "casts.h5")

    assert done.status == 2
    assert "pip install 'caststream[train]'" in done.err
    assert not Path("defect.pt").exists()


def test_on_a_terminal_training_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Console(force_terminal=True, width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    monkeypatch.setattr(training_display, "Console", lambda stderr: shown)

    with training_display.training_display() as told:
        told(TrainingProgress(2, 3, 5, 10, 0.25, 0.125))

    assert "epoch 2 of 3: loss 0.25, best on held-out data 0.125" in shown.export_text()


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (Fitted(3, 0.5, 2, 90.0, "epochs", []), "trained 3 epochs in 90 s: a.pt holds the model of epoch 2"),
        (Fitted(3, 0.5, 2, 150.0, "patience", []), "in 2.5 min (nothing better came): a.pt holds"),
        (Fitted(0, 0.5, 1, 60.0, "max_minutes", []), "(its time was up): a.pt holds the model of epoch 1"),
        (Fitted(0, None, 0, 0.0, "interrupted", []), "(interrupted): nothing was saved"),
    ],
)
def test_the_end_of_a_training_is_told(done: Fitted, words: str) -> None:
    assert words in training_display.ending(done, Path("a.pt"))


def test_the_document_has_every_setting_with_its_default() -> None:
    table = re.search(r"^\| key \|.*\n(?:^\|.*\n)+", (ROOT / "docs" / "training.md").read_text(), flags=re.MULTILINE)
    assert table is not None
    rows = [[cell.strip("` ") for cell in line.strip("|").split(" | ")] for line in table[0].splitlines()[2:]]

    def shown(column: int) -> dict[str, Any]:
        cells = {row[0]: row[column] for row in rows if row[column] != "-"}
        return {key: None if cell == "none" else tomllib.loads(f"x = {cell}")["x"] for key, cell in cells.items()}

    for column, settings in ((1, SignalSettings), (2, DefectSettings)):
        defaults = {field.name: field.default for field in msgspec.structs.fields(settings)}
        assert shown(column) == json.loads(json.dumps(defaults))


@pytest.mark.parametrize(
    ("kind", "figures", "words"),
    [
        ("signal", {"mse_after_1s": 0.02, "bandpass_mse_after_1s": 0.018}, "a band-pass filter does as well or better"),
        ("signal", {"mse_after_1s": 0.001, "bandpass_mse_after_1s": 0.018}, None),
        ("signal", {"mse_after_1s": None, "bandpass_mse_after_1s": None}, None),
        (
            "defect",
            {"auc": 0.8, "auc_baseline": 0.8, "baseline": "logistic regression"},
            "(logistic regression) does as",
        ),
        ("defect", {"auc": 0.9, "auc_baseline": 0.8, "baseline": "logistic regression"}, None),
        ("defect", {"auc": None, "auc_baseline": None, "baseline": None}, None),
    ],
)
def test_a_model_that_a_simple_method_equals_is_told(kind: str, figures: dict[str, Any], words: str | None) -> None:
    said = training_display.doubt(kind, figures)

    assert said is None if words is None else said is not None and words in said
