"""All that a training of a forecaster gives to those who judge it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.arrays import Float64s
from core.training.config import TaskSettings
from core.training.loop import Fitted
from core.training.tasks.data import Judged
from core.training.tasks.forecast import Sizes
from core.training.tasks.history import History
from core.training.tasks.likelihood import JudgedForecasts, calibration
from core.training.tasks.pieces import Split
from core.training.tasks.statistics import FieldStatistics


@dataclass(frozen=True)
class Trained:
    """A training and what came of it. ``forecasts`` are those of the held-out part, before ``factor``."""

    history: History
    parts: Split
    statistics: FieldStatistics
    settings: TaskSettings
    sizes: Sizes
    fitted: Fitted
    judged: Judged
    forecasts: JudgedForecasts
    persistence: JudgedForecasts
    least: Float64s
    factor: Float64s

    @property
    def judged_samples(self) -> Float64s:
        """The samples (M, n) that the forecasts were made for."""
        held = [each.values for each in self.history.sequences]
        rows = [
            held[place.sequence][place.start + 1 : place.end][counts[first : first + len(place) - 1]]
            for place, counts, first in self.judged.rows()
        ]
        return np.concatenate(rows).astype(np.float64)

    @property
    def losses(self) -> tuple[float, float]:
        """The mean negative log-likelihood on the held-out part, in nats per step and number: ours, persistence's.

        The deviation of persistence is set on the held-out part as ours is.
        """
        ours = self.forecasts.loss(self.least, self.factor).mean()
        plain = self.persistence.loss(self.least, calibration(self.persistence, self.least)).mean()
        return float(ours), float(plain)

    @property
    def within(self) -> dict[int, float]:
        """The share of the held-out part's numbers that came within 1, 2 and 3 standard deviations of the forecast."""
        z = np.abs(self.forecasts.z(self.least, self.factor))
        return {k: float((z < k).mean()) for k in (1, 2, 3)}
