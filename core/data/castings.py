"""Synthetic continuous casting: five sensors at 1 Hz, and defects that follow from what the process really did.

A cast is drawn in two layers. The undisturbed process has an operating point, manoeuvres without consequence, and
events that come near one of three limits or cross it; from it alone the defect probability follows, and the label is
drawn with that probability. The sensors then see it through drift, noise and values held over where one was missing.
So the recorded probability bounds what any model of the sensors can reach.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from core.arrays import Float32s, Float64s, Int64s
from core.callbacks import OnCount, unheard
from core.data.layout import require_counts
from core.data.outputs import create_file, write_text
from core.wire.records import SENSORS

SPEED, TEMPERATURE, LEVEL, FLOW, SUPERHEAT = range(5)
# In the order of SENSORS: m/min, °C, mm, L/min, °C.
LOWEST = np.array([0.8, 1480.0, 120.0, 150.0, 15.0])
HIGHEST = np.array([1.8, 1580.0, 180.0, 250.0, 40.0])
NOMINAL = np.array([1.2, 1520.0, 150.0, 200.0, 25.0])
NOISE_STD = np.array([0.05, 10.0, 5.0, 15.0, 3.0])
# Between casts the operating point moves by this much; from a cast's start to its end a sensor drifts by that much.
OPERATING_STD = np.array([0.04, 6.0, 1.5, 8.0, 1.0])
DRIFT_STD = np.array([0.02, 3.0, 1.5, 6.0, 0.8])
# The part of the noise variance that is slow (a moving average over about 15 s), which averaging does not remove.
SLOW_SHARE, SLOW_STEPS = 0.3, 15
HOLD_RATE, HOLD_STEPS, FREEZE_CHANCE, FREEZE_STEPS = 0.004, (1, 8), 0.03, (15, 40)

LEVEL_BAND, LEVEL_LIMIT_S = (130.0, 170.0), 30.0
DROP_LIMIT_C, DROP_WITHIN_S = 50.0, 60
HIGH_SPEED, LOW_SUPERHEAT, JOINT_LIMIT_S = 1.45, 20.0, 20.0
CAUSES = ("mold_level", "mold_temperature", "speed_superheat")
LIMITS = np.array([LEVEL_LIMIT_S, DROP_LIMIT_C, JOINT_LIMIT_S])
# The chance of a defect rises from BASE_CHANCE towards CAUSE_CHANCE around a limit, over a few times SOFTNESS.
BASE_CHANCE, CAUSE_CHANCE = 0.005, 0.88
SOFTNESS = np.array([4.0, 8.0, 4.0])  # s, °C, s

TROUBLED, CROSSING, NEAR = 0.27, 0.22, 0.30
SHORT_CASTS, LONG_CASTS = 0.04, 0.05
BLOCK = 256


@dataclass(frozen=True)
class Cast:
    """One generated cast: ``readings`` float32 (T, 5) in the order of SENSORS, and how its label came about.

    ``trigger`` names the limits that were crossed, joined by ``+``, or is ``none``.
    """

    readings: Float32s
    label: int
    defect_probability: float
    trigger: str


def draw_lengths(seed: int, casts: int) -> Int64s:
    """Lengths in steps: most are 100 to 500, some 40 to 99, some 501 to 700. The first n do not depend on ``casts``."""
    kind, place = np.random.default_rng([seed, 3]).random((casts, 2)).T
    shortest = np.select([kind < SHORT_CASTS, kind > 1 - LONG_CASTS], [40, 501], 100)
    longest = np.select([kind < SHORT_CASTS, kind > 1 - LONG_CASTS], [99, 700], 500)
    return np.asarray(shortest + place * (longest + 1 - shortest), dtype=np.int64)


def draw_cast(seed: int, row: int, length: int) -> Cast:
    """Cast ``row`` of the endless set that ``seed`` stands for; it depends on these three arguments alone."""
    source = np.random.default_rng([seed, 4, row])
    process = _process(source, length)
    severity = severities(process)
    probability = defect_probability(severity)
    label = int(source.random() < probability)
    crossed = [cause for cause, value, limit in zip(CAUSES, severity, LIMITS, strict=True) if value >= limit]
    return Cast(_sense(source, process), label, probability, "+".join(crossed) or "none")


def severities(process: Float64s) -> Float64s:
    """Return how far an undisturbed process (T, 5) went towards each limit of CAUSES.

    Returns:
        (3,): the longest stay of the level outside its band in s, the largest temperature drop within a minute in °C,
        the longest stay at high speed with low superheat in s.
    """
    level = process[:, LEVEL]
    outside = (level < LEVEL_BAND[0]) | (level > LEVEL_BAND[1])
    joint = (process[:, SPEED] > HIGH_SPEED) & (process[:, SUPERHEAT] < LOW_SUPERHEAT)
    return np.array([_longest_run(outside), _largest_drop(process[:, TEMPERATURE]), _longest_run(joint)])


def defect_probability(severity: Float64s) -> float:
    """The chance of a defect: each cause acts on its own, so the chances of its absence multiply."""
    chances = CAUSE_CHANCE / (1.0 + np.exp(-(severity - LIMITS) / SOFTNESS))
    return float(1.0 - (1.0 - BASE_CHANCE) * np.prod(1.0 - chances))


def _longest_run(flags: NDArray[np.bool_]) -> float:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.view(np.int8), [0]])))
    return float((edges[1::2] - edges[::2]).max(initial=0))


def _largest_drop(temperature: Float64s) -> float:
    padded = np.concatenate([np.full(DROP_WITHIN_S, -np.inf), temperature])
    highest = np.lib.stride_tricks.sliding_window_view(padded, DROP_WITHIN_S + 1).max(axis=1)
    return float((highest - temperature).max())


def _process(source: Generator, length: int) -> Float64s:
    """The undisturbed process of one cast, (T, 5)."""
    process = np.tile(NOMINAL + OPERATING_STD * source.standard_normal(5), (length, 1))
    _manoeuvres(source, process)
    if source.random() < TROUBLED:
        for event in (_level_event, _temperature_event, _speed_event):
            kind = source.random()
            if kind < CROSSING + NEAR:
                event(source, process, kind < CROSSING)
    return np.clip(process, LOWEST + 1e-3, HIGHEST - 1e-3)


def _manoeuvres(source: Generator, process: Float64s) -> None:
    """Add everyday actions of operators without consequence: they look like events to a reader of extremes."""
    length = len(process)
    if source.random() < 0.25:
        process[:, FLOW] += source.choice([-1, 1]) * source.uniform(15, 35) * _pulse(source, length, (30, 150), (5, 30))
    if source.random() < 0.20:
        process[:, SPEED] += source.uniform(-0.2, 0.2) * _pulse(source, length, (40, 200), (10, 40))
    if source.random() < 0.15:
        process[:, LEVEL] += source.choice([-1, 1]) * source.uniform(18, 26) * _pulse(source, length, (2, 7), (1, 3))
    if source.random() < 0.15:  # a hot cast that cools slowly: as deep as a drop, never within a minute
        cooling = np.linspace(source.uniform(25, 45), source.uniform(0, 20), length)
        process[:, TEMPERATURE] += cooling if length > 150 else cooling[0]


def _level_event(source: Generator, process: Float64s, crossing: bool) -> None:
    deep = crossing or source.random() < 0.6
    depth = source.uniform(22, 28) if deep else source.uniform(10, 16)
    stay = (33, 90) if crossing else (6, 26) if deep else (30, 100)
    process[:, LEVEL] += source.choice([-1, 1]) * depth * _pulse(source, len(process), stay, (2, 6))


def _temperature_event(source: Generator, process: Float64s, crossing: bool) -> None:
    """A drop from a hot phase; the phase is reached slowly, so that the way up is no sign by itself."""
    length = len(process)
    hot = source.uniform(1550, 1572)
    drop = min(source.uniform(54.0, 80.0) if crossing else source.uniform(25.0, 46.0), hot - 1486.0)
    taken = int(source.integers(8, 40))
    start = int(source.integers(0, max(1, length - taken - 15)))
    rise = np.clip(np.arange(length) / max(1.0, 0.7 * start), 0.0, 1.0)
    heated = process[:, TEMPERATURE] + (hot - process[:, TEMPERATURE]) * (rise if start > 60 else 1.0)
    fallen = np.clip((np.arange(length) - start) / taken, 0.0, 1.0)
    since = np.arange(length) - start - taken - int(source.integers(15, 90))
    back = np.clip(since / 120.0, 0.0, source.uniform(0.2, 0.8))
    process[:, TEMPERATURE] = heated - drop * fallen + drop * back


def _speed_event(source: Generator, process: Float64s, crossing: bool) -> None:
    """High speed and low superheat at once; the harmless kind has one of them alone, or both for too short a time."""
    length = len(process)
    kind = 0 if crossing else int(source.integers(1, 4))
    together = _pulse(source, length, (24, 90) if crossing else (4, 15) if kind == 1 else (40, 120), (2, 6))
    if kind != 3:
        process[:, SPEED] += (source.uniform(1.53, 1.68) - process[:, SPEED]) * together
    if kind != 2:
        process[:, SUPERHEAT] += (source.uniform(16.0, 18.5) - process[:, SUPERHEAT]) * together


def _pulse(source: Generator, length: int, stay: tuple[int, int], ramp: tuple[int, int]) -> Float64s:
    """A trapezoid of height 1 somewhere in (T,): up and down in ``ramp`` steps, at the top for ``stay`` steps."""
    top, slope = int(source.integers(*stay)), int(source.integers(*ramp))
    whole = top + 2 * slope
    start = source.uniform(0.0, max(1.0, float(length - whole)))
    x = np.arange(length) - start
    pulse: Float64s = np.clip(np.minimum(x, whole - x) / slope, 0.0, 1.0)
    return pulse


def _sense(source: Generator, process: Float64s) -> Float32s:
    """Turn ``process`` (T, 5) into readings: drift, noise, values held over, limits of the instruments."""
    length = len(process)
    drift = np.linspace(-0.5, 0.5, length)[:, None] * DRIFT_STD * source.standard_normal(5)
    white = source.standard_normal((length, 5))
    summed = np.cumsum(source.standard_normal((length + SLOW_STEPS, 5)), axis=0)
    slow = (summed[SLOW_STEPS:] - summed[:-SLOW_STEPS]) / np.sqrt(SLOW_STEPS)
    noise = NOISE_STD * (np.sqrt(1 - SLOW_SHARE) * white + np.sqrt(SLOW_SHARE) * slow)
    readings = np.clip(process + drift + noise, LOWEST, HIGHEST)
    for sensor in range(5):
        _hold_over(source, readings[:, sensor])
    return np.asarray(readings, dtype=np.float32)


def _hold_over(source: Generator, values: Float64s) -> None:
    """Repeat the last value where one is missing, in place: single values and, rarely, a sensor that stands still."""
    starts = np.flatnonzero(source.random(len(values)) < HOLD_RATE)
    gaps = [(int(start), int(source.integers(*HOLD_STEPS))) for start in starts]
    if source.random() < FREEZE_CHANCE:
        gaps.append((int(source.integers(len(values))), int(source.integers(*FREEZE_STEPS))))
    for start, steps in gaps:
        if start > 0:
            values[start : start + steps] = values[start - 1]


def generate_castings(path: str | Path, casts: int, seed: int, on_progress: OnCount = unheard) -> None:
    """Write ``casts`` casts to ``path``; the same arguments give the same bytes.

    The file appears under its name when it is complete. ``on_progress`` is told the number of casts written so far.

    Raises:
        StartupError: a count below 1 or a negative seed.
        DataError: the file cannot be written.
    """
    require_counts(seed, casts=casts)
    lengths = draw_lengths(seed, casts)
    starts = np.cumsum(lengths) - lengths
    with create_file(path) as file:
        _create_datasets(file, starts, lengths)
        for first in range(0, casts, BLOCK):
            end = min(first + BLOCK, casts)
            block = [draw_cast(seed, row, int(lengths[row])) for row in range(first, end)]
            _write_block(file, block, slice(first, end), int(starts[first]))
            on_progress(end)
        config = {"seed": seed, "casts": casts, "sampling_rate": 1.0, "base_chance": BASE_CHANCE, "limits": _limits()}
        write_text(file, "metadata", json.dumps({"sensors": SENSORS, "casts": casts, "sampling_rate": 1.0}))
        write_text(file, "config", json.dumps(config))


def _limits() -> dict[str, object]:
    return {
        "mold_level": {"band_mm": LEVEL_BAND, "seconds": LEVEL_LIMIT_S},
        "mold_temperature": {"drop_c": DROP_LIMIT_C, "within_s": DROP_WITHIN_S},
        "speed_superheat": {"speed_above": HIGH_SPEED, "superheat_below": LOW_SUPERHEAT, "seconds": JOINT_LIMIT_S},
    }


def _create_datasets(file: h5py.File, starts: Int64s, lengths: Int64s) -> None:
    casts, steps = len(lengths), int(lengths.sum())
    for name in SENSORS:
        file.create_dataset(name, (steps,), "f4", track_times=False)
    file.create_dataset("cast_start", data=starts.astype("i8"), track_times=False)
    file.create_dataset("cast_length", data=lengths.astype("i4"), track_times=False)
    file.create_dataset("label", (casts,), "i1", track_times=False)
    file.create_dataset("defect_probability", (casts,), "f4", track_times=False)
    file.create_dataset("trigger", (casts,), h5py.string_dtype(), track_times=False)


def _write_block(file: h5py.File, block: list[Cast], rows: slice, step: int) -> None:
    readings = np.concatenate([cast.readings for cast in block])
    for sensor, name in enumerate(SENSORS):
        file[name][step : step + len(readings)] = readings[:, sensor]
    file["label"][rows] = [cast.label for cast in block]
    file["defect_probability"][rows] = [cast.defect_probability for cast in block]
    file["trigger"][rows] = [cast.trigger for cast in block]
