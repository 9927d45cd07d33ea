"""The simple detectors: each against an obvious version, and each sees what it is made for."""

import sys

import numpy as np
import pytest

from core.engines.declared.outputs import StepOutputs
from core.errors import StartupError
from core.judging.baselines import fit_baselines, fit_ewma, fit_forest, fit_lag, held_values
from core.judging.ratios import SPANS, moving_average
from core.judging.season import autocorrelation, find_period
from core.tasks.declaration import Output

FORECAST = Output("f", "y", ("x",), apply="forecast", changes=True, least=(0.0,), publish=False)
RATIO = Output("score", "", apply="likelihood_ratio", of="f", horizon=SPANS[0])


def plant(samples, seed=0, period=96, width=3):
    rng = np.random.default_rng(seed)
    season = np.sin(2 * np.pi * np.arange(samples) / period)
    return season[:, None] * np.arange(1, width + 1) + 0.1 * rng.standard_normal((samples, width)) + 50.0


def test_a_moving_average_is_that_of_one_sample_after_the_other():
    values = np.random.default_rng(0).standard_normal((1000, 2))
    slow, now = [], np.zeros(2)
    for value in values:
        now = 0.2 * value + 0.8 * now
        slow.append(now)

    np.testing.assert_allclose(moving_average(values, 0.2), slow, atol=1e-12)
    assert moving_average(values[:0], 0.2).shape == (0, 2)


def test_autocorrelation_is_that_of_the_products():
    values = np.random.default_rng(0).standard_normal((50, 2)) + 7.0
    values[:, 1] = 3.0  # never changes
    centred = values[:, 0] - values[:, 0].mean()
    parts = [(centred[lag:], centred[: len(centred) - lag]) for lag in range(11)]
    slow = [np.sum(late * early) / np.sqrt(np.sum(late**2) * np.sum(early**2)) for late, early in parts]

    np.testing.assert_allclose(autocorrelation(values, 10), slow, atol=1e-12)


@pytest.mark.parametrize("period", [24, 96, 500])
def test_the_period_of_a_season_is_found(period):
    assert find_period([plant(period * 7, period=period)]) == pytest.approx(period, abs=2)


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).standard_normal((5000, 2)),
        np.cumsum(np.random.default_rng(1).standard_normal((5000, 1)), axis=0),
        np.ones((500, 1)),
        np.arange(500.0)[:, None],
        np.ones((3, 1)),
    ],
    ids=["noise", "walk", "constant", "line", "short"],
)
def test_without_a_season_no_period_is_found(values):
    assert find_period([values]) is None


def test_a_number_that_is_missing_is_held():
    values = np.array([[np.nan, 1.0], [2.0, np.nan], [np.nan, np.nan], [3.0, 4.0]])

    np.testing.assert_array_equal(held_values(values), [[0, 1], [2, 1], [2, 1], [3, 4]])


def test_persistence_averages_the_distances_to_the_sample_before_as_the_score_of_a_task_does():
    history, values = plant(500, width=1), plant(40, seed=1, width=1)
    spread = np.std(np.diff(history, axis=0), axis=0)
    outputs = StepOutputs("x", (FORECAST, RATIO), {"y": slice(0, 2)}.__getitem__, 1)
    kept, slow = np.zeros((1, outputs.kept), np.float32), []
    for value in (values / spread).astype(np.float32):
        row, kept = outputs.step(value[None], np.zeros((1, 2), np.float32), kept)
        slow.append(float(row[0, 0]))

    found = fit_lag([history], 1)(values)

    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], slow[1:], rtol=1e-3, atol=1e-3)


def test_no_score_looks_at_later_samples():
    history, values = plant(1000), plant(400, seed=1)
    for baseline in fit_baselines([history], period=96):
        whole, part = baseline.score(values), baseline.score(values[:250])

        np.testing.assert_allclose(whole[:250], part, err_msg=baseline.name)
        assert whole.shape == (400,)


def test_each_baseline_sees_what_it_is_made_for():
    history, values = plant(2000), plant(1000, seed=1)
    jump, shift, wrong_time, odd = (values.copy() for _ in range(4))
    jump[700] += 3.0
    shift[700:760] += 4.0
    wrong_time[700:740] = values[652:692]  # half a season later: every value is usual
    odd[700:720, 0], odd[700:720, 2] = 53.0, 47.0  # usual each, not together

    assert np.nanargmax(fit_lag([history], 1)(jump)) in (700, 701)
    assert 700 <= np.nanargmax(fit_ewma([history])(shift)) < 765
    assert 695 <= np.nanargmax(fit_lag([history], 96)(wrong_time)) < 740 + 96
    assert 700 <= np.nanargmax(fit_forest([history])(odd)) < 740


def test_the_seasonal_one_is_left_out_where_there_is_no_season():
    noise = np.random.default_rng(0).standard_normal((2000, 2))

    names = [one.name.partition(" (")[0] for one in fit_baselines([noise])]
    assert names == ["persistence", "EWMA chart", "linear", "isolation forest"]
    assert [one.name for one in fit_baselines([plant(2000)])][2] == "seasonal naive (96 samples)"
    assert [one.name for one in fit_baselines([plant(10)])] == ["persistence", "EWMA chart"]


def test_a_field_that_never_changes_harms_no_score():
    history = plant(600)
    history[:, 1] = 20.0
    for baseline in fit_baselines([history]):
        assert np.isfinite(baseline.score(history)[20:]).all() or "seasonal" in baseline.name


def test_the_same_seed_gives_the_same_forest():
    history = plant(500)

    np.testing.assert_array_equal(fit_forest([history], 3)(history), fit_forest([history], 3)(history))


def test_without_history_there_is_nothing_to_fit():
    with pytest.raises(StartupError, match="history"):
        fit_baselines([np.empty((0, 2))])


def test_without_scikit_learn_the_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)

    with pytest.raises(StartupError, match=r"caststream\[train\]"):
        fit_forest([plant(100)])
