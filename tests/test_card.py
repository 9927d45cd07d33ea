"""The model card: what it takes from the checkpoint, what it says of the figures, what it keeps to itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.errors import RunError
from core.models.checkpoint import CheckpointError
from core.models.defect_lstm import SteelDefectLSTM
from core.models.factory import ModelFactory
from core.models.fingerprint import fingerprint
from core.models.signal_lstm import SignalExtractionLSTM
from core.training import card as card_module
from core.training.card import write_card
from core.training.config import DefectSettings, SignalSettings
from core.training.loop import Fitted
from core.wire.records import SENSORS

SIGNAL: dict[str, Any] = {
    "samples": 64,
    "steps": 10_000,
    "mse": 0.01,
    "mse_after_1s": 0.004,
    "correlation_after_1s": 0.997,
    "kalman_mse": 0.009,
    "kalman_mse_after_1s": 0.0001,
    "bandpass_mse": 0.05,
    "bandpass_mse_after_1s": 0.02,
    "per_frequency": [
        {
            "frequency_hz": 1.0,
            "samples": 32,
            "mse_after_1s": 0.007,
            "correlation_after_1s": 0.9925,
            "kalman_mse_after_1s": 0.00012,
            "bandpass_mse_after_1s": 0.03,
        },
        {
            "frequency_hz": 2.5,
            "samples": 32,
            "mse_after_1s": 0.001,
            "correlation_after_1s": 0.999,
            "kalman_mse_after_1s": 0.00008,
            "bandpass_mse_after_1s": 0.01,
        },
    ],
}
DEFECT: dict[str, Any] = {
    "casts": 1_200,
    "too_short": 40,
    "unlabelled": 3,
    "defective": 150,
    "auc": 0.91,
    "auc_limit": 0.95,
    "auc_baseline": 0.88,
    "baseline": "gradient boosting",
    "auc_pr": 0.8,
    "f1": 0.7,
    "brier": 0.033,
    "brier_limit": 0.03,
    "recall_at_1pct_false_alarms": 0.6,
    "threshold": 1 / 11,
    "detected": 0.875,
    "false_alarms": 0.06,
    "detected_while_running": 0.89,
    "false_alarms_while_running": 0.1,
    "lead_time_s_median": 120.0,
}
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(kind, figures, **more)`: the card of a small model, as text."""

    def call(kind: str, figures: dict[str, Any], **given: Any) -> str:
        content, options = given.pop("content", {}), {"command": f"caststream train {kind} a.h5", "judged_on": "b.h5"}
        checkpoint, card = tmp_path / "plant.pt", tmp_path / "plant.md"
        ModelFactory.save_checkpoint(make(kind), checkpoint, epoch=7, loss=0.0123, **(made(kind) | content))
        write_card(card, checkpoint, figures, kind=kind, **(options | given))  # type: ignore[arg-type]
        return card.read_text(encoding="utf-8")

    return call


def make(kind: str) -> SignalExtractionLSTM | SteelDefectLSTM:
    if kind == "signal":
        return SignalExtractionLSTM(hidden_size=4, num_layers=1)
    model = SteelDefectLSTM({"architecture": {"hidden_size": 4, "num_layers": 1}, "classifier": {"hidden_dims": [3]}})
    model.input_statistics = {"mean": [1.2, 1520.0, 150.0, 200.0, 25.0], "std": [0.1, 15.0, 6.0, 18.0, 3.0]}
    model.calibration = {"a": 1.0, "b": 0.0}
    return model


def made(kind: str) -> dict[str, Any]:
    """What a training leaves in its checkpoint."""
    if kind == "signal":
        settings = SignalSettings(seed=5, learning_rate=3e-4)
        return {"training": msgspec.to_builtins(settings), "data": {"samples": 576, "steps": 9_750, "held_out": 64}}
    return {
        "training": msgspec.to_builtins(DefectSettings(seed=6, hidden_dims=(3,))),
        "data": {"casts": 4_000, "defective": 600, "pos_weight": 5.7},
        "decision": {"threshold": 1 / 11, "cost_missed": 10.0, "cost_false_alarm": 1.0},
    }


