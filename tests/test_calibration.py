"""Platt scaling finds the odds that training moved; the threshold is the cheapest one."""

import numpy as np
import pytest

from core.training.calibration import bayes_threshold, platt
from core.training.metrics import brier


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.5, -1.8), (2.0, 3.0)])
def test_scores_that_were_scaled_and_shifted_become_probabilities_again(a, b):
    source = np.random.default_rng(2)
    logits = source.normal(-1.0, 2.0, 20_000)
    labels = (source.random(20_000) < sigmoid(a * logits + b)).astype(int)

    found = platt(logits, labels)

    assert found["a"] == pytest.approx(a, rel=0.1)
    assert found["b"] == pytest.approx(b, abs=0.15)
    assert brier(sigmoid(found["a"] * logits + found["b"]), labels) <= brier(sigmoid(a * logits + b), labels) + 1e-4


def test_probabilities_are_targets_too():
    logits = np.linspace(-4, 4, 500)
    found = platt(logits, sigmoid(0.7 * logits - 0.4))

    assert found["a"] == pytest.approx(0.7, rel=0.02)
    assert found["b"] == pytest.approx(-0.4, abs=0.02)


def test_classes_without_an_overlap_do_not_send_the_slope_to_infinity():
    found = platt(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 0, 1, 1]))

    assert np.isfinite([found["a"], found["b"]]).all()
    assert 0.1 < found["a"] < 10.0


def test_a_temperature_alone_would_not_do():
    source = np.random.default_rng(3)
    logits = source.normal(0.0, 2.0, 5000)
    labels = (source.random(5000) < sigmoid(logits - 1.8)).astype(int)
    found = platt(logits, labels)
    scaled = min(brier(sigmoid(a * logits), labels) for a in np.linspace(0.1, 3, 60))

    assert brier(sigmoid(found["a"] * logits + found["b"]), labels) < 0.95 * scaled


def test_the_threshold_is_where_an_alarm_and_silence_cost_the_same():
    assert bayes_threshold(cost_missed=10.0, cost_false_alarm=1.0) == pytest.approx(1 / 11)
    assert bayes_threshold(cost_missed=1.0, cost_false_alarm=1.0) == 0.5
