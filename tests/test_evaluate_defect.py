"""Evaluation of a defect model: the scores that the stream publishes, their limit, baselines, lead time."""

import json

import h5py
import numpy as np
import pytest

from core.chunk import WindowRules
from core.data.castings import draw_cast, generate_castings
from core.errors import DataError
from core.models.factory import ModelFactory, load_model
from core.models.shipped import checkpoint_path
from core.predict import cast_scores
from core.training.baseline import Baselines, window_features
from core.training.evaluate_defect import evaluate_defect
from core.training.metrics import auc_roc, brier

CHECKPOINT = checkpoint_path("defect")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("casts") / "casts.h5"
    generate_castings(path, casts=120, seed=8)
    return path


@pytest.fixture(scope="module")
def learnt_from(tmp_path_factory):
    path = tmp_path_factory.mktemp("casts") / "learn.h5"
    generate_castings(path, casts=200, seed=9)
    return path


@pytest.fixture(scope="module")
def report(file, learnt_from):
    return evaluate_defect(file, CHECKPOINT, baseline=learnt_from, threshold=0.2)


def published(path):
    """All scores as `predict` gives them, by cast."""
    with h5py.File(path) as opened:
        found = list(cast_scores(opened, load_model(CHECKPOINT, "defect"), WindowRules()))
        return found, opened["label"][:], opened["defect_probability"][:], opened["cast_length"][:]


def test_figures_are_those_of_the_published_final_scores(file, report):
    scores, labels, limits, _ = published(file)
    final = {score.row: score.probability for score in scores if score.final and score.probability is not None}
    rows, figures = sorted(final), report.as_dict()
    p = np.array([final[row] for row in rows])

    assert figures["auc"] == pytest.approx(auc_roc(p, labels[rows]))
    assert figures["brier"] == pytest.approx(brier(p, labels[rows]))
    assert figures["auc_limit"] == pytest.approx(auc_roc(limits[rows], labels[rows]))
    assert figures["brier_limit"] == pytest.approx(brier(limits[rows].astype(float), labels[rows]))
    assert (figures["casts"], figures["too_short"]) == (120, 120 - len(rows))
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
    assert evaluate_defect(file, tmp_path / "none.pt", baseline=learnt_from).figures["threshold"] == 0.5


def test_without_known_probabilities_there_is_no_limit(file, learnt_from, tmp_path):
    path = tmp_path / "plant.h5"
    path.write_bytes(file.read_bytes())
    with h5py.File(path, "r+") as opened:
        opened["defect_probability"][:] = np.nan
        opened["label"][0] = -1
    figures = evaluate_defect(path, CHECKPOINT, baseline=learnt_from).as_dict()

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


def test_features_are_length_means_deviations_and_extremes():
    window = np.array([[1.0, 10.0], [3.0, 20.0]])

    assert window_features([window]).tolist() == [[2, 2, 15, 1, 5, 1, 10, 3, 20]]


def test_baselines_learn_what_extremes_tell_and_their_seed_decides():
    casts = [draw_cast(5, row, 200) for row in range(150)]
    windows, labels = [cast.readings for cast in casts], np.arange(150) % 2
    for window, label in zip(windows, labels, strict=True):
        window[50, 2] = 190.0 if label else 150.0
    first, again = (Baselines(windows[:100], labels[:100], seed=1).scores(windows[100:]) for _ in range(2))

    for name, values in first.items():
        assert auc_roc(values, labels[100:]) == 1.0
        np.testing.assert_array_equal(values, again[name])
