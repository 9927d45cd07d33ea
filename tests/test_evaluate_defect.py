"""Evaluation of a defect model: the scores that the stream publishes, their limit, baselines, lead time."""

import json

import h5py
import numpy as np
import pytest

from core.data.castings import generate_castings
from core.data.layout import open_castings
from core.engines.results import WindowRules
from core.errors import DataError, StartupError
from core.models.factory import ModelFactory, load_model
from core.models.shipped import checkpoint_path
from core.offline.predict import cast_scores
from core.training import evaluate_defect as module
from core.training.evaluate_defect import evaluate_defect
from core.training.metrics import auc_roc, brier

pytestmark = pytest.mark.slow

CHECKPOINT = checkpoint_path("defect")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("casts") / "casts.h5"
    generate_castings(path, casts=70, seed=8)
    return path


@pytest.fixture(scope="module")
def learnt_from(tmp_path_factory):
    path = tmp_path_factory.mktemp("casts") / "learn.h5"
    generate_castings(path, casts=80, seed=9)
    return path


@pytest.fixture(scope="module")
def report(file, learnt_from):
    return evaluate_defect(file, CHECKPOINT, baseline=learnt_from, threshold=0.2)


def published(path):
    """All scores as `predict` gives them, by cast."""
    with open_castings(path) as opened:
        found = list(cast_scores(opened, load_model(CHECKPOINT, "defect"), WindowRules()))
        return found, opened["label"][:], opened["defect_probability"][:], opened["cast_length"][:]


def test_figures_are_those_of_the_published_final_scores(file, report):
    scores, labels, limits, _ = published(file)
    final = {score.row: score.probability for score in scores if score.final and score.probability is not None}
    rows, figures = sorted(final), report.figures
    p = np.array([final[row] for row in rows])

    assert figures["auc"] == pytest.approx(auc_roc(p, labels[rows]))
    assert figures["brier"] == pytest.approx(brier(p, labels[rows]))
    assert figures["auc_limit"] == pytest.approx(auc_roc(limits[rows], labels[rows]))
    assert figures["brier_limit"] == pytest.approx(brier(limits[rows].astype(float), labels[rows]))
    assert (figures["casts"], figures["too_short"]) == (70, 70 - len(rows))
    assert json.loads(json.dumps(figures)) == figures


def test_the_lead_time_is_from_the_first_alarm_to_the_end_of_a_defective_cast(file, report):
    scores, labels, _, lengths = published(file)
    expected = []
    for row in np.flatnonzero(labels == 1):
        alarms = [s.end for s in scores if s.row == row and s.probability is not None and s.probability >= 0.2]
        if alarms:
            expected.append(lengths[row] - alarms[0])

    assert sorted(expected) == sorted(report.lead_times_s.tolist())
    assert report.figures["lead_time_s_median"] == np.median(expected)


def test_whoever_acts_on_running_scores_is_told_of_their_false_alarms(file, report):
    scores, labels, _, _ = published(file)
    judged = {score.row for score in scores if score.final and score.probability is not None}
    alarmed = {s.row for s in scores if s.probability is not None and s.probability >= 0.2}
    for key, label in (("detected_while_running", 1), ("false_alarms_while_running", 0)):
        rows = [row for row in judged if labels[row] == label]
        assert report.figures[key] == pytest.approx(np.mean([row in alarmed for row in rows]))

    assert report.figures["detected_while_running"] >= report.figures["detected"]
    assert report.figures["false_alarms_while_running"] >= report.figures["false_alarms"]


def test_windows_have_the_length_that_the_rules_say(file, learnt_from):
    rules = WindowRules(150, 120, 200)
    found = evaluate_defect(file, CHECKPOINT, baseline=learnt_from, rules=rules)
    with h5py.File(file) as opened:
        lengths = opened["cast_length"][:]

    assert found.figures["too_short"] == (lengths < 120).sum()
    assert found.example is not None
    assert len(found.example["readings"]) == 150


def test_the_example_is_a_defective_cast_with_its_attention(report):
    example = report.example

    assert example is not None
    assert example["readings"].shape == (len(example["attention"]), 5)
    assert example["attention"].sum() == pytest.approx(1.0, abs=1e-4)
    assert example["probability"] > 0.2


def test_the_threshold_is_the_checkpoints_unless_told(file, learnt_from, tmp_path):
    model = ModelFactory.create_from_checkpoint(CHECKPOINT)
    ModelFactory.save_checkpoint(model, tmp_path / "own.pt", decision={"threshold": 0.7})
    ModelFactory.save_checkpoint(model, tmp_path / "none.pt")

    assert evaluate_defect(file, tmp_path / "own.pt", baseline=learnt_from).figures["threshold"] == 0.7
    assert module._threshold(tmp_path / "none.pt", None) == 0.5


@pytest.mark.parametrize("threshold", ["high", 1.5, float("nan")])
def test_a_threshold_that_is_no_probability_is_named(file, tmp_path, threshold):
    model = ModelFactory.create_from_checkpoint(CHECKPOINT)
    ModelFactory.save_checkpoint(model, tmp_path / "own.pt", decision={"threshold": threshold})

    with pytest.raises(StartupError, match=r"own\.pt: its threshold is .*: must be a number in 0\.\.1"):
        evaluate_defect(file, tmp_path / "own.pt")
    with pytest.raises(StartupError, match=r"^threshold is "):
        evaluate_defect(file, CHECKPOINT, threshold=threshold)


def test_a_checkpoint_whose_decision_is_something_else_has_the_default(tmp_path):
    model = ModelFactory.create_from_checkpoint(CHECKPOINT)
    ModelFactory.save_checkpoint(model, tmp_path / "own.pt", decision="inspect")

    assert module._threshold(tmp_path / "own.pt", None) == 0.5


def test_a_baseline_that_cannot_be_used_is_refused_before_anything_is_scored(file, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "cast_scores", None)

    with pytest.raises(DataError, match="no such file"):
        evaluate_defect(file, CHECKPOINT, baseline=tmp_path / "none.h5")


def test_without_known_probabilities_there_is_no_limit(file, learnt_from, tmp_path):
    path = tmp_path / "plant.h5"
    path.write_bytes(file.read_bytes())
    with h5py.File(path, "r+") as opened:
        opened["defect_probability"][:] = np.nan
        opened["label"][0] = -1
    figures = evaluate_defect(path, CHECKPOINT, baseline=learnt_from).figures

    assert (figures["auc_limit"], figures["brier_limit"]) == (None, None)
    assert figures["unlabelled"] == 1
    assert figures["auc"] is not None


def test_a_file_without_a_cast_to_judge_by_is_refused(file, learnt_from, tmp_path):
    path = tmp_path / "plant.h5"
    path.write_bytes(file.read_bytes())
    with h5py.File(path, "r+") as opened:
        opened["label"][:] = -1

    with pytest.raises(DataError, match=r"plant\.h5: dataset 'label': no cast of 100 steps or more has a label"):
        evaluate_defect(path, CHECKPOINT, baseline=learnt_from)
    with pytest.raises(DataError, match="the baselines need defective and good casts"):
        evaluate_defect(file, CHECKPOINT, baseline=path)
