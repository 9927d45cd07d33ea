"""The benchmark of low loads matches outputs of any peer, keeps runs that went well, and says what does not hold."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bench_low_load
import numpy as np
import pytest
from bench_low_load import DEFAULT_PEERS, Plan, expected, identity, latencies, plan_of
from checkouts import Checkout
from live_worker import Meter, peak_mib, rss_mib, tree
from loads import Times
from low_load import of_runs, remarks, table, targets
from paced_sender import Load, order, records
from peers import PEERS
from reporting import Report

from core.errors import RunError, StartupError
from core.wire.records import decode_signal
from stream_app.settings import Settings
from tests.offline import predictions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
MACHINE = {"cpu": "a processor", "cores": 2, "memory_gib": 8.0, "system": "Linux", "load_1m_before": 0.1}


def load(**changes: Any) -> Load:
    plain: dict[str, Any] = {"config": {}, "topic": "t", "kind": "signal", "streams": 3, "rate": 0, "samples": 7}
    return Load(**plain | {"sequence": "s"} | changes)


def times(*rows: tuple[int, int, int, int]) -> Times:
    """Of (partition, offset, time in ms, source)."""
    return Times(*np.array(rows, np.int64).reshape(-1, 4).T)


def run(cores: float, **changes: Any) -> dict[str, Any]:
    """One run of a peer with the loads idle and 1,000/s."""
    shares = {"worker_cores": cores, "broker_cores": 2 * cores, "machine_cores": 1.0, "rss_mib": 100.0}
    shares |= {"largest_mib": 90.0}
    loads = {"0": shares, "1000": shares | {"p50_ms": 5.0, "p99_ms": 21.0}}
    return {"version": "1", "start_s": 2.0, "loads": loads, "max_abs_diff": 1e-6, "repeated": 0} | changes


def options(**changes: Any) -> argparse.Namespace:
    plain = dict.fromkeys(("peers", "loads", "runs", "seconds", "against"))
    return argparse.Namespace(**plain | {"quick": False, "seed": 1} | changes)


# Samples and their outputs.


def test_a_load_that_goes_on_leaves_no_gap_in_any_stream() -> None:
    parts = [load(samples=4), load(samples=5, skip=4), load(samples=1, skip=9)]

    assert [cell for part in parts for cell in order(part)] == list(order(load(samples=10)))
    assert [record for part in parts for record in records(part)] == list(records(load(samples=10)))


def test_a_sample_and_its_output_have_one_identity_and_no_others_have_it() -> None:
    samples = [SimpleNamespace(key=lambda k=key: k, value=lambda v=value: v) for _, key, value in records(load())]
    output = SimpleNamespace(key=lambda: b"signal-0002", value=lambda: b'{"prediction":0.5,"step":1,"stream":"x"}')

    found = [identity(sample) for sample in samples]

    assert len(set(found)) == len(samples)
    assert identity(output) == found[list(order(load(samples=6))).index((2, 1))]


def test_latencies_are_matched_whichever_partition_the_output_is_in() -> None:
    samples = times((0, 0, 1000, 77), (1, 0, 1001, 78), (1, 1, 1002, 79))
    outputs = times((3, 0, 1009, 78), (2, 0, 1004, 77), (3, 1, 1011, 78))

    found = latencies(samples, outputs)

    assert dict(zip(found.appended_ms.tolist(), found.latency_ms.tolist(), strict=True)) == {1000: 4, 1001: 8}
    assert (found.unanswered, found.repeated) == (1, 1)


def test_what_is_expected_is_the_offline_run_of_each_stream() -> None:
    sent = load(samples=50)
    samples = [decode_signal(value) for _, _, value in records(sent)]

    found = expected(sent)

    for stream, length in enumerate((17, 17, 16)):
        rows = [{"signal": s.signal, "condition_vector": s.condition_vector} for s in samples[stream::3]]
        np.testing.assert_allclose(found[stream, :length], predictions(rows), atol=1e-6)
        assert np.isnan(found[stream, length:]).all()


# What is planned, and what is made of it.


def test_the_time_that_it_takes_is_estimated() -> None:
    ours = Plan(peers=["caststream_1"], loads=(0, 10, 100, 1000), runs=5, seconds=30, waiting=1, seed=1)

    assert 13 < ours.minutes < 16


def test_a_full_run_has_every_peer_and_a_quick_one_too() -> None:
    full, quick = plan_of(options()), plan_of(options(quick=True))

    assert (full.runs, full.seconds, list(full.loads)) == (5, 30, [0, 10, 100, 1000])
    assert full.peers == quick.peers == list(DEFAULT_PEERS)
    assert {name for name in PEERS if not name.startswith("caststream")} | {"caststream_1"} == set(DEFAULT_PEERS)
    assert quick.minutes < 15


def test_the_other_checkout_takes_turns_with_ours() -> None:
    plan = plan_of(options(peers="caststream_1", against=ROOT))

    assert plan.peers == ["caststream_1", "caststream_1_before"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"peers": "faust,flink"}, "flink: no such peer"), ({"runs": -1}, "--runs"), ({"loads": [-1]}, "--loads")],
)
def test_an_option_out_of_its_range_is_told(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(StartupError, match=said):
        plan_of(options(**wrong))


def test_a_figure_is_the_median_of_its_runs_with_the_smallest_and_the_largest() -> None:
    found = of_runs([run(0.1), run(0.5, start_s=9.0), run(0.2)])

    assert found["loads"]["0"]["worker_cores"] == {"median": 0.2, "min": 0.1, "max": 0.5}
    assert found["start_s"] == {"median": 2.0, "min": 2.0, "max": 9.0}
    assert "p50_ms" not in found["loads"]["0"]


def test_a_target_that_does_not_hold_is_told_and_what_was_not_measured_is_left_out() -> None:
    peers = {"caststream_1": of_runs([run(0.1)]), "loop": of_runs([run(0.05)]), "quix": of_runs([run(0.3)])}

    found = {each["what"]: each["held"] for each in targets(peers)}

    assert found == {
        "idle, cores": False,
        "idle, cores of loop": False,
        "idle, cores of quix": True,
        "1,000/s, cores": True,
        "1,000/s, p50, ms": True,
        "1,000/s, p99, ms": False,
        "1,000/s, cores of loop": False,
        "1,000/s, cores of quix": True,
    }


@pytest.mark.parametrize(("before", "held"), [(0.21, True), (0.19, False)])
def test_the_broker_s_share_may_be_half_of_that_beside_the_older_worker(before: float, held: bool) -> None:
    peers = {"caststream_1": of_runs([run(0.1)]), "caststream_1_before": of_runs([run(before)])}

    found = targets(peers)[-1]

    assert found["what"] == "1,000/s, half of the broker's cores beside caststream_1_before"
    assert found["held"] == held


def test_the_table_has_a_row_for_every_load_of_every_peer() -> None:
    peers = {"caststream_1": of_runs([run(0.123)]), "loop": of_runs([run(0.05)])}
    report: Report = {"streams": 100, "loads": [0, 1000], "rounds": 1, "seconds": 30, "broker_alone_cores": 0.02}
    report |= {"peers": peers, "targets": targets(peers), "machine": MACHINE, "versions": {"python": "3"}}

    shown, said = table(report), remarks(report)

    assert "| idle | loop | 5.0 % | 5.0 % to 5.0 % | 10.0 % | - | - | 100 |" in shown
    assert "| 1,000/s | caststream_1 | 12.3 % | 12.3 % to 12.3 % | 24.6 % | 5.00 | 21.0 | 100 |" in shown
    assert "The broker alone takes 2.0 %" in shown
    assert "NOT HELD: 1,000/s, p99, ms: at most 20.0, found 21.0" in said
    assert "a processor, 2 cores" in said


# Runs.


class FakeCluster:
    def __init__(self, *_: object) -> None: ...
    def create(self, *_: object) -> None: ...
    def delete(self, *_: object) -> None: ...


def bench(monkeypatch: pytest.MonkeyPatch, outcome: Any, runs: int = 2) -> bench_low_load._Bench:
    """A benchmark of the peers good and bad; ``outcome`` of a name gives its run or raises."""
    monkeypatch.setattr(bench_low_load, "Cluster", FakeCluster)
    monkeypatch.setattr(bench_low_load._Bench, "_leave_alone", lambda _: None)
    monkeypatch.setattr(Plan, "make", lambda _, name, __, ___: SimpleNamespace(name=name, topics=[]))
    monkeypatch.setattr(bench_low_load._Run, "measure", lambda self: outcome(self.peer.name))
    plan = Plan(peers=["good", "bad"], loads=[0], runs=runs, seconds=1, waiting=1, seed=1)
    return bench_low_load._Bench(Settings(), plan, broker=1, say=lambda _: None)


def test_a_peer_that_fails_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome(name: str) -> dict[str, Any]:
        if name == "bad":
            raise RunError("it hangs")
        return run(0.1)

    made = bench(monkeypatch, outcome)
    made.run_all()

    assert len(made.runs["good"]) == 2
    assert made.failures == ["run 1 of 2, bad: it hangs", "run 2 of 2, bad: it hangs"]


def test_an_interruption_keeps_what_was_measured_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome(name: str) -> dict[str, Any]:
        if name == "bad":
            raise KeyboardInterrupt
        return run(0.1)

    made = bench(monkeypatch, outcome)
    made.run_all()

    assert len(made.runs["good"]) == 1
    assert made.failures == ["interrupted after 1 of 4 runs"]


# Processes.


def test_a_meter_sums_up_several_processes_and_knows_what_the_machine_did() -> None:
    works = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    children = [subprocess.Popen(works, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        pids = [child.pid for child in children]
        meter = Meter(both=pids, one=pids[0])
        while meter.cpu_s()["one"] < 0.1 or meter.cpu_s()["both"] < 0.3:
            pass
        found = meter.cores()
    finally:
        for child in children:
            child.kill()
            child.wait()

    assert found["one"] < found["both"] <= found["machine"] * 1.1


def test_memory_is_that_of_a_process_and_its_children() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    parents = tree(child.pid)
    try:
        assert parents == [child.pid]
        assert 1 < rss_mib(parents) <= peak_mib(child.pid) < 200
        assert rss_mib([child.pid, child.pid]) == pytest.approx(2 * rss_mib(parents), rel=0.2)
    finally:
        child.kill()
        child.wait()


# Another checkout.


def test_another_checkout_gets_the_settings_that_it_knows_and_its_packages_come_first(tmp_path: Path) -> None:
    package = tmp_path / "stream_app"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "settings.py").write_text("class Settings:\n    model_fields = {'broker': 1, 'app_id': 2}\n")

    found = Checkout(tmp_path).environment(Settings(broker="b:1", app_id="a").environment())

    assert found == {"CASTSTREAM_BROKER": "b:1", "CASTSTREAM_APP_ID": "a", "PYTHONPATH": str(tmp_path)}


def test_a_folder_that_is_no_checkout_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="no checkout of caststream"):
        Checkout(tmp_path).environment({})
