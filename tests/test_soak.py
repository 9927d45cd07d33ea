"""What a soak is judged by: a leak is found, noise is none; and what a worker is watched for is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatness
import numpy as np
import pytest
import soak
from hypothesis import given
from hypothesis import strategies as st
from live_worker import limited, parse
from loads import mix_of, send
from watch import Looks, buckets, disk_bytes, from_metrics, read_count, thinned, watched

from core.errors import StartupError
from stream_app.flow.metrics import Metrics
from stream_app.settings import Settings

MIB = 2**20
HOUR_S = np.arange(0.0, 3600.0, 5.0)


def noisy(level: float, noise: float, seed: int = 1) -> np.ndarray:
    """One value for each look of an hour."""
    return level + noise * np.random.default_rng(seed).standard_normal(len(HOUR_S))


# Flat, or not.


@given(level=st.floats(-1e6, 1e6), per_s=st.floats(-1e3, 1e3), length=st.integers(2, 50))
def test_the_slope_of_a_line_is_found(level: float, per_s: float, length: int) -> None:
    at_s = np.arange(length)

    assert flatness.slope(at_s, level + per_s * at_s) == pytest.approx(per_s, abs=1e-6)


def test_noise_is_no_leak() -> None:
    assert flatness.memory(HOUR_S, noisy(650 * MIB, 15 * MIB)).flat


@pytest.mark.parametrize("mib_per_hour", [40, 100, 1000])
def test_memory_that_grows_all_the_time_is_a_leak(mib_per_hour: float) -> None:
    verdict = flatness.memory(HOUR_S, noisy(650 * MIB, 15 * MIB) + mib_per_hour * MIB * HOUR_S / 3600)

    assert not verdict.flat
    assert verdict.per_hour == pytest.approx(mib_per_hour * MIB, rel=0.15)
    assert "NOT FLAT: resident memory" in verdict.line


def test_memory_that_begins_to_grow_late_is_a_leak() -> None:
    late = np.maximum(HOUR_S - 2400, 0) / 1200

    assert not flatness.memory(HOUR_S, noisy(650 * MIB, 5 * MIB) + 100 * MIB * late).flat


def test_memory_that_is_given_back_each_time_is_no_leak() -> None:
    assert flatness.memory(HOUR_S, 650 * MIB + 60 * MIB * (HOUR_S % 300) / 300).flat


def test_what_grows_in_the_warm_up_alone_is_flat() -> None:
    filled = np.minimum(HOUR_S / 300, 1.0)

    assert flatness.memory(HOUR_S, 400 * MIB + 300 * MIB * filled).flat
    assert flatness.counted("threads", HOUR_S, 5 + np.floor(6 * filled)).flat


def test_a_small_process_may_grow_by_20_mib_and_a_large_one_by_a_twentieth() -> None:
    grown = HOUR_S / 3600

    assert flatness.memory(HOUR_S, 50 * MIB + 15 * MIB * grown).flat
    assert not flatness.memory(HOUR_S, 50 * MIB + 30 * MIB * grown).flat
    assert flatness.memory(HOUR_S, 2000 * MIB + 90 * MIB * grown).flat
    assert not flatness.memory(HOUR_S, 2000 * MIB + 140 * MIB * grown).flat


def test_one_file_descriptor_in_ten_minutes_is_a_leak() -> None:
    leaking = 11 + np.floor(HOUR_S / 600)

    assert not flatness.counted("file descriptors", HOUR_S, leaking).flat
    assert not flatness.counted("asyncio tasks", HOUR_S, 4 * leaking, 0.1, 2).flat


def test_descriptors_that_are_open_for_a_moment_are_none() -> None:
    for_a_moment = 11 + (np.arange(len(HOUR_S)) % 7 == 0)

    assert flatness.counted("file descriptors", HOUR_S, for_a_moment).flat


def test_a_fall_is_flat() -> None:
    assert flatness.memory(HOUR_S, 650 * MIB - 100 * MIB * HOUR_S / 3600).flat
    assert flatness.counted("threads", HOUR_S, 9 - np.floor(HOUR_S / 1200)).flat


def test_latency_may_rise_by_a_quarter_and_5_ms() -> None:
    minutes = np.arange(60.0, 3660.0, 60.0)

    assert flatness.latency(minutes, np.linspace(20, 28, 60)).flat
    assert not flatness.latency(minutes, np.linspace(20, 40, 60)).flat


def test_one_bad_minute_is_no_trend() -> None:
    p99_ms = np.full(60, 20.0)
    p99_ms[55] = 900.0

    assert flatness.latency(np.arange(60.0, 3660.0, 60.0), p99_ms).flat


def test_under_a_load_that_is_no_steady_one_the_highest_look_counts() -> None:
    at_s, peak = np.arange(100.0), np.full(100, 600.0 * MIB)
    peak[70] = 650 * MIB

    assert flatness.bounded(at_s, peak, 0.1, "memory").flat
    peak[70] = 670 * MIB
    assert not flatness.bounded(at_s, peak, 0.1, "memory").flat


def test_too_few_looks_are_not_judged() -> None:
    with pytest.raises(ValueError, match="too few"):
        flatness.memory(np.arange(5.0), np.ones(5))


def test_a_quantile_lies_on_a_line_within_its_bucket() -> None:
    bounds = (0.01, 0.02, 0.05, float("inf"))

    assert flatness.quantile(bounds, [0, 100, 0, 0], 0.5) == pytest.approx(0.015)
    assert flatness.quantile(bounds, [50, 50, 0, 0], 0.25) == pytest.approx(0.005)
    assert flatness.quantile(bounds, [0, 0, 0, 10], 0.5) == 0.05
    assert flatness.quantile(bounds, [0, 0, 0, 0], 0.5) is None
    assert flatness.quantile((), [], 0.5) is None


# A soak's verdict.


def steady(**changes: np.ndarray) -> dict[str, Any]:
    """The columns of an hour in which nothing grows."""
    columns = {
        "at_s": HOUR_S,
        "rss_bytes": noisy(650 * MIB, 10 * MIB),
        "fds": np.full(len(HOUR_S), 11.0),
        "threads": np.full(len(HOUR_S), 7.0),
        "tasks": 52 + np.round(noisy(0, 2)),
        "lag": np.abs(noisy(3000, 800)),
        "commit_age_s": 0.5 * (HOUR_S % 3) / 3,
        "active_streams": noisy(2200, 60),
        "changelogs_disk_bytes": 50 * MIB + 20 * MIB * (HOUR_S % 120) / 120,
    }
    return columns | changes


MINUTES: dict[str, Any] = {"at_s": np.arange(60.0, 3660.0, 60.0), "p99_ms": np.full(60, 20.0)}


def not_flat(columns: dict[str, Any]) -> list[str]:
    return [verdict.name for verdict in soak.judge(columns, MINUTES) if not verdict.flat]


def test_an_hour_in_which_nothing_grows_is_flat() -> None:
    assert not_flat(steady()) == []


@pytest.mark.parametrize(
    ("column", "per_hour", "named"),
    [
        ("rss_bytes", 100 * MIB, "resident memory, bytes"),
        ("fds", 6, "file descriptors"),
        ("threads", 4, "threads"),
        ("tasks", 20, "asyncio tasks"),
        ("lag", 40_000, "lag, records"),
        ("commit_age_s", 20, "commit age, s"),
        ("active_streams", 2000, "live streams"),
        ("changelogs_disk_bytes", 200 * MIB, "changelogs on disk"),
    ],
)
def test_whatever_grows_is_named(column: str, per_hour: float, named: str) -> None:
    columns = steady()
    columns[column] = columns[column] + np.floor(10 * HOUR_S / 3600) * per_hour / 10

    assert not_flat(columns) == [named]


def soaked(**changes: Any) -> dict[str, Any]:
    """A report of a run that is right."""
    worker = {"verdicts": [], "errors": [], "assignments": 1}
    return {"workers": [worker | changes], "checker": {"ok": True, "problems": []}}


def test_a_soak_fails_by_a_verdict_an_error_a_rebalance_or_the_checker() -> None:
    leak = flatness.memory(HOUR_S, noisy(650 * MIB, MIB) + 100 * MIB * HOUR_S / 3600)

    assert soak.failures(soaked()) == []
    assert "NOT FLAT" in soak.failures(soaked(verdicts=[vars(leak)]))[0]
    assert soak.failures(soaked(errors=["a fault"])) == ["worker 0: a fault"]
    assert "3 assignments" in soak.failures(soaked(assignments=3))[0]
    assert (
        "1 output is missing"
        in soak.failures(soaked() | {"checker": {"ok": False, "problems": ["1 output is missing"]}})[0]
    )


@pytest.mark.parametrize(("quick", "minutes"), [(True, 1), (False, 5)])
def test_a_soak_of_too_few_minutes_is_refused(quick: bool, minutes: float) -> None:
    from argparse import Namespace

    with pytest.raises(StartupError, match="--minutes must be"):
        soak.plan_of(Namespace(quick=quick, minutes=minutes))


# Looks at a worker.


def test_the_metrics_that_a_run_is_watched_for_are_there() -> None:
    metrics = Metrics()
    metrics.records.labels("signal", "signal-samples", "processed").inc(7)
    metrics.records.labels("casting", "casting-samples", "processed").inc(2)
    metrics.records.labels("signal", "signal-samples", "late").inc()
    metrics.active_streams.labels("signal", "signal-states").set(3)
    metrics.lag.labels("signal", "signal-samples", "0").set(5)

    found = from_metrics(parse(metrics.exposition().decode()))

    assert (found["processed"], found["late"], found["dead_letter"]) == (9, 1, 0)
    assert (found["active_streams"], found["lag"]) == (3, 5)
    assert found["commit_age_s"] >= 0


def test_latencies_are_those_of_one_topic() -> None:
    metrics = Metrics()
    metrics.latency.labels("signal", "a").observe(0.004)
    metrics.latency.labels("signal", "b").observe(3.0)

    bounds, counts = buckets(parse(metrics.exposition().decode()), "a")

    assert counts.sum() == 1
    assert flatness.quantile(bounds, counts, 0.5) == pytest.approx(0.004)


def test_disk_is_told_apart_by_changelogs(tmp_path: Path) -> None:
    for name, size in (("soak-signal-states-changelog-0", 40_000), ("soak-signal-samples-3", 100_000), ("other", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "00.log").write_bytes(b"x" * size)

    found = disk_bytes(tmp_path)

    assert 40_000 <= found["changelogs"] < 60_000
    assert 100_000 <= found["topics"] < 120_000


def test_results_stay_small() -> None:
    thin = thinned({"at_s": list(range(1000)), "rss_bytes": list(range(1000))}, most=100)

    assert thin["at_s"] == thin["rss_bytes"] == [float(value) for value in range(0, 1000, 10)]


# The real thing.


@pytest.mark.slow
@pytest.mark.kafka
def test_a_worker_is_looked_at_from_outside_and_inside(settings: Settings, tmp_path: Path) -> None:
    with watched(settings, tmp_path / "worker") as worker:
        worker.start()
        with Looks(worker, tmp_path / "worker", 0.2) as looks, limited(worker.pid, 0.5) as how:
            send(mix_of(settings, "signal", "even", 1000, 2.0, streams=10, sequence="s"))
        with open(f"/proc/{worker.pid}/cgroup") as file:
            groups = file.read()

    columns = looks.columns
    assert len(columns["at_s"]) >= 5
    assert {len(values) for values in columns.values()} == {len(columns["at_s"])}
    assert columns["rss_bytes"][-1] > 100 * MIB
    assert min(columns["fds"]) > 3
    assert columns["tasks"][-1] > 1  # the first look may come before the worker has begun
    assert read_count(tmp_path / "worker" / "tasks") > 1  # where they come from; the worker goes on writing it
    assert columns["processed"][-1] > 0
    assert 0 < (looks.latency_ms(0.5) or 0) < 10_000
    assert how is None or "caststream-bench" not in groups  # and it is let go afterwards