def cells(card: str, first: str) -> list[str]:
    """The other cells of the table row that starts with ``first``."""
    [line] = [line for line in card.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


def flat(card: str) -> str:
    return " ".join(card.split())


def test_what_it_is_and_how_it_was_made_come_from_the_checkpoint(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_module, "machine", lambda device: f"AMD EPYC, 2 cores, {device}")
    fitted = Fitted(8, 0.0123, 7, 3_700.0, "max_minutes", [])
    card = write("signal", SIGNAL, fitted=fitted)

    assert cells(card, "class") == ["`SignalExtractionLSTM`"]
    assert cells(card, "parameters") == [str(sum(weights.numel() for weights in make("signal").parameters()))]
    assert cells(card, "trained on") == ["576 samples of 9,750 steps; 64 more held out"]
    assert cells(card, "seed") == ["5"]
    assert cells(card, "epochs") == [
        "8 done, its time was up; the model is that of epoch 7 (loss on held-out data 0.0123)"
    ]
    assert cells(card, "duration") == ["62 min"]
    assert cells(card, "machine") == ["AMD EPYC, 2 cores, cpu"]
    assert cells(card, "`learning_rate`") == ["0.0003"]
    assert cells(card, "`max_minutes`") == ["none"]


def test_the_card_names_its_model_and_its_command(write: Write, tmp_path: Path) -> None:
    card = write("defect", DEFECT, command="caststream train defect a.h5 --seed 6")
    name = fingerprint(ModelFactory.create_from_checkpoint(tmp_path / "plant.pt"))

    assert card.startswith(f"# Defect model {name}\n")
    assert "```sh\ncaststream train defect a.h5 --seed 6\n```" in card
    assert "readout `last`" in cells(card, "shape")[0]
    assert cells(card, "trained on") == ["4,000 casts, 600 of them defective"]
    assert cells(card, "`hidden_dims`") == ["3"]


def test_figures_stand_beside_limits_and_baselines(write: Write) -> None:
    signal, defect = write("signal", SIGNAL), write("defect", DEFECT)

    assert cells(signal, "whole samples") == ["0.01", "0.009", "0.05", ""]
    assert cells(signal, "2.5 Hz, after the first second") == ["0.001", "8e-05", "0.01", "0.9990"]
    assert cells(defect, "AUC-ROC") == ["0.9100", "0.9500", "0.8800"]
    assert cells(defect, "final scores") == ["model", "best possible", "baseline (gradient boosting)"]
    assert cells(defect, "Brier score") == ["0.0330", "0.0300", ""]
    assert "0.091: the cheapest one if a missed defect costs 10 and a false alarm 1" in flat(defect)
    assert "87.5 % of the defective casts and 6 % of the good ones have an alarm at their end." in flat(defect)
    assert "every score of a running cast, 89 % of the defective and 10 % of the good ones have one." in flat(defect)
    assert "the first alarm comes 120 s before the cast's end (median)" in flat(defect)


def test_targets_are_reached_or_missed_by_so_much(write: Write) -> None:
    signal, defect = write("signal", SIGNAL), write("defect", DEFECT)

    error = "mean squared error after the first second at most 0.005"
    assert cells(signal, f"1 Hz: {error}") == ["0.007", "missed by 0.002"]
    assert cells(signal, f"2.5 Hz: {error}") == ["0.001", "reached"]
    assert cells(signal, "1 Hz: correlation at least 0.995") == ["0.9925", "missed by 0.0025"]
    assert cells(defect, "AUC-ROC at least 0.93") == ["0.9100", "missed by 0.02"]
    assert cells(defect, "AUC-ROC within 0.01 of the best possible") == ["0.0400 below", "missed by 0.03"]
    assert cells(defect, "Brier score within 5 % of the best possible") == [
        "10 % above",
        "missed by 5.0 percentage points",
    ]


def test_a_model_better_than_the_limit_on_few_casts_reaches_it(write: Write) -> None:
    card = write("defect", DEFECT | {"auc": 0.96, "brier": 0.027})

    assert cells(card, "AUC-ROC within 0.01 of the best possible") == ["0.0100 above", "reached"]
    assert cells(card, "Brier score within 5 % of the best possible") == ["10 % below", "reached"]


def test_what_the_data_do_not_tell_is_left_open(write: Write) -> None:
    of_one = SIGNAL["per_frequency"][0] | {"mse_after_1s": None, "correlation_after_1s": None}
    signal = write("signal", SIGNAL | {"mse_after_1s": None, "correlation_after_1s": None, "per_frequency": [of_one]})
    unknown = dict.fromkeys(("auc_limit", "brier_limit", "auc_baseline", "baseline", "lead_time_s_median"))
    defect = write("defect", DEFECT | unknown)

    assert cells(signal, "1 Hz: correlation at least 0.995") == ["-", "not known"]
    assert cells(defect, "AUC-ROC") == ["0.9100", "-", "-"]
    assert cells(defect, "Brier score within 5 % of the best possible") == ["-", "not known"]
    assert "What is the best possible is not known of these casts." in flat(defect)
    assert "None" not in signal + defect
    assert "simulated ones" not in defect


def test_another_threshold_than_the_models_has_no_costs(write: Write) -> None:
    card = flat(write("defect", DEFECT | {"threshold": 0.3}))

    assert "reaches the threshold 0.300. Then" in card


def test_weaknesses_fit_the_model_at_hand(write: Write) -> None:
    signal, defect = flat(write("signal", SIGNAL)), write("defect", DEFECT)

    assert "the mean squared error is 0.01 over whole samples and 0.004 after" in signal
    assert "The frequencies are fixed by training." in signal
    assert "It knows one sampling rate" in signal
    assert "calibrated for data like those it was trained on, 15 % of them defective" in flat(defect)
    assert "simulated ones" in flat(defect)
    for name in SENSORS:
        assert len(cells(defect, f"`{name}`")) == 4
    assert cells(defect, "`superheat`") == ["°C", "25", "3", "-"]


def test_a_model_that_learnt_from_known_chances_says_so(write: Write) -> None:
    told = "It learnt from the chance of a defect"

    assert told not in flat(write("defect", DEFECT))
    assert told in flat(write("defect", DEFECT, content={"training": {"target": "probability"}}))


def test_a_checkpoint_that_tells_nothing_of_its_training_has_a_card(write: Write) -> None:
    nothing = {"training": None, "data": None, "decision": None}
    signal, defect = (
        write(kind, figures, content=nothing) for kind, figures in (("signal", SIGNAL), ("defect", DEFECT))
    )

    for card in (signal, defect):
        assert cells(card, "trained on") == cells(card, "duration") == ["-"]
        assert "| setting |" not in card
        assert "None" not in card


@pytest.mark.parametrize(
    ("seconds", "shown"), [(45.4, "45 s"), (600.0, "10 min"), (7_199.0, "2 h 0 min"), (9_000.0, "2 h 30 min")]
)
def test_a_duration_is_readable(write: Write, seconds: float, shown: str) -> None:
    fitted = Fitted(8, 0.0123, 7, seconds, "max_minutes", [])

    assert cells(write("signal", SIGNAL, fitted=fitted), "duration") == [shown]


def test_a_training_that_ended_in_its_first_epoch_is_told(write: Write) -> None:
    card = write("signal", SIGNAL, fitted=Fitted(0, 0.5, 1, 60.0, "max_minutes", []))

    assert cells(card, "epochs")[0].startswith("a part of the first one; the model is that of epoch 7")


def test_the_card_says_nothing_of_places(write: Write, tmp_path: Path) -> None:
    command = f"caststream train signal '{tmp_path}/my data.h5' --out={tmp_path}/plant.pt --config ../a.toml"
    card = write("signal", SIGNAL, command=command)

    assert "caststream train signal 'my data.h5' --out=plant.pt --config ../a.toml" in card
    assert str(tmp_path) not in card
    assert re.fullmatch(r".+, \d+ cores?", cells(card, "machine")[0])


def test_the_card_is_sound_markdown(write: Write) -> None:
    for kind, figures in (("signal", SIGNAL), ("defect", DEFECT)):
        card = write(kind, figures)
        for table in re.findall(r"(?:^\|.*\n)+", card, flags=re.MULTILINE):
            assert len({line.count("|") for line in table.splitlines()}) == 1
        assert all(len(line) <= 118 for line in card.splitlines() if not line.startswith("|"))
        assert re.findall(r"^## (.*)$", card, flags=re.MULTILINE) == [
            "Training",
            "Quality",
            "Intended use",
            "Known weaknesses",
        ]


def test_a_card_that_cannot_be_written_and_a_model_that_is_none_are_told(write: Write, tmp_path: Path) -> None:
    (tmp_path / "plant.md").mkdir()
    (tmp_path / "other.pt").write_text("no model")

    with pytest.raises(RunError, match=r"plant\.md cannot be written: Is a directory"):
        write("signal", SIGNAL)
    with pytest.raises(CheckpointError, match=r"other\.pt"):
        write_card(tmp_path / "o.md", tmp_path / "other.pt", SIGNAL, kind="signal", command="", judged_on="")
