"""Faults of a pump and of its sensors: when they are, and what they change.

A fault changes the readings of its samples alone, from ``begin`` to before ``end``; process faults ease out within
them. Its severity is drawn, so that some are plain and some are hardly more than the noise: it is the largest change
of a channel, in standard deviations of that channel's noise at rated speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from core.arrays import Float64s
from core.data.pump.load import Load
from core.data.pump.machine import NAMES, NOISE

CAUSES = (
    "none",
    "bearing_fault",
    "stuck_sensor",
    "noisy_sensor",
    "offset_sensor",
    "drifting_sensor",
    "cavitation",
    "imbalance",
    "blocked_suction",
)
# Shortest and longest, in hours, and the range of severities.
_HOURS = {
    "bearing_fault": (3.0, 8.0),
    "stuck_sensor": (0.4, 2.0),
    "noisy_sensor": (0.3, 1.5),
    "offset_sensor": (0.3, 2.0),
    "drifting_sensor": (1.0, 4.0),
    "cavitation": (0.2, 1.5),
    "imbalance": (0.5, 3.0),
    "blocked_suction": (0.3, 2.0),
}
_SEVERITY = {
    "bearing_fault": (4.0, 40.0),
    "stuck_sensor": (1.0, 1.0),
    "noisy_sensor": (1.5, 8.0),
    "offset_sensor": (2.0, 20.0),
    "drifting_sensor": (4.0, 60.0),
    "cavitation": (2.0, 12.0),
    "imbalance": (3.0, 50.0),
    "blocked_suction": (3.0, 60.0),
}
FIRST_S, SHORTEST_GAP_S, GAP_S = 3 * 3600.0, 3 * 3600.0, 6 * 3600.0
_FIRST_SENSOR = 1
"""The set point comes from the control system, and does not fail."""


@dataclass(frozen=True)
class Fault:
    """One fault: the samples ``[begin, end)`` of its stream, the channel where it is largest, and how large it is.

    The severity of a stuck sensor has no size: it is 1.
    """

    cause: str
    channel: str
    begin: int
    end: int
    severity: float


def draw_faults(source: Generator, load: Load, period_s: float) -> list[Fault]:
    """Faults of a load profile, in order, each of them while the pump runs; all causes come before one comes again."""
    samples, faults = len(load.speed), list[Fault]()
    earliest, waiting = FIRST_S / period_s, list[str]()
    while True:
        waiting = waiting or [CAUSES[1:][place] for place in source.permutation(len(CAUSES) - 1)]
        cause = waiting.pop()
        steps = max(3, round(float(source.uniform(*_HOURS[cause])) * 3600 / period_s))
        begin = _running(load.stops, round(earliest + float(source.exponential(GAP_S)) / period_s), steps)
        severity = float(np.exp(source.uniform(*np.log(_SEVERITY[cause]))))
        channel = _channel(source, cause)
        if begin + steps > samples:
            return faults
        faults.append(Fault(cause, channel, begin, begin + steps, round(severity, 3)))
        earliest = begin + steps + SHORTEST_GAP_S / period_s


def apply_faults(source: Generator, readings: Float64s, load: Load, faults: Sequence[Fault]) -> Float64s:
    """Readings (T, 12) of a healthy pump with these faults; what is outside of them does not change."""
    changed = readings.copy()
    for fault in faults:
        span = slice(fault.begin, fault.end)
        before = readings[fault.begin - 1]
        changed[span] = _EFFECTS[fault.cause](source, readings[span], before, load.speed[span], fault)
    return changed


def truth(faults: Sequence[Fault], samples: int) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """The number in CAUSES of each sample's cause, (T,)."""
    causes = np.zeros(samples, np.int8)
    for fault in faults:
        causes[fault.begin : fault.end] = CAUSES.index(fault.cause)
    return causes


def _running(stops: Sequence[tuple[int, int]], begin: int, steps: int) -> int:
    """The first sample from ``begin`` on after which the pump runs for so many steps."""
    for first, last in stops:
        if begin < last and first < begin + steps:
            begin = last
    return begin


def _channel(source: Generator, cause: str) -> str:
    sensor = NAMES[int(source.integers(_FIRST_SENSOR, len(NAMES)))]
    bearing = ("vibration_de", "vibration_nde")[int(source.integers(2))]
    fixed = {"bearing_fault": bearing, "imbalance": "vibration_de", "cavitation": "vibration_nde"}
    return fixed.get(cause) or ("suction_pressure" if cause == "blocked_suction" else sensor)


def _stuck(_: Generator, healthy: Float64s, before: Float64s, __: Float64s, fault: Fault) -> Float64s:
    changed, place = healthy.copy(), NAMES.index(fault.channel)
    changed[:, place] = before[place]
    return changed


