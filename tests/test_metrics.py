"""Figures of quality against obvious versions and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.judging.metrics import auc_pr
from core.training.metrics import auc_roc, brier, f1, recall_at_false_alarms, reliability

rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=30)


def arrays(drawn):
    return np.array([row[0] for row in drawn], float) / 5.0, np.array([row[1] for row in drawn])


@pytest.fixture(scope="module")
def sklearn_metrics():
    """Loaded by the tests that ask it: it takes seconds, on every lane that collects this file."""
    import sklearn.metrics

    return sklearn.metrics


def one_class(labels):
    return len(set(labels.tolist())) < 2


@given(rows)
def test_auc_agrees_with_comparing_every_pair(drawn):
    scores, labels = arrays(drawn)
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels == 1] for n in scores[labels == 0]]

    assert auc_roc(scores, labels) == (pytest.approx(np.mean(pairs)) if pairs else None)


@given(drawn=rows)
def test_average_precision_agrees_with_scikit_learn(sklearn_metrics, drawn):
    scores, labels = arrays(drawn)
    expected = None if one_class(labels) else pytest.approx(sklearn_metrics.average_precision_score(labels, scores))

    assert auc_pr([scores], [labels]) == expected


@given(drawn=rows, share=st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_recall_at_false_alarms_is_the_best_point_of_the_roc_curve(sklearn_metrics, drawn, share):
    scores, labels = arrays(drawn)
    if one_class(labels):
        assert recall_at_false_alarms(scores, labels, share) is None
        return
    false_alarms, recall, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)

    assert recall_at_false_alarms(scores, labels, share) == pytest.approx(recall[false_alarms <= share].max())


@given(drawn=rows)
def test_f1_agrees_with_scikit_learn(sklearn_metrics, drawn):
    scores, labels = arrays(drawn)
    alarms = scores >= 0.5
    nothing = not alarms.any() and not labels.any()

    assert f1(alarms, labels) == (None if nothing else pytest.approx(sklearn_metrics.f1_score(labels, alarms)))


def test_brier_is_the_mean_squared_distance():
    assert brier(np.array([0.5, 1.0]), np.array([0, 1])) == 0.125


def test_reliability_puts_every_score_in_one_bin_and_leaves_empty_ones_out():
    found = reliability(np.array([0.0, 0.04, 0.95, 1.0]), np.array([0, 1, 1, 1]), bins=10)

    assert found == [(0.02, 0.5, 2), (0.975, 1.0, 2)]
