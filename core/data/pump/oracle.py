"""The best possible score: how unlikely a recording is for those who know the pump's true model.

A Kalman filter with the true parameters and the true load forecasts every sample. Its innovations, made independent and
scaled to a std of 1, are averaged as the ``likelihood_ratio`` of a task averages those of a trained model. It knows
everything about normal, and nothing about faults.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from core.arrays import Float64s
from core.data.pump.machine import Machine

HORIZON = 30
MOST_SQUARED = 100.0
"""One value counts for no more than ten standard deviations."""


def oracle_score(machine: Machine, speed: Float64s, readings: Float64s, horizon: int = HORIZON) -> Float64s:
    """The score of each sample, (T,), in nats per step and channel: about 0 where the pump is healthy."""
    excess = (np.minimum(innovations(machine, speed, readings) ** 2, MOST_SQUARED) - 1.0) / 2.0
    return running_average(excess.mean(axis=1), horizon)


def innovations(machine: Machine, speed: Float64s, readings: Float64s) -> Float64s:
    """The part of each sample that no forecast could know, (T, 12): independent, mean 0, std 1 where it is healthy."""
    found = np.empty_like(readings)
    state, covariance = np.zeros(len(machine.drive)), machine.settled()
    drive = np.diag(machine.drive**2)
    centred, scale, noise = readings - machine.mean(speed), machine.scale(speed), machine.noise(speed)
    for step in range(len(readings)):
        shown = scale[step][:, None] * machine.shown
        spread = covariance @ shown.T
        whiten = np.linalg.inv(np.linalg.cholesky(shown @ spread + np.diag(noise[step] ** 2)))
        found[step] = whiten @ (centred[step] - shown @ state)
        gain = spread @ whiten.T
        state = machine.transition @ (state + gain @ found[step])
        covariance = machine.transition @ (covariance - gain @ gain.T) @ machine.transition.T + drive
    return found


def running_average(values: Float64s, horizon: int) -> Float64s:
    """The average over about the last ``horizon`` values: exact over the first ones, then exponential."""
    return np.fromiter(_averages(values, horizon), np.float64, len(values))


def _averages(values: Float64s, horizon: int) -> Iterator[float]:
    average = 0.0
    for count, value in enumerate(values.tolist(), 1):
        average += (value - average) / min(count, horizon)
        yield average
