"""Baselines without memory: what window means and extremes alone can tell, by two models from scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float64s
from core.training.extras import require


def window_features(windows: Iterable[NDArray[Any]]) -> Float64s:
    """Return for each window (T, F) its length, and for each sensor mean, standard deviation, least and most.

    Returns:
        (N, 1 + 4F).
    """
    rows = []
    for window in windows:
        values = np.asarray(window, np.float64)
        parts = (values.mean(axis=0), values.std(axis=0), values.min(axis=0), values.max(axis=0))
        rows.append(np.concatenate([[len(values)], *parts]))
    return np.stack(rows)


class Baselines:
    """Logistic regression and gradient boosting on `window_features`.

    Args:
        windows: N of them, (T, F) each.
        labels: (N,), 0 and 1, both of them.
        seed: of the boosting.
    """

    def __init__(self, windows: Iterable[NDArray[Any]], labels: NDArray[np.integer[Any]], seed: int = 0) -> None:
        linear, ensemble = require("sklearn.linear_model"), require("sklearn.ensemble")
        scale = require("sklearn.preprocessing").StandardScaler()
        features = window_features(windows)
        self._models = {
            "logistic regression": require("sklearn.pipeline").make_pipeline(
                scale, linear.LogisticRegression(max_iter=2000)
            ),
            "gradient boosting": ensemble.HistGradientBoostingClassifier(random_state=seed),
        }
        for model in self._models.values():
            model.fit(features, labels)

    def scores(self, windows: Iterable[NDArray[Any]]) -> dict[str, Float64s]:
        """The probability of a defect by each model, (N,)."""
        features = window_features(windows)
        return {name: model.predict_proba(features)[:, 1] for name, model in self._models.items()}
