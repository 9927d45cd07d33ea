"""Plots of a forecaster's training: a stretch of its forecasts, and the scores with the threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from core.training.drawing import BASELINE, LIMIT, MODEL, REFERENCE, Figure, legend_above, new_figure, write_plots
from core.training.tasks.finish import Finished
from core.training.tasks.trained import Trained

STRETCH = 200
MOST_FIELDS = 4
MOST_POINTS = 4_000


def write_training_plots(folder: Path, trained: Trained, finished: Finished) -> list[Path]:
    """Write ``forecast.png`` and ``scores.png`` into a folder, which is made; errors as `write_plots` has them."""
    return write_plots({"forecast": lambda: _forecast(trained, finished), "scores": lambda: _scores(finished)}, folder)


def _forecast(trained: Trained, finished: Finished) -> Figure | None:
    """The first fields over the first stretch that is judged, with the forecasts and two deviations around them."""
    steps = min(STRETCH, len(trained.forecasts.errors))
    if not steps:
        return None
    statistics = trained.statistics
    fields = min(MOST_FIELDS, len(statistics.names))
    actual = trained.judged_samples[:steps]
    figure = new_figure(9.0, 1.2 + 1.8 * fields)
    for place, axes in enumerate(np.atleast_1d(figure.subplots(fields, 1, sharex=True))):
        change = statistics.change[place]
        error = trained.forecasts.errors[:steps, place] * change
        deviation = trained.forecasts.deviations[:steps, place] * trained.factor[place] * change
        spread = 2 * np.maximum(deviation, statistics.least[place])
        mean = actual[:steps, place] - error
        band: dict[str, Any] = {"alpha": 0.2, "color": MODEL["color"], "label": "2 deviations"}
        axes.fill_between(range(steps), mean - spread, mean + spread, **band)
        axes.plot(mean, **MODEL, label="forecast")
        axes.plot(actual[:steps, place], **LIMIT, label="sample")
        axes.set_ylabel(statistics.names[place])
        if place == 0:
            axes.set_title(f"Held-out samples of {finished.declaration.name}, and their forecasts")
            legend_above(axes)
    axes.set_xlabel("samples")
    return figure


def _scores(finished: Finished) -> Figure | None:
    score = np.concatenate(finished.scores.score) if finished.scores.score else np.empty(0)
    if not np.isfinite(score).any():
        return None
    stride = max(1, len(score) // MOST_POINTS)
    blocks = score[: len(score) // stride * stride].reshape(-1, stride)
    highest = np.max(np.where(np.isnan(blocks), -np.inf, blocks), axis=1)
    figure = new_figure(9.0, 3.6)
    axes = figure.subplots()
    days = np.arange(len(highest)) * stride * finished.scores.period_s / 86_400
    axes.plot(days, np.where(np.isinf(highest), np.nan, highest), **MODEL, label="score")
    axes.axhline(finished.chosen.threshold, **BASELINE, label=f"threshold {finished.chosen.threshold:.3g}")
    axes.axhline(finished.chosen.clear, **REFERENCE, label="clear")
    axes.set_title("Scores of the held-out part")
    axes.set_xlabel("days of held-out normal data, one sequence behind the other")
    axes.set_ylabel("nats per step and field")
    legend_above(axes)
    return figure
