"""The band-pass: exact at its frequency, causal, and as wide as is best on samples that no figure is measured on."""

import numpy as np
import pytest

from core.data.signals import draw_signals
from core.training.bandpass import BANDWIDTH_HZ, bandpass
from core.training.kalman import Mixture


def test_it_has_gain_one_and_phase_zero_at_its_frequency():
    seconds = np.arange(20_000) / 1000.0
    wave = np.sin(2 * np.pi * 5.0 * seconds + 0.4)

    found = bandpass(Mixture(), wave[None] / 4.0, np.array([2]))

    np.testing.assert_allclose(found[0, 15_000:], wave[15_000:], atol=1e-3)


def test_each_row_has_the_filter_of_its_own_frequency():
    block = draw_signals(seed=1, first=0, count=6, steps=500)
    found = bandpass(Mixture(), block.mixed, block.selected)

    for row in range(6):
        alone = bandpass(Mixture(), block.mixed[row : row + 1], block.selected[row : row + 1])
        np.testing.assert_array_equal(found[row], alone[0])


def test_it_knows_nothing_of_the_samples_to_come():
    signal = np.random.default_rng(2).standard_normal((1, 400))
    other = signal.copy()
    other[0, 250:] += 1.0
    whole, changed = (bandpass(Mixture(), each, np.array([1])) for each in (signal, other))

    np.testing.assert_array_equal(whole[0, :250], changed[0, :250])
    assert not np.array_equal(whole[0, 250:], changed[0, 250:])


def test_frequencies_and_rate_are_those_of_the_mixture():
    mixture = Mixture((2.0, 11.0, 20.0), sampling_rate_hz=200.0)
    wave = np.cos(2 * np.pi * 11.0 * np.arange(4000) / 200.0)

    found = bandpass(mixture, wave[None] / 3.0, np.array([1]))

    np.testing.assert_allclose(found[0, 3000:], wave[3000:], atol=1e-3)


@pytest.mark.parametrize("other", [0.2, 0.5, 1.0])
def test_its_width_is_the_best_on_other_samples(other):
    block = draw_signals(seed=501, first=0, count=16, steps=10_000)

    def error(bandwidth):
        found = bandpass(Mixture(), block.mixed, block.selected, bandwidth)
        return np.mean((found[:, 1000:] - block.target[:, 1000:]) ** 2)

    assert error(BANDWIDTH_HZ) < error(other)
