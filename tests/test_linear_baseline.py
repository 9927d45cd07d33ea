"""The linear forecast that detectors are compared with: its weights, its order, and what its score sees."""

from __future__ import annotations

import numpy as np
import pytest

from core.arrays import Float64s
from core.judging.linear import ORDERS, fit_linear
from core.judging.ratios import likelihood_ratios


def driven(samples: int, lag: int = 1, seed: int = 0) -> Float64s:
    """Three numbers: noise with a memory, the same ``lag`` samples later with noise of its own, and a constant."""
    rng = np.random.default_rng(seed)
    values = np.zeros((samples, 3))
    for place in range(1, samples):
        values[place, 0] = 0.5 * values[place - 1, 0] + rng.standard_normal()
        late = values[place - lag, 0] if place >= lag else 0.0
        values[place, 1] = 2 * late + 0.1 * rng.standard_normal()
    values[:, 2] = 20.0
    return values + 5.0


def test_the_weights_are_those_of_least_squares_one_row_after_the_other() -> None:
    history = driven(600)[:, :2]
    found = fit_linear([history])
    assert found is not None
    scaled = (history - history.mean(axis=0)) / history.std(axis=0)
    rows = [
        np.concatenate([scaled[now - lag] for lag in range(1, found.order + 1)])
        for now in range(found.order, len(history))
    ]

    slow = np.linalg.lstsq(np.array(rows), scaled[found.order :], rcond=None)[0]

    np.testing.assert_allclose(found.weights, slow, atol=0.02)


@pytest.mark.parametrize("lag", [2, 4, 8])
def test_the_order_reaches_as_far_back_as_the_data_does(lag: int) -> None:
    found = fit_linear([driven(4000, lag)])

    assert found is not None
    assert found.order >= lag
    assert found.deviations[1] < 0.1


def test_the_score_is_the_likelihood_ratio_of_errors_whose_deviation_is_one() -> None:
    found = fit_linear([driven(4000)])
    assert found is not None
    fresh = driven(4000, seed=1)
    scaled = (fresh - found.mean) / found.scale
    lagged = np.hstack([scaled[found.order - lag : len(fresh) - lag] for lag in range(1, found.order + 1)])
    errors = (scaled[found.order :] - lagged @ found.weights) / found.deviations

    assert errors[:, :2].std(axis=0) == pytest.approx([1.0, 1.0], abs=0.1)
    assert np.isnan(found.score(fresh)[: found.order]).all()
    np.testing.assert_allclose(found.score(fresh)[found.order :], likelihood_ratios(errors), atol=1e-9)


def test_it_sees_numbers_that_are_usual_each_but_no_longer_follow_each_other() -> None:
    found = fit_linear([driven(4000)])
    assert found is not None
    values = driven(1000, seed=1)
    values[600:640, 1] = values[300:340, 1]
    score = found.score(values)

    assert 600 <= np.nanargmax(score) < 645
    assert np.nanmax(score[600:640]) > 3 * np.nanmax(score[:600])


def test_no_pair_of_samples_lies_across_two_sequences() -> None:
    parts = [driven(400, seed=seed) + 1000.0 * seed for seed in range(3)]
    alone = fit_linear([part - part.mean(axis=0) for part in parts])
    assert alone is not None
    joined = fit_linear([np.concatenate([part - part.mean(axis=0) for part in parts])])
    assert joined is not None

    assert alone.order in ORDERS
    assert not np.array_equal(alone.weights, joined.weights)


@pytest.mark.parametrize("history", [[np.zeros((5, 3))], [np.zeros((2, 3))] * 100, [np.zeros((0, 2))]])
def test_a_history_that_is_too_short_has_none(history: list[Float64s]) -> None:
    assert fit_linear(history) is None


def test_a_constant_history_gives_scores() -> None:
    found = fit_linear([np.full((300, 2), 7.0)])

    assert found is not None
    assert np.isfinite(found.score(np.full((50, 2), 7.0))[found.order :]).all()
