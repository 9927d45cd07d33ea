"""Write the recordings of generated pumps, with the truth and the score of the true model beside them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from core.arrays import Float32s, Float64s
from core.callbacks import OnCount, unheard
from core.data.layout import require_counts
from core.data.opening import open_file
from core.data.outputs import create_file, write_text
from core.data.pump.faults import CAUSES, Fault, apply_faults, draw_faults, truth
from core.data.pump.load import draw_load
from core.data.pump.machine import CHANNELS, DAY_S, HIGHEST, LOWEST, NAMES, draw_machine, simulate
from core.data.pump.oracle import HORIZON, oracle_score
from core.errors import StartupError

BEGIN_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC
LOWEST_HZ, HIGHEST_HZ = 1e-3, 10.0
_LOAD, _PUMP, _VALUES, _FAULTS, _EFFECTS = range(5, 10)


@dataclass(frozen=True)
class Pump:
    """One generated pump: ``readings`` float32 (T, 12) in the order of NAMES, and what is known about them.

    ``causes`` (T,) are numbers in CAUSES, ``oracle`` (T,) is the score of the true model; see `oracle_score`.
    """

    readings: Float32s
    causes: NDArray[np.int8]
    oracle: Float64s
    faults: list[Fault]

    def since(self, first: int) -> Pump:
        """The same pump without its first samples."""
        faults = [
            replace(fault, begin=max(0, fault.begin - first), end=fault.end - first)
            for fault in self.faults
            if fault.end > first
        ]
        return Pump(self.readings[first:], self.causes[first:], self.oracle[first:], faults)


def draw_pump(seed: int, row: int, samples: int, period_s: float, faults: bool = True, scored: bool = True) -> Pump:
    """Pump ``row`` of the endless set that ``seed`` stands for; without faults the values outside of them are the same.

    The score of the true model takes most of the time: unless it is wanted (``scored``), it is NaN.

    The values of fewer samples are the beginning of those of more, as far as there are no faults.
    """

    def source(purpose: int) -> np.random.Generator:
        return np.random.default_rng([seed, purpose, row])

    load = draw_load(source(_LOAD), samples, period_s)
    machine = draw_machine(source(_PUMP), period_s)
    readings = np.clip(simulate(source(_VALUES), machine, load.speed), LOWEST, HIGHEST)
    found = draw_faults(source(_FAULTS), load, period_s) if faults else []
    readings = apply_faults(source(_EFFECTS), readings, load, found)
    sensed = np.asarray(np.clip(readings, LOWEST, HIGHEST), np.float32)
    oracle = oracle_score(machine, load.speed, sensed.astype(np.float64)) if scored else np.full(samples, np.nan)
    return Pump(sensed, truth(found, samples), oracle, found)


def generate_pump(
    path: str | Path,
    streams: int,
    days: float,
    rate_hz: float,
    seed: int,
    faults: bool = True,
    on_progress: OnCount = unheard,
    after: float = 0.0,
) -> None:
    """Write ``streams`` pumps over so many days to ``path``; the same arguments give the same bytes.

    The file appears under its name when it is complete. ``on_progress`` is told the number of pumps written so far.
    ``after`` are days that the pumps have run before: they are left out.

    Raises:
        StartupError: a number is out of its range.
        DataError: the file cannot be written.
    """
    if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise StartupError(f"rate is {rate_hz:g}: must be from {LOWEST_HZ:g} to {HIGHEST_HZ:g} samples per second")
    samples = round(days * DAY_S * rate_hz) if np.isfinite(days) else 0
    if samples < 2:
        raise StartupError(f"days is {days:g}: must be enough for two samples")
    if not 0 <= after < np.inf:
        raise StartupError(f"after is {after:g}: must be 0 or more days")
    first = round(after * DAY_S * rate_hz)
    require_counts(seed, streams=streams)
    with create_file(path) as file:
        _create_datasets(file, streams, samples, rate_hz, first)
        events: list[dict[str, object]] = []
        for row in range(streams):
            pump = draw_pump(seed, row, first + samples, 1.0 / rate_hz, faults).since(first)
            _write_pump(file, pump, slice(row * samples, (row + 1) * samples))
            events += [{"stream": _name(row), **asdict(fault)} for fault in pump.faults]
            on_progress(row + 1)
        write_text(file, "events", json.dumps(events))
        config = {"seed": seed, "streams": streams, "days": days, "after": after, "faults": faults}
        config["oracle_horizon"] = HORIZON
        write_text(file, "config", json.dumps(config))


def read_events(path: str | Path) -> dict[str, list[Fault]]:
    """The faults that a generated file tells of, in order, by streams; a stream without any is not there.

    Raises:
        DataError: the file cannot be opened.
    """
    found: dict[str, list[Fault]] = {}
    with open_file(path) as file:
        for event in json.loads(file["events"][()]):
            found.setdefault(event.pop("stream"), []).append(Fault(**event))
    return found


def _create_datasets(file: h5py.File, streams: int, samples: int, rate_hz: float, first: int) -> None:
    for channel in CHANNELS:
        data = file.create_dataset(channel.name, (streams * samples,), "f4", track_times=False)
        data.attrs["unit"] = channel.unit
    for name, kind in (("anomaly", "i1"), ("cause", "i1"), ("oracle_score", "f4")):
        file.create_dataset(name, (streams * samples,), kind, track_times=False)
    file["cause"].attrs["names"] = list(CAUSES)
    times = BEGIN_MS + np.rint((first + np.arange(samples)) * 1000.0 / rate_hz).astype(np.int64)
    file.create_dataset("timestamp_ms", data=np.tile(times, streams), track_times=False)
    places = np.arange(streams, dtype=np.int64) * samples
    file.create_dataset("sequence_start", data=places, track_times=False)
    file.create_dataset("sequence_length", data=np.full(streams, samples, np.int64), track_times=False)
    for name in ("stream_name", "sequence_name"):
        kind = h5py.string_dtype()
        file.create_dataset(name, data=[_name(row) for row in range(streams)], dtype=kind, track_times=False)
    file.attrs["sampling_rate"] = rate_hz


def _write_pump(file: h5py.File, pump: Pump, span: slice) -> None:
    for place, name in enumerate(NAMES):
        file[name][span] = pump.readings[:, place]
    file["anomaly"][span] = pump.causes > 0
    file["cause"][span] = pump.causes
    file["oracle_score"][span] = pump.oracle


def _name(row: int) -> str:
    return f"pump-{row}"
