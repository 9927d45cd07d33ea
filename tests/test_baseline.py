"""Baselines that see means and extremes only: their features, what they can learn, and that a seed decides them."""

import sys

import numpy as np
import pytest

from core.data.castings import draw_cast
from core.errors import StartupError
from core.training.baseline import Baselines, window_features
from core.training.metrics import auc_roc


@pytest.fixture(scope="module")
def windows():
    """90 windows of real noise, 120 to 209 steps long."""
    return [draw_cast(5, row, 120 + row).readings for row in range(90)]


def test_features_are_length_means_deviations_and_extremes():
    window = np.array([[1.0, 10.0], [3.0, 20.0]])

    assert window_features([window]).tolist() == [[2, 2, 15, 1, 5, 1, 10, 3, 20]]


def test_windows_may_come_one_at_a_time(windows):
    np.testing.assert_array_equal(window_features(iter(windows)), window_features(windows))


def test_the_order_of_the_samples_is_not_seen(windows):
    turned = [window[::-1] for window in windows]

    np.testing.assert_allclose(window_features(turned), window_features(windows), rtol=1e-6)


@pytest.mark.slow
def test_they_learn_what_extremes_tell_and_the_seed_decides(windows):
    windows, labels = [window.copy() for window in windows], np.arange(90) % 2
    for window, label in zip(windows, labels, strict=True):
        window[50, 2] = 190.0 if label else 150.0
    first, again = (Baselines(windows[:60], labels[:60], seed=1).scores(windows[60:]) for _ in range(2))

    assert list(first) == ["logistic regression", "gradient boosting"]
    for name, values in first.items():
        assert values.shape == (30,)
        assert auc_roc(values, labels[60:]) == 1.0
        np.testing.assert_array_equal(values, again[name])


def test_without_scikit_learn_the_package_to_install_is_named(windows, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)

    with pytest.raises(StartupError, match=r"pip install 'caststream\[train\]'"):
        Baselines(windows[:4], np.array([0, 1, 0, 1]))
