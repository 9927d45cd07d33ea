"""The load of a pump, as its operators set it: steps between levels, and stops now and then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from core.arrays import Float64s

LEVELS = (0.55, 1.0)
HOLD_S, SHORTEST_HOLD_S = 2.5 * 3600, 1200.0
STOP_CHANCE, STOP_S = 0.06, (1800.0, 5400.0)
SLOPE, STOP_SLOPE = 5e-4, 1e-3
"""The drive's ramps, in parts of the rated speed per second: between levels, and to and from standstill."""


@dataclass(frozen=True)
class Load:
    """A load profile: ``speed`` (T,) as a part of the rated one, and the spans in samples of its stops, with ramps."""

    speed: Float64s
    stops: list[tuple[int, int]]


def draw_load(source: Generator, samples: int, period_s: float) -> Load:
    """A profile of ``samples`` samples; that of fewer samples is its beginning."""
    times, levels = [0.0], [float(source.uniform(*LEVELS))]
    stops = []
    while times[-1] < samples * period_s:
        times.append(times[-1] + SHORTEST_HOLD_S + float(source.exponential(HOLD_S)))
        levels.append(levels[-1])
        stopped = bool(source.random() < STOP_CHANCE)
        stay, level = float(source.uniform(*STOP_S)), float(source.uniform(*LEVELS))
        begin = times[-1]
        if stopped:
            _ramp(times, levels, 0.0, STOP_SLOPE)
            times.append(times[-1] + stay)
            levels.append(0.0)
        _ramp(times, levels, level, STOP_SLOPE if stopped else SLOPE)
        if stopped:
            stops.append((int(begin / period_s), int(times[-1] / period_s) + 1))
    return Load(np.interp(np.arange(samples) * period_s, times, levels), stops)


def _ramp(times: list[float], levels: list[float], to: float, slope: float) -> None:
    times.append(times[-1] + abs(to - levels[-1]) / slope)
    levels.append(to)
