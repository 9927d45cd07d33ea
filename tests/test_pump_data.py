"""Generated pumps: a known linear Gaussian model, faults that change their own samples alone, and the truth."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.pump.faults import CAUSES, Fault, apply_faults, draw_faults, truth
from core.data.pump.file import Pump, draw_pump, generate_pump, read_events
from core.data.pump.load import LEVELS, draw_load
from core.data.pump.machine import HIGHEST, LOWEST, NAMES, Machine, draw_machine, simulate
from core.data.pump.oracle import innovations, oracle_score
from core.data.task_file import TaskFile
from core.drafts.draft import write_draft
from core.drafts.sources import draft_of
from core.errors import StartupError
from core.tasks.reading import read_declaration

PERIOD_S = 60.0
DAY = 1440
seeds = st.integers(0, 10**6)


@pytest.fixture(scope="module")
def pumps() -> list[Pump]:
    return [draw_pump(1, row, 6 * DAY, PERIOD_S) for row in range(3)]


def small(seed: int, samples: int) -> tuple[Machine, np.ndarray, np.ndarray]:
    """A machine, its load and its healthy readings."""
    source = np.random.default_rng(seed)
    machine, load = draw_machine(source, PERIOD_S), draw_load(source, samples, PERIOD_S)
    return machine, load.speed, simulate(source, machine, load.speed)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        generate_pump(tmp_path / name, streams=2, days=1, rate_hz=1 / 60, seed=seed)
    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")

    assert first == second
    assert first != other


@settings(max_examples=12, deadline=None)
@given(seed=seeds, row=st.integers(0, 50))
def test_without_faults_the_values_outside_of_them_are_the_same(seed: int, row: int) -> None:
    with_faults, without = (draw_pump(seed, row, 2 * DAY, PERIOD_S, faults) for faults in (True, False))
    normal = with_faults.causes == 0

    np.testing.assert_array_equal(with_faults.readings[normal], without.readings[normal])
    assert (without.causes == 0).all()
    for fault in with_faults.faults:
        span = slice(fault.begin, fault.end)
        assert (with_faults.readings[span] != without.readings[span]).any(), fault


@settings(max_examples=12, deadline=None)
@given(seed=seeds, samples=st.integers(2, 400))
def test_a_shorter_healthy_recording_is_the_beginning_of_a_longer_one(seed: int, samples: int) -> None:
    short, long = (draw_pump(seed, 0, count, PERIOD_S, faults=False) for count in (samples, samples + 100))

    np.testing.assert_array_equal(short.readings, long.readings[:samples])


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_the_truth_is_that_of_the_events_and_faults_come_one_after_the_other_while_the_pump_runs(seed: int) -> None:
    load = draw_load(np.random.default_rng(seed), 6 * DAY, PERIOD_S)
    faults = draw_faults(np.random.default_rng(seed + 1), load, PERIOD_S)
    slow = np.zeros(6 * DAY, int)
    for number, cause in enumerate(CAUSES):
        for fault in faults:
            slow[fault.begin : fault.end] += number * (fault.cause == cause)

    np.testing.assert_array_equal(slow, truth(faults, 6 * DAY))
    assert all(later.begin - fault.end >= 60 for fault, later in pairwise(faults))
    assert all((load.speed[fault.begin : fault.end] >= LEVELS[0] - 1e-9).all() for fault in faults)
    assert {fault.cause for fault in faults[:8]} == {fault.cause for fault in faults} or len(faults) < 8


def test_every_cause_is_there_hard_and_plain(pumps: list[Pump]) -> None:
    drawn = [fault for pump in pumps for fault in pump.faults]

    assert {fault.cause for fault in drawn} == set(CAUSES[1:])
    heights = [pump.oracle[fault.begin : fault.end].max() for pump in pumps for fault in pump.faults]
    assert min(heights) < 1.0
    assert max(heights) > 5.0


def test_readings_keep_to_the_instruments(pumps: list[Pump]) -> None:
    for pump in pumps:
        assert np.isfinite(pump.readings).all()
        assert (pump.readings >= LOWEST.astype("f4")).all()
        assert (pump.readings <= HIGHEST.astype("f4")).all()


def test_channels_depend_on_the_load_on_each_other_and_on_the_past() -> None:
    machine, speed, readings = small(5, 4 * DAY)
    running = speed > 0.5
    beside = (readings - machine.mean(speed))[running]
    hydraulic, pressure = NAMES.index("flow"), NAMES.index("discharge_pressure")
    heat = beside[:, NAMES.index("motor_temperature")]

    assert np.corrcoef(speed[running], readings[running, hydraulic])[0, 1] > 0.95
    assert np.corrcoef(beside[:, hydraulic], beside[:, pressure])[0, 1] < -0.4
    assert np.corrcoef(heat[:-1], heat[1:])[0, 1] > 0.8


def test_innovations_of_a_healthy_pump_are_independent_with_mean_0_and_std_1() -> None:
    found = innovations(*small(6, 4 * DAY))

    assert abs(found.mean(axis=0)).max() < 0.06
    np.testing.assert_allclose(np.cov(found.T), np.eye(12), atol=0.08)
    assert abs(np.mean(found[1:] * found[:-1], axis=0)).max() < 0.06


@settings(max_examples=8, deadline=None)
@given(seed=seeds)
def test_the_innovations_give_the_likelihood_of_the_whole_recording(seed: int) -> None:
    machine, speed, readings = small(seed, 6)
    n, size = len(machine.drive), readings.size
    covariance = np.zeros((6 * n, 6 * n))  # of the hidden states of all samples, written out
    for late in range(6):
        for early in range(late + 1):
            block = np.linalg.matrix_power(machine.transition, late - early) @ machine.settled()
            covariance[late * n : (late + 1) * n, early * n : (early + 1) * n] = block
            covariance[early * n : (early + 1) * n, late * n : (late + 1) * n] = block.T
    shown = np.zeros((size, 6 * n))
    for step in range(6):
        rows = slice(step * 12, (step + 1) * 12)
        shown[rows, step * n : (step + 1) * n] = machine.scale(speed)[step][:, None] * machine.shown
    whole = shown @ covariance @ shown.T + np.diag(machine.noise(speed).ravel() ** 2)
    centred = (readings - machine.mean(speed)).ravel()

    slow = centred @ np.linalg.solve(whole, centred)

    np.testing.assert_allclose(np.sum(innovations(machine, speed, readings) ** 2), slow, rtol=1e-6)


def test_the_oracle_is_low_on_a_healthy_pump_and_rises_with_a_fault() -> None:
    machine, speed, readings = small(7, DAY)
    load = draw_load(np.random.default_rng(7), DAY, PERIOD_S)
    scores = oracle_score(machine, speed, readings)
    fault = Fault("offset_sensor", "flow", 600, 700, 20.0)
    faulty = apply_faults(np.random.default_rng(1), readings, load, [fault])

    assert 0 < scores[100:].mean() < 0.3
    assert scores[100:].max() < 1.0
    assert oracle_score(machine, speed, faulty)[600:700].max() > 3.0
    np.testing.assert_array_equal(scores[:600], oracle_score(machine, speed, faulty)[:600])


def test_pumps_go_on_after_days_that_are_left_out(tmp_path: Path) -> None:
    given = {"streams": 2, "rate_hz": 1 / 60, "seed": 3}
    generate_pump(tmp_path / "all.h5", days=3, **given)  # type: ignore[arg-type]
    generate_pump(tmp_path / "later.h5", days=1, after=2, **given)  # type: ignore[arg-type]

    whole, later = read_events(tmp_path / "all.h5"), read_events(tmp_path / "later.h5")
    with h5py.File(tmp_path / "all.h5") as one, h5py.File(tmp_path / "later.h5") as other:
        for name in ("flow", "anomaly", "cause", "oracle_score", "timestamp_ms"):
            rows = one[name][:].reshape(2, 3 * DAY)[:, 2 * DAY :]
            np.testing.assert_array_equal(other[name][:], rows.ravel())
    for stream, faults in later.items():
        there = [fault for fault in whole[stream] if fault.end > 2 * DAY]
        assert [(fault.begin, fault.end) for fault in faults] == [
            (max(0, fault.begin - 2 * DAY), fault.end - 2 * DAY) for fault in there
        ]


def test_a_stuck_sensor_repeats_its_last_value_and_nothing_else_changes() -> None:
    _, __, readings = small(8, 200)
    load = draw_load(np.random.default_rng(8), 200, PERIOD_S)

    changed = apply_faults(np.random.default_rng(0), readings, load, [Fault("stuck_sensor", "flow", 50, 80, 1.0)])

    flow = NAMES.index("flow")
    assert (changed[50:80, flow] == readings[49, flow]).all()
    np.testing.assert_array_equal(np.delete(changed, flow, axis=1), np.delete(readings, flow, axis=1))


def test_the_file_is_one_of_any_task_and_a_draft_takes_the_sensors_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    path = tmp_path / "pump.h5"
    generate_pump(path, streams=2, days=2, rate_hz=1 / 60, seed=1, on_progress=told.append)
    monkeypatch.chdir(tmp_path)

    write_draft("pump", draft_of(path, tmp_path), tmp_path / "pump.toml")
    declaration = read_declaration(tmp_path / "pump.toml", need_files=False)
    with TaskFile(path, declaration) as file, h5py.File(path) as held:
        events, causes = json.loads(held["events"][()]), held["cause"][:]
        first = file.sequences[1]
        assert sorted(NAMES) == sorted(field.name for field in declaration.fields)
        assert {field.name: field.unit for field in declaration.fields}["flow"] == "m3/h"
        assert (file.period_ms, first.name, first.stream, first.start, first.count) == (
            pytest.approx(60_000),
            "pump-1",
            "pump-1",
            2 * DAY,
            2 * DAY,
        )
        np.testing.assert_array_equal(held["anomaly"][:], causes > 0)
        assert list(held["cause"].attrs["names"]) == list(CAUSES)
    slow = np.zeros(4 * DAY, int)
    for event in events:
        start = int(event["stream"].removeprefix("pump-")) * 2 * DAY
        slow[start + event["begin"] : start + event["end"]] = CAUSES.index(event["cause"])
    np.testing.assert_array_equal(causes, slow)
    assert {name: [fault.begin for fault in faults] for name, faults in read_events(path).items()} == {
        name: [event["begin"] for event in events if event["stream"] == name] for name in {e["stream"] for e in events}
    }
    assert told == [1, 2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"streams": 0}, "streams is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"days": float("nan")}, "days is nan"),
        ({"days": -1.0}, "days is -1"),
        ({"after": -1.0}, "after is -1"),
        ({"rate_hz": 100.0}, "rate is 100"),
        ({"rate_hz": 0.0}, "rate is 0"),
    ],
)
def test_wrong_arguments_are_refused_before_a_file_is_made(
    tmp_path: Path, wrong: dict[str, float], message: str
) -> None:
    given: dict[str, float] = {"streams": 1, "days": 1, "rate_hz": 0.01, "seed": 0} | wrong

    with pytest.raises(StartupError, match=message):
        generate_pump(tmp_path / "pump.h5", **given)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
