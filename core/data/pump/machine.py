"""The pump's normal behaviour: a linear Gaussian state space, given the load.

A sample is ``mean + scale * (C x) + noise``: the mean follows from the load, the time of day and the wear, the hidden
state x goes on by ``x' = A x + w``, and the noise of a sensor is white. So the likelihood of any recording is known.
The mean, the scale and the noise follow the load one sample late: who reads the set point can know them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from core.arrays import Float64s

RATED_RPM = 2950.0
DAY_S = 86400.0


@dataclass(frozen=True)
class Channel:
    """One sensor: its unit, the range of its instrument, and its noise at rated speed and at standstill."""

    name: str
    unit: str
    lowest: float
    highest: float
    noise: float
    noise_at_rest: float


CHANNELS = (
    Channel("set_speed", "rpm", -50.0, 3300.0, 6.0, 6.0),
    Channel("speed", "rpm", -50.0, 3300.0, 5.0, 3.0),
    Channel("flow", "m3/h", -20.0, 300.0, 0.9, 0.3),
    Channel("suction_pressure", "bar", -1.0, 6.0, 0.012, 0.008),
    Channel("discharge_pressure", "bar", -1.0, 16.0, 0.05, 0.02),
    Channel("motor_current", "A", -10.0, 250.0, 0.8, 0.2),
    Channel("motor_power", "kW", -10.0, 150.0, 0.5, 0.1),
    Channel("motor_temperature", "°C", -20.0, 180.0, 0.25, 0.25),
    Channel("bearing_de_temperature", "°C", -20.0, 150.0, 0.15, 0.15),
    Channel("bearing_nde_temperature", "°C", -20.0, 150.0, 0.15, 0.15),
    Channel("vibration_de", "mm/s", 0.0, 25.0, 0.09, 0.01),
    Channel("vibration_nde", "mm/s", 0.0, 25.0, 0.08, 0.01),
)
NAMES = tuple(channel.name for channel in CHANNELS)
LOWEST = np.array([channel.lowest for channel in CHANNELS])
HIGHEST = np.array([channel.highest for channel in CHANNELS])
NOISE = np.array([channel.noise for channel in CHANNELS])
NOISE_AT_REST = np.array([channel.noise_at_rest for channel in CHANNELS])

# The hidden state: each part has a time constant in s, and a std of its own where something random drives it.
STATES = {
    "demand": (300.0, 1.0),
    "level": (3600.0, 1.0),
    "voltage": (600.0, 1.0),
    "ambient": (6 * 3600.0, 1.5),
    "motor_heat": (1800.0, 0.3),
    "heat_de": (900.0, 0.2),
    "heat_nde": (1100.0, 0.2),
    "shaft": (1200.0, 0.12),
    "play_de": (400.0, 0.07),
    "play_nde": (400.0, 0.06),
    "wear": (30 * DAY_S, 0.5),
}
_PLACE = {name: place for place, name in enumerate(STATES)}
# The parts that follow others: what heats a motor or a bearing, in °C per unit.
_DRIVEN = {
    "motor_heat": {"ambient": 1.0, "demand": 1.5, "voltage": -0.8},
    "heat_de": {"ambient": 0.9, "motor_heat": 0.2, "play_de": 8.0, "shaft": 3.0},
    "heat_nde": {"ambient": 0.9, "motor_heat": 0.1, "play_nde": 8.0, "shaft": 2.0},
}
# How the hidden state shows in the channels at rated speed, in the channel's unit.
_SHOWN = {
    "speed": {"demand": -2.0, "voltage": 2.0},
    "flow": {"demand": 2.2, "level": 0.6, "wear": -2.0},
    "suction_pressure": {"demand": -0.015, "level": 0.05},
    "discharge_pressure": {"demand": -0.09, "level": 0.05, "wear": -0.08},
    "motor_current": {"demand": 1.3, "voltage": -1.6, "wear": 0.8},
    "motor_power": {"demand": 0.9, "wear": 0.5},
    "motor_temperature": {"motor_heat": 1.0},
    "bearing_de_temperature": {"heat_de": 1.0},
    "bearing_nde_temperature": {"heat_nde": 1.0},
    "vibration_de": {"shaft": 1.0, "play_de": 1.0, "wear": 0.06, "demand": 0.02},
    "vibration_nde": {"shaft": 0.8, "play_nde": 1.0, "wear": 0.04, "demand": 0.02},
}
# The time constants in s with which a channel's mean follows the load.
_LAG_S = np.array([0.0, 20.0, 30.0, 25.0, 25.0, 15.0, 15.0, 1800.0, 900.0, 1100.0, 20.0, 20.0])
_ALWAYS = np.array([name.endswith("_temperature") for name in NAMES])
_WEAR_PER_DAY = 0.02
_AMBIENT_C, _DAY_SWING_C = 22.0, 6.0
_SPREAD = 0.02


@dataclass(frozen=True)
class Machine:
    """One pump at one sampling rate.

    ``transition`` (n, n) and ``drive`` (n,), the std of what drives each part, say how the hidden state goes on;
    ``shown`` (12, n) how it shows; ``gains`` (12,) tell this pump from others; ``phase`` is that of its day.
    """

    period_s: float
    transition: Float64s
    drive: Float64s
    shown: Float64s
    gains: Float64s
    phase: float

    def mean(self, speed: Float64s) -> Float64s:
        """The channels without anything random, (T, 12), by the load (T,)."""
        means = _lagged(_steady(_late(speed)) * self.gains, self.period_s)
        means[:, 0] = speed * RATED_RPM
        days = np.arange(len(speed)) * self.period_s / DAY_S
        ambient = _AMBIENT_C + _DAY_SWING_C * np.sin(2 * np.pi * days + self.phase)
        means[:, _ALWAYS] += ambient[:, None]
        return means + self.scale(speed) * (_WEAR_PER_DAY * days[:, None] * self.shown[:, _PLACE["wear"]])

    def scale(self, speed: Float64s) -> Float64s:
        """The share of the hidden state in each channel, (T, 12): little at low speed, but for temperatures."""
        share: Float64s = np.where(_ALWAYS, 1.0, (_late(speed) ** 2)[:, None])
        return share

    def noise(self, speed: Float64s) -> Float64s:
        """The std of each sensor's noise, (T, 12)."""
        spread: Float64s = NOISE_AT_REST + (NOISE - NOISE_AT_REST) * (_late(speed) ** 2)[:, None]
        return spread

    def settled(self) -> Float64s:
        """The covariance (n, n) of the hidden state of a pump that has run for long."""
        covariance: Float64s = np.diag(self.drive**2)
        step = self.transition
        for _ in range(60):  # doubles the time that is summed over
            covariance, step = covariance + step @ covariance @ step.T, step @ step
        return covariance


