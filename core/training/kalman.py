"""The Kalman filter that knows the frequencies and the noise: the best that any causal linear estimator can do.

Each sinusoid of known frequency is a point that turns by a fixed angle per step; a mixture is observed with white
noise, so that the filter is exact for the second moments (Kalman 1960). Its gains depend on time alone, not on data:
they are computed once and serve every sample.

Shapes: N samples, T steps, K frequencies, S = 2K numbers of state: u_0, v_0, u_1, v_1, ... with component k = u_k.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float64s
from core.data.signals import AMPLITUDES, FREQUENCIES_HZ, NOISE_STD, SAMPLING_RATE_HZ


@dataclass(frozen=True)
class Mixture:
    """The facts about a mixture: S(t) is the mean of A sin(2 pi f t + phi) over ``frequencies_hz``, plus noise.

    ``amplitudes`` is the range that A is uniform in; phases are uniform.
    """

    frequencies_hz: tuple[float, ...] = FREQUENCIES_HZ
    sampling_rate_hz: float = SAMPLING_RATE_HZ
    noise_std: float = NOISE_STD
    amplitudes: tuple[float, float] = AMPLITUDES

    @property
    def rotation(self) -> Float64s:
        """(S, S): the state one step later."""
        angles = 2.0 * np.pi * np.array(self.frequencies_hz) / self.sampling_rate_hz
        rotation = np.zeros((2 * len(angles), 2 * len(angles)))
        for k, angle in enumerate(angles):
            block = slice(2 * k, 2 * k + 2)
            rotation[block, block] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return rotation

    @property
    def observed(self) -> Float64s:
        """(S,): what of the state is seen without noise, the mean of all components."""
        row = np.zeros(2 * len(self.frequencies_hz))
        row[::2] = 1.0 / len(self.frequencies_hz)
        return row

    @property
    def prior_variance(self) -> float:
        """The variance of each number of the state before the first sample: half the mean square of the amplitude."""
        low, high = self.amplitudes
        return (low**2 + low * high + high**2) / 6.0


@lru_cache(maxsize=2)
def gains(mixture: Mixture, steps: int, drift: float = 0.0) -> Float64s:
    """The filter's gain at each step, (T, S): corrected state = predicted state + gain x innovation.

    Args:
        mixture: what the filter knows.
        steps: T.
        drift: variance that each number of the state is assumed to gain per step. With 0 the gains fall as 1/t for
            ever; above it they level off, and the filter follows signals whose amplitude and phase wander.

    Returns:
        The same array each time, read-only.
    """
    rotation, observed = mixture.rotation, mixture.observed
    covariance = np.eye(len(observed)) * mixture.prior_variance
    found = np.empty((steps, len(observed)))
    for step in range(steps):
        seen = covariance @ observed
        gain = seen / (observed @ seen + mixture.noise_std**2)
        found[step] = gain
        corrected = covariance - np.outer(gain, seen)
        covariance = rotation @ (0.5 * (corrected + corrected.T)) @ rotation.T + drift * np.eye(len(observed))
    found.flags.writeable = False
    return found


def kalman(mixture: Mixture, signals: NDArray[np.floating]) -> Float64s:
    """Estimate all components of mixtures by a filter, sample by sample: (N, T) to (N, T, K)."""
    count, steps = signals.shape
    rotation, observed, gain = mixture.rotation, mixture.observed, gains(mixture, steps)
    state = np.zeros((count, len(observed)))
    found = np.empty((count, steps, len(mixture.frequencies_hz)))
    for step in range(steps):
        state = state @ rotation.T
        innovation = signals[:, step] - state @ observed
        state += innovation[:, None] * gain[step]
        found[:, step] = state[:, ::2]
    return found