def _noisy(source: Generator, healthy: Float64s, _: Float64s, __: Float64s, fault: Fault) -> Float64s:
    return healthy + _in_channels(fault.severity * source.standard_normal(len(healthy)), {fault.channel: 1.0})


def _offset(source: Generator, healthy: Float64s, _: Float64s, __: Float64s, fault: Fault) -> Float64s:
    sign = source.choice([-1.0, 1.0])
    return healthy + _in_channels(np.full(len(healthy), sign * fault.severity), {fault.channel: 1.0})


def _drifting(source: Generator, healthy: Float64s, _: Float64s, __: Float64s, fault: Fault) -> Float64s:
    sign = source.choice([-1.0, 1.0])
    return healthy + _in_channels(sign * fault.severity * _rise(len(healthy), 1.0), {fault.channel: 1.0})


def _bearing(source: Generator, healthy: Float64s, _: Float64s, speed: Float64s, fault: Fault) -> Float64s:
    """Vibration that grows ever faster, unsteady, and the bearing's temperature after it."""
    grown = np.expm1(3.0 * _rise(len(healthy), 0.9)) / np.expm1(3.0) * _fall(len(healthy), 0.95)
    unsteady = grown * (1.0 + 0.3 * source.standard_normal(len(healthy)))
    temperature = fault.channel.replace("vibration", "bearing") + "_temperature"
    vibration = _in_channels(fault.severity * unsteady * speed, {fault.channel: 1.0, _other(fault.channel): 0.2})
    return healthy + vibration + _in_channels(fault.severity * grown, {temperature: 1.0})


def _imbalance(_: Generator, healthy: Float64s, __: Float64s, speed: Float64s, fault: Fault) -> Float64s:
    """Vibration of both bearings by the square of the speed."""
    shape = fault.severity * speed**2 * _rise(len(healthy), 0.05) * _fall(len(healthy), 0.95)
    return healthy + _in_channels(shape, {"vibration_de": 1.0, "vibration_nde": 0.8, "motor_power": 0.1})


def _cavitation(source: Generator, healthy: Float64s, _: Float64s, speed: Float64s, fault: Fault) -> Float64s:
    """Bursts of vibration, an unsteady and smaller flow, less head and less current."""
    shape = fault.severity * speed**2 * _rise(len(healthy), 0.1) * _fall(len(healthy), 0.9)
    bursts = np.abs(source.standard_normal(len(healthy)))
    unsteady = 1.0 + 0.7 * source.standard_normal(len(healthy))
    vibration = _in_channels(shape * bursts, {"vibration_nde": 1.0, "vibration_de": 0.6})
    flow = _in_channels(shape * unsteady, {"flow": -0.4, "discharge_pressure": -0.3, "motor_current": -0.15})
    return healthy + vibration + flow


def _blocked(_: Generator, healthy: Float64s, __: Float64s, speed: Float64s, fault: Fault) -> Float64s:
    """Less pressure at the suction side, and with it less of all that the flow makes."""
    shape = fault.severity * speed**2 * _rise(len(healthy), 0.4) * _fall(len(healthy), 0.9)
    parts = {"suction_pressure": -1.0, "flow": -0.6, "discharge_pressure": -0.3, "motor_current": -0.3}
    return healthy + _in_channels(shape, parts | {"motor_power": -0.3})


def _in_channels(shape: Float64s, parts: dict[str, float]) -> Float64s:
    """A change (T, 12): of each channel so many of its standard deviations."""
    change = np.zeros((len(shape), len(NAMES)))
    for name, size in parts.items():
        change[:, NAMES.index(name)] = size * NOISE[NAMES.index(name)] * shape
    return change


def _rise(steps: int, part: float) -> Float64s:
    """From near 0 to 1 in the first part, then 1, (T,)."""
    return np.minimum(np.arange(1, steps + 1) / (part * steps), 1.0)


def _fall(steps: int, part: float) -> Float64s:
    """1, and after that part down to near 0, (T,)."""
    return np.minimum(np.arange(steps, 0, -1) / ((1 - part) * steps), 1.0)


def _other(channel: str) -> str:
    return {"vibration_de": "vibration_nde", "vibration_nde": "vibration_de"}[channel]


_EFFECTS: dict[str, Callable[[Generator, Float64s, Float64s, Float64s, Fault], Float64s]] = {
    "bearing_fault": _bearing,
    "stuck_sensor": _stuck,
    "noisy_sensor": _noisy,
    "offset_sensor": _offset,
    "drifting_sensor": _drifting,
    "cavitation": _cavitation,
    "imbalance": _imbalance,
    "blocked_suction": _blocked,
}
