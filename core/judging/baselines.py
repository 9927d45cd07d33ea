"""Simple detectors to compare with: each is fitted on the same history, and scores each sample from those before it.

Values are (T, F): T samples of one sequence, F numbers of each. A number that is NaN is held from the sample before.
Scores are (T,), NaN where there is none yet.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.arrays import Float64s
from core.errors import StartupError
from core.judging.linear import fit_linear
from core.judging.ratios import likelihood_ratios, moving_average
from core.judging.season import find_period
from core.judging.spread import spread_of

ScoreFunction = Callable[[Float64s], Float64s]
EWMA_SHARE = 0.2  # of the newest sample, as in Roberts' chart
WINDOW = 16  # samples that the isolation forest looks at
FOREST_ROWS = 100_000  # of windows that it is fitted on, evenly over the history


@dataclass(frozen=True)
class Baseline:
    """A fitted detector."""

    name: str
    score: ScoreFunction


def fit_baselines(history: Sequence[Float64s], period: int | None = None, seed: int = 0) -> list[Baseline]:
    """Fit all of them that the history allows.

    Args:
        history: the values of each sequence, (T, F).
        period: samples of a season; by default it is looked for. Without one there is no seasonal naive.
        seed: of the isolation forest.

    Raises:
        StartupError: scikit-learn is missing, or the history has no samples.
    """
    held = [held_values(one) for one in history if len(one)]
    if not held:
        raise StartupError("baselines need a history: there are no samples before those to be judged")
    season = find_period(held) if period is None else period
    found = [Baseline("persistence", fit_lag(held, 1)), Baseline("EWMA chart", fit_ewma(held))]
    if season is not None and any(len(one) > season + 1 for one in held):
        found.append(Baseline(f"seasonal naive ({season} samples)", fit_lag(held, season)))
    if (linear := fit_linear(held)) is not None:
        found.append(Baseline(f"linear ({linear.order} samples)", _of_held(linear.score)))
    if any(len(one) >= WINDOW for one in held):
        found.append(Baseline("isolation forest", fit_forest(held, seed)))
    return found


def _of_held(score: ScoreFunction) -> ScoreFunction:
    return lambda values: score(held_values(values))


def held_values(values: Float64s) -> Float64s:
    """Hold each number from the sample before where it is NaN; 0 where there is none before."""
    places = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
    found: Float64s = np.take_along_axis(values, np.maximum.accumulate(places, axis=0), axis=0)
    return np.nan_to_num(found, nan=0.0).astype(np.float64)


def fit_lag(history: Sequence[Float64s], lag: int) -> ScoreFunction:
    """Persistence (``lag`` 1) or a seasonal naive forecast: the distance to the sample ``lag`` before.

    Distances are in standard deviations of the history's, and the score is made of them as a task's
    ``likelihood_ratio`` is made of those of its model. What such a detector is behind lies in the forecast alone.
    """
    distances = [one[lag:] - one[:-lag] for one in history if len(one) > lag]
    spread = spread_of(np.concatenate(distances) if distances else history[0][:0])

    def score(values: Float64s) -> Float64s:
        values = held_values(values)
        found = np.full(len(values), np.nan)
        if len(values) > lag:
            found[lag:] = likelihood_ratios((values[lag:] - values[:-lag]) / spread)
        return found

    return score


def fit_ewma(history: Sequence[Float64s], share: float = EWMA_SHARE) -> ScoreFunction:
    """The EWMA control chart: how far the moving average is from the history's mean, in its own standard deviations.

    Source: Roberts, "Control chart tests based on geometric moving averages", Technometrics 1(3), 1959. The score is
    that of the field that is farthest.
    """
    known = np.concatenate(list(history))
    mean, spread = known.mean(axis=0), spread_of(known)

    def score(values: Float64s) -> Float64s:
        average = moving_average((held_values(values) - mean) / spread, share)
        steps = np.arange(1, len(values) + 1)
        own = np.sqrt(share / (2 - share) * (1 - (1 - share) ** (2 * steps)))
        return np.asarray(np.abs(average / own[:, None]).max(axis=1), np.float64)

    return score


def fit_forest(history: Sequence[Float64s], seed: int = 0, window: int = WINDOW) -> ScoreFunction:
    """An isolation forest on windows of the last samples, standardised.

    Source: Liu, Ting and Zhou, "Isolation forest", ICDM 2008; scikit-learn's, with its settings.

    Raises:
        StartupError: scikit-learn is missing.
    """
    known = np.concatenate(list(history))
    mean, spread = known.mean(axis=0), spread_of(known)
    rows = np.concatenate([_windows((one - mean) / spread, window) for one in history if len(one) >= window])
    forest = _ensemble().IsolationForest(random_state=seed)
    forest.fit(rows[:: max(1, len(rows) // FOREST_ROWS)])

    def score(values: Float64s) -> Float64s:
        found = np.full(len(values), np.nan)
        if len(values) >= window:
            found[window - 1 :] = -forest.score_samples(_windows((held_values(values) - mean) / spread, window))
        return found

    return score


def _windows(values: Float64s, window: int) -> Float64s:
    """Windows (T - window + 1, window * F): the n-th ends at sample n + window - 1."""
    views = np.lib.stride_tricks.sliding_window_view(values, window, axis=0)
    return np.ascontiguousarray(views).reshape(len(views), -1).astype(np.float32)


def _ensemble() -> Any:
    try:
        return importlib.import_module("sklearn.ensemble")
    except ImportError as error:
        raise StartupError(
            f"the isolation forest needs the packages for training: pip install 'caststream[train]' ({error})"
        ) from error
