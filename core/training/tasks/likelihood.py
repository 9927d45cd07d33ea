"""The likelihood of the next sample under a forecast of means and log variances, robust to outliers.

The data is called normal by people, and is not: it has spikes, restarts, a day of a broken sensor. Three things keep
them from deciding the model. A step's distance z counts squared up to `KNEE` and in proportion beyond it, as Huber's
loss does, so one spike does not outweigh a thousand samples. No deviation is smaller than the least one that the field
has, so that a value that stands still is no infinite gain. Log variances beyond `WIDEST` cost a little, so that none
grows without end. `calibration` then sets the level of the deviations on held-out data.

Shapes: (..., n) all; numbers are in standard deviations of a field's steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.arrays import Float64s
from core.judging.ratios import MOST_DISTANCE

KNEE = 4.0
WIDEST = 12.0
"""The bound of the natural logarithm of a variance, on either side: a factor of 400 of the deviation."""
BOUND_COST = 0.01
MOST_SQUARED = MOST_DISTANCE**2
"""The bound of z squared where a forecast is judged: as the score has it."""
MOST_FACTOR = 5.0
FLOORED = 0.5
"""The spread of z below which, whatever the factor is, the least deviation decides: there is nothing to calibrate."""


def robust_loss(forecast: Tensor, changes: Tensor, least: Tensor) -> Tensor:
    """The loss (..., n) of each number; its minimum is that of the Gaussian likelihood where nothing lies far out."""
    mean, log_variance = forecast.chunk(2, dim=-1)
    deviation = torch.maximum(torch.exp(0.5 * log_variance.clamp(-40.0, 40.0)), least)
    z = ((changes - mean) / deviation).abs()
    distance = torch.where(z <= KNEE, 0.5 * z**2, KNEE * z - 0.5 * KNEE**2)
    beyond = (log_variance.abs() - WIDEST).clamp(min=0.0)
    return distance + deviation.log() + BOUND_COST * beyond**2


@dataclass(frozen=True)
class JudgedForecasts:
    """Steps that were forecast, M of them: what came minus the mean, and the forecast's deviation, (M, n) each."""

    errors: Float64s
    deviations: Float64s

    def z(self, least: Float64s, factor: Float64s | float = 1.0) -> Float64s:
        """The errors in standard deviations, all of which are multiplied by a factor, and then at least ``least``."""
        found: Float64s = self.errors / np.maximum(self.deviations * factor, least)
        return found

    def loss(self, least: Float64s, factor: Float64s | float = 1.0) -> Float64s:
        """The negative log-likelihood (M, n) without its constant; one step counts at most as the score lets it."""
        squared = np.minimum(self.z(least, factor) ** 2, MOST_SQUARED)
        found: Float64s = 0.5 * squared + np.log(np.maximum(self.deviations * factor, least))
        return found


def calibration(forecasts: JudgedForecasts, least: Float64s) -> Float64s:
    """The factor (n,) of the deviations with which the squares of z have the mean 1, so that the score is 0 on average.

    It lies within `MOST_FACTOR`; squares count up to `MOST_SQUARED`.
    """
    low = np.full(least.size, -math.log(MOST_FACTOR))
    high = -low
    for _ in range(40):
        middle = (low + high) / 2
        mean = np.minimum(forecasts.z(least, np.exp(middle)) ** 2, MOST_SQUARED).mean(axis=0)
        low, high = np.where(mean > 1.0, middle, low), np.where(mean > 1.0, high, middle)
    found: Float64s = np.exp((low + high) / 2)
    return np.where(forecasts.z(least, 1.0 / MOST_FACTOR).std(axis=0) < FLOORED, 1.0, found)
