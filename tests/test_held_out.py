"""A new model is judged by the rows that its training held out, and by no others."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest

from core.data.castings import generate_castings
from core.data.layout import open_castings
from core.data.signals import generate_signals
from core.engines.results import WindowRules
from core.models.factory import ModelFactory
from core.models.signal_lstm import SignalExtractionLSTM
from core.training import held_out
from core.training.config import DefectSettings
from core.training.defect import DefectTask
from core.training.held_out import judge_defect, judge_signal


@pytest.mark.slow
def test_signals_that_do_not_name_all_frequencies_are_judged_by_those_of_the_whole_file(tmp_path: Path) -> None:
    file, checkpoint = tmp_path / "signals.h5", tmp_path / "signal.pt"
    generate_signals(file, 6, 1, 30)
    with h5py.File(file, "r+") as opened:
        selected = opened["condition_vectors"][:].argmax(axis=1)
        selected[:4] = range(4)
        del opened["config"], opened["metadata"]
        said = [{"target_frequency_idx": int(k), "target_frequency": 2.0 * k + 2.0} for k in selected]
        opened["metadata"] = json.dumps(said)
    ModelFactory.save_checkpoint(SignalExtractionLSTM(hidden_size=2), checkpoint, data={"samples": 4})

    found = {one["frequency_hz"] for one in judge_signal(file, checkpoint).figures["per_frequency"]}
    assert found == {2.0 * k + 2.0 for k in selected[4:]}


@pytest.fixture
def defect(tmp_path: Path) -> tuple[Path, Path, DefectTask]:
    """A file of casts, a checkpoint as training leaves it, and the task."""
    file, checkpoint = tmp_path / "casts.h5", tmp_path / "defect.pt"
    generate_castings(file, 150, 1)
    with open_castings(file) as opened:
        task = DefectTask(opened, DefectSettings(hidden_size=2, num_layers=1))
        ModelFactory.save_checkpoint(task.model, checkpoint, **task.extras())
    return file, checkpoint, task


def test_a_signal_model_is_judged_by_the_last_samples(tmp_path: Path) -> None:
    file, checkpoint = tmp_path / "signals.h5", tmp_path / "signal.pt"
    generate_signals(file, 6, 1, 30)
    ModelFactory.save_checkpoint(SignalExtractionLSTM(hidden_size=2), checkpoint, data={"samples": 4})

    report = judge_signal(file, checkpoint)

    with h5py.File(file) as opened:
        shown = sorted(report.examples, key=lambda one: one["frequency_hz"])
        expected = opened["mixed_signals"][4:].tolist()
    assert report.figures["samples"] == 2
    assert all(one["mixed"].tolist() in expected for one in shown)


def test_a_defect_model_is_judged_by_the_casts_after_those_it_was_trained_on(
    defect: tuple[Path, Path, DefectTask],
) -> None:
    file, checkpoint, task = defect

    report = judge_defect(file, checkpoint)

    assert report.labels.tolist() == [*task.validation.labels, *task.calibration.labels]
    assert len(report.labels) < len(task.training) / 3


def test_casts_of_another_file_are_judged_as_a_whole(defect: tuple[Path, Path, DefectTask], tmp_path: Path) -> None:
    file, checkpoint, _ = defect
    generate_castings(tmp_path / "other.h5", 40, 2)

    report = judge_defect(file, checkpoint, tmp_path / "other.h5")

    with h5py.File(tmp_path / "other.h5") as opened:
        scored = opened["cast_length"][:] >= WindowRules().window_min
        assert report.labels.tolist() == opened["label"][:][scored].tolist()


def test_the_baselines_learn_from_what_the_model_was_trained_on(
    defect: tuple[Path, Path, DefectTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, checkpoint, task = defect
    seen = []
    monkeypatch.setattr(held_out, "write_castings_part", lambda path, out, rows: seen.append(rows))
    monkeypatch.setattr(held_out, "evaluate_defect", lambda *_, **given: given["baseline"].name)

    assert judge_defect(file, checkpoint) == "trained-on.h5"

    assert seen[0] == range(int(task.validation.rows[0]))
    assert seen[1] == range(int(task.validation.rows[0]), 150)
