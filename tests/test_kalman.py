"""The Kalman filter: exact against least squares over all samples seen, and better than nothing from the first on."""

import numpy as np
import pytest

from core.data.signals import draw_signals
from core.training.kalman import Mixture, gains, kalman


def least_squares(mixture: Mixture, signal: np.ndarray) -> np.ndarray:
    """The component at the last sample, (K,), by ridge regression on all samples: the slow, obvious version."""
    steps = np.arange(len(signal)) / mixture.sampling_rate_hz
    angles = 2 * np.pi * np.outer(steps, mixture.frequencies_hz)  # (T, K)
    design = np.concatenate([np.sin(angles), np.cos(angles)], axis=1) / len(mixture.frequencies_hz)
    prior = np.eye(design.shape[1]) * mixture.noise_std**2 / mixture.prior_variance
    found = np.linalg.solve(design.T @ design + prior, design.T @ signal)
    return (found * design[-1] * len(mixture.frequencies_hz)).reshape(2, -1).sum(axis=0)


@pytest.mark.parametrize("steps", [1, 7, 300, 2000])
def test_the_filter_equals_least_squares_over_all_samples_so_far(steps):
    mixture = Mixture()
    signals = draw_signals(seed=3, first=0, count=2, steps=steps).mixed

    found = kalman(mixture, signals)

    for row in range(2):
        np.testing.assert_allclose(found[row, -1], least_squares(mixture, signals[row]), atol=1e-6)


def test_other_frequencies_rates_and_noise_are_taken_from_the_mixture():
    mixture = Mixture((2.0, 11.0), sampling_rate_hz=200.0, noise_std=0.5, amplitudes=(1.0, 3.0))
    signal = np.random.default_rng(1).standard_normal(400)

    np.testing.assert_allclose(kalman(mixture, signal[None])[0, -1], least_squares(mixture, signal), atol=1e-6)


def test_gains_fall_for_ever_without_drift_and_level_off_with_it():
    free, held = (np.abs(gains(Mixture(), 8000, drift)).max(axis=1) for drift in (0.0, 1e-6))

    assert free[-1] < 0.3 * free[2000]
    assert held[-1] > 0.9 * held[2000]


def test_gains_are_computed_once_for_all_samples():
    assert gains(Mixture(), 50) is gains(Mixture(), 50)
    with pytest.raises(ValueError, match="read-only"):
        gains(Mixture(), 50)[0, 0] = 1.0


def test_the_prior_is_half_the_mean_square_of_the_amplitude():
    drawn = draw_signals(seed=5, first=0, count=4000, steps=1)

    assert Mixture().prior_variance == pytest.approx(np.mean(drawn.amplitudes**2) / 2, rel=0.02)