def draw_machine(source: Generator, period_s: float) -> Machine:
    """A pump like others, up to a few percent."""
    transition, drive = _dynamics(period_s)
    shown = np.zeros((len(NAMES), len(STATES)))
    for channel, parts in _SHOWN.items():
        for state, size in parts.items():
            shown[NAMES.index(channel), _PLACE[state]] = size
    gains = 1.0 + _SPREAD * source.standard_normal(len(NAMES))
    return Machine(period_s, transition, drive, shown, gains, float(source.uniform(0.0, 2 * np.pi)))


def simulate(source: Generator, machine: Machine, speed: Float64s) -> Float64s:
    """The readings of a healthy pump, (T, 12), in float64 and not cut to the instruments' ranges."""
    state = np.linalg.cholesky(machine.settled()) @ source.standard_normal(len(STATES))
    driven, noise = np.split(source.standard_normal((len(speed), len(STATES) + len(NAMES))), [len(STATES)], axis=1)
    states = np.empty((len(speed), len(STATES)))
    for step, push in enumerate(driven * machine.drive):
        states[step] = state
        state = machine.transition @ state + push
    return machine.mean(speed) + machine.scale(speed) * (states @ machine.shown.T) + machine.noise(speed) * noise


def _dynamics(period_s: float) -> tuple[Float64s, Float64s]:
    constants, spreads = np.array(list(STATES.values())).T
    kept = np.exp(-period_s / constants)
    transition = np.diag(kept)
    for state, parts in _DRIVEN.items():
        for other, size in parts.items():
            transition[_PLACE[state], _PLACE[other]] = (1 - kept[_PLACE[state]]) * size
    return transition, spreads * np.sqrt(1 - kept**2)


def _late(speed: Float64s) -> Float64s:
    """The load one sample before."""
    return np.concatenate([speed[:1], speed[:-1]])


def _steady(speed: Float64s) -> Float64s:
    """The channels' means at a load that does not change, (T, 12), without the ambient temperature."""
    power = 3.0 * speed + 70.0 * speed**3
    return np.stack(
        [
            speed * RATED_RPM,
            speed * RATED_RPM * 0.997,
            180.0 * speed,
            1.9 - 0.5 * speed**2,
            1.9 + 6.2 * speed**2,
            25.0 * speed + 105.0 * speed**3,
            power,
            0.75 * power,
            30.0 * speed**1.5,
            26.0 * speed**1.5,
            0.15 + 1.5 * speed**2 + _resonance(speed, 0.72, 0.7),
            0.12 + 1.2 * speed**2 + _resonance(speed, 0.83, 0.5),
        ],
        axis=1,
    )


def _resonance(speed: Float64s, at: float, height: float) -> Float64s:
    bump: Float64s = height * np.exp(-(((speed - at) / 0.05) ** 2))
    return bump


def _lagged(steady: Float64s, period_s: float) -> Float64s:
    """Follow ``steady`` (T, 12), each channel with its own time constant."""
    kept = np.where(_LAG_S > 0, np.exp(-period_s / np.maximum(_LAG_S, 1e-9)), 0.0)
    followed = np.empty_like(steady)
    now = steady[0]
    for step, target in enumerate(steady):
        now = kept * now + (1 - kept) * target
        followed[step] = now
    return followed
