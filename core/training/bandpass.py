"""A plain causal band-pass around the frequency asked for: what an engineer would put there without a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float64s
from core.training.extras import require
from core.training.kalman import Mixture

# The width at -3 dB with the lowest error after the first second on 64 generated samples (seed 501), of 0.1, 0.15, 0.2,
# 0.25, 0.3, 0.5, 0.75, 1, 1.5 and 2 Hz.
BANDWIDTH_HZ = 0.3


def bandpass(
    mixture: Mixture, signals: NDArray[Any], selected: NDArray[np.integer[Any]], bandwidth_hz: float = BANDWIDTH_HZ
) -> Float64s:
    """A resonator of second order with gain 1 and phase 0 at the frequency of each row.

    Args:
        mixture: frequencies and rate.
        signals: (N, T).
        selected: (N,), the index of each row's frequency.
        bandwidth_hz: width of the pass band at -3 dB.

    Returns:
        (N, T), scaled as the component is: the mixture is a mean over all.
    """
    filters = require("scipy.signal")
    found = np.empty(signals.shape)
    for index, frequency in enumerate(mixture.frequencies_hz):
        rows = np.flatnonzero(selected == index)
        if len(rows):
            b, a = filters.iirpeak(frequency, frequency / bandwidth_hz, fs=mixture.sampling_rate_hz)
            found[rows] = len(mixture.frequencies_hz) * filters.lfilter(b, a, signals[rows], axis=1)
    return found
