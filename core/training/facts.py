"""Facts about the mixtures of a signals file, from its own metadata, for the filter that knows them."""

from __future__ import annotations

import math
from typing import Any

from core.data.recording import Recording
from core.data.signals import AMPLITUDES, FREQUENCIES_HZ, NOISE_STD
from core.errors import DataError
from core.training.kalman import Mixture

# Noise in parts of the highest amplitude, at least: a filter that is told of none at all ends in 0 / 0.
LEAST_NOISE = 1e-3


def mixture_of(file: Recording) -> Mixture:
    """Frequencies, rate, noise and amplitudes of an open signals file.

    They come from ``data`` in its ``config``, the frequencies else from its ``metadata``; what neither says is as in
    generated files. Signals without noise have LEAST_NOISE.

    Raises:
        DataError: numbers that cannot be used, or not one frequency for each condition.
    """
    try:
        told = file.json("config")
        data = told.get("data") or {} if isinstance(told, dict) else {}
        frequencies = data.get("frequencies") or _frequencies(file.json("metadata")) or FREQUENCIES_HZ
        low, high = data.get("amplitude_range") or AMPLITUDES
        noise = data.get("noise_std")
        mixture = Mixture(
            tuple(float(frequency) for frequency in frequencies),
            file.rate_hz,
            NOISE_STD if noise is None else max(_noise(noise), LEAST_NOISE * float(high)),
            (float(low), float(high)),
        )
        _check(mixture)
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(file.filename, f"its data section cannot be used: {error}", "config") from error
    conditions = file["condition_vectors"].shape[1]
    if len(mixture.frequencies_hz) != conditions:
        raise DataError(
            file.filename, f"names {len(mixture.frequencies_hz)} frequencies for {conditions} conditions", "config"
        )
    return mixture


def _check(mixture: Mixture) -> None:
    """Raises: ValueError: what no filter can be made for."""
    highest = mixture.sampling_rate_hz / 2.0
    for frequency in mixture.frequencies_hz:
        if not 0.0 < frequency < highest:
            raise ValueError(f"frequency {frequency:g} Hz must be above 0 and below {highest:g}, half the rate")
    low, high = mixture.amplitudes
    if not 0.0 <= low <= high < math.inf or high == 0.0:
        raise ValueError(f"amplitude_range {low:g} to {high:g} must rise from 0 or more")


def _noise(told: Any) -> float:
    """Raises: TypeError, ValueError: no finite number from 0."""
    noise = float(told)
    if not 0.0 <= noise < math.inf:
        raise ValueError(f"noise_std {noise:g} must be 0 or more")
    return noise


def _frequencies(metadata: Any) -> list[float] | None:
    """Read the frequencies from the metadata: an object with ``frequencies``, or one object per sample.

    Few samples may not name each frequency; where those named are the generated ones, nothing else is said.
    """
    if isinstance(metadata, dict):
        return metadata.get("frequencies")
    if not isinstance(metadata, list):
        return None
    named = [one for one in metadata if {"target_frequency_idx", "target_frequency"} <= one.keys()]
    found = {one["target_frequency_idx"]: one["target_frequency"] for one in named}
    if found.items() <= dict(enumerate(FREQUENCIES_HZ)).items():
        return None
    return [found[index] for index in sorted(found)]
