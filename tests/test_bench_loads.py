"""The benchmarks' loads go out as planned, and what comes back is counted right before it becomes a figure."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from bench_castings import window_lengths
from bench_model import best_of, library_call, our_call
from bench_scale import RECOVERED, commits_between
from live_worker import LiveWorker, parse
from loads import (
    NO_SOURCE,
    Times,
    around_commits,
    commit_spans,
    ends,
    load_of,
    match,
    read_times,
    send,
    summary,
    wait_for,
)
from paced_sender import Load, due, order, records
from watch import Pings

from core.engines.results import WindowRules
from core.engines.windows import CastWindow
from core.errors import RunError
from core.wire.records import decode_casting, decode_signal
from stream_app.clients.admin import Cluster
from stream_app.flow.metrics import Metrics
from stream_app.local.child import Child
from stream_app.routes import SIGNAL_SAMPLES
from stream_app.settings import Settings
from stream_app.topics.plans import STREAM_CONFIG
from tests.broker import wait_until
from tests.offline import signal_model
from tests.worker import WorkerProcess

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def load(**changes: Any) -> Load:
    plain: dict[str, Any] = {
        "config": {},
        "topic": "t",
        "kind": "signal",
        "streams": 3,
        "rate": 0,
        "samples": 7,
        "sequence": "s",
    }
    return Load(**plain | changes)


def times(*rows: tuple[int, int, int, int]) -> Times:
    """Of (partition, offset, time in ms, source offset)."""
    return Times(*np.array(rows, np.int64).reshape(-1, 4).T)


# The sender.


def test_samples_go_out_in_rounds_one_of_each_stream() -> None:
    assert list(order(load(first_step=5))) == [(0, 5), (1, 5), (2, 5), (0, 6), (1, 6), (2, 6), (0, 7)]


def test_a_fill_ends_where_the_load_after_it_begins() -> None:
    after = load(first_step=2, stagger=2, samples=3)
    fill = list(order(load(first_step=2, stagger=2, fill=True)))

    assert dict(order(after)) == {0: 2, 1: 3, 2: 2}
    assert Counter(stream for stream, _ in fill) == {0: 2, 1: 3, 2: 2}
    assert {stream: max(step for found, step in fill if found == stream) for stream in range(3)} == {0: 1, 1: 2, 2: 1}


@pytest.mark.parametrize(("kind", "decode"), [("signal", decode_signal), ("casting", decode_casting)])
def test_what_is_sent_is_a_sample_as_the_wire_has_it(kind: str, decode: Callable[..., Any]) -> None:
    sent = list(records(load(kind=kind, partitions=2)))

    assert [(partition, key) for partition, key, _ in sent[:3]] == [
        (stream % 2, f"{kind}-{stream:04d}".encode()) for stream in range(3)
    ]
    samples = [decode(value, None) for _, _, value in sent]
    assert [(sample.sequence, sample.step) for sample in samples] == [("s", i // 3) for i in range(7)]


def test_the_seed_decides_what_is_sent() -> None:
    first, same, other = (list(records(load(seed=seed))) for seed in (1, 1, 2))

    assert first == same
    assert first != other


@pytest.mark.parametrize(("elapsed_s", "rate", "expected"), [(0.0, 10, 1), (0.55, 10, 6), (99.0, 10, 7), (0.0, 0, 7)])
def test_what_is_due_follows_an_absolute_schedule(elapsed_s: float, rate: float, expected: int) -> None:
    assert due(elapsed_s, rate, samples=7) == expected


# Latencies.


def test_each_sample_is_matched_with_its_output_by_partition_and_offset() -> None:
    samples = times((0, 10, 1000, -1), (0, 11, 1001, -1), (1, 10, 1002, -1))
    outputs = times((0, 0, 1005, 11), (0, 1, 1009, 10), (1, 0, 1003, 10))

    found = match(samples, outputs)

    assert dict(zip(found.appended_ms.tolist(), found.latency_ms.tolist(), strict=True)) == {1000: 9, 1001: 4, 1002: 1}
    assert (found.unanswered, found.repeated) == (0, 0)


def test_of_repeated_outputs_the_first_counts_and_unanswered_samples_are_told() -> None:
    samples = times((0, 0, 100, -1), (0, 1, 100, -1), (0, 2, 100, -1))
    outputs = times((0, 7, 130, 1), (0, 8, 120, 0), (0, 3, 105, 1))

    found = match(samples, outputs)

    assert sorted(found.latency_ms.tolist()) == [5, 20]
    assert (found.unanswered, found.repeated) == (1, 1)


def test_outputs_of_other_loads_or_without_a_source_are_no_answers() -> None:
    samples = times((0, 10, 100, -1))
    outputs = times((0, 0, 101, 9), (0, 1, 102, 11), (0, 2, 103, NO_SOURCE), (0, 3, 104, 10))

    found = match(samples, outputs)

    assert found.latency_ms.tolist() == [4]
    assert found.unanswered == 0


def test_a_sample_of_the_warm_up_has_no_latency() -> None:
    samples = times((0, 0, 10_000, -1), (1, 0, 12_999, -1), (0, 1, 13_000, -1))
    found = match(samples, times((0, 0, 10_900, 0), (1, 0, 13_900, 0), (0, 1, 13_003, 1)))

    assert found.after(3.0).latency_ms.tolist() == [3]
    assert match(times(), times()).after(3.0).latency_ms.tolist() == []


def test_quantiles_are_those_of_all_latencies() -> None:
    found = summary(np.arange(1, 102))

    assert (found["p50_ms"], found["p90_ms"], found["p99_ms"], found["max_ms"], found["samples"]) == (
        51,
        91,
        100,
        101,
        101,
    )
    with pytest.raises(RunError, match="no output"):
        summary(np.array([], np.int64))


def test_a_commit_is_a_burst_of_state_records() -> None:
    spans = commit_spans(np.array([1530, 1001, 1000, 1040, 1500, 2200]))

    assert spans.tolist() == [[1000, 1040], [1500, 1530], [2200, 2200]]
    assert commit_spans(np.array([], np.int64)).shape == (0, 2)


def test_latency_near_commits_is_told_apart() -> None:
    appended = np.arange(0, 1000, 10)
    slow = (appended >= 480) & (appended < 560)
    samples = times(*((0, i, int(at), -1) for i, at in enumerate(appended)))
    outputs = times(*((0, i, int(at) + (30 if slow[i] else 2), i) for i, at in enumerate(appended)))

    found = around_commits(match(samples, outputs), np.array([[500, 510]]))

    assert found == {"commits": 1, "p99_near_ms": 30.0, "p99_else_ms": 2.0, "samples_near": 8}
    assert around_commits(match(samples, outputs), np.empty((0, 2), np.int64))["p99_near_ms"] is None


def test_stalls_near_commits_are_told_apart() -> None:
    pings = Pings(cast(LiveWorker, None))  # nobody is asked
    pings.asked_ms, pings.took_ms = [100, 490, 900], [1.0, 12.0, 3.0]

    found = pings.summary(np.array([[500, 510]]))

    assert (found["longest_near_commits_ms"], found["longest_else_ms"], found["longest_ms"]) == (12.0, 3.0, 12.0)


@pytest.mark.kafka
def test_a_worker_answers_while_it_is_asked(worker: WorkerProcess) -> None:
    with Pings(cast(LiveWorker, worker)) as pings:
        wait_until(lambda: len(pings.took_ms) >= 3)

    found = pings.summary(np.empty((0, 2), np.int64))
    assert found["longest_near_commits_ms"] is None
    assert found["asked"] >= 3
    assert found["longest_ms"] == found["longest_else_ms"]


def require_running(child: Child) -> None:
    assert child.running


@pytest.mark.kafka
def test_a_load_comes_back_from_an_echo_with_all_its_latencies(settings: Settings, tmp_path: Path) -> None:
    source, output = settings.topic(SIGNAL_SAMPLES), settings.topic("echo")
    Cluster(settings).create({output: settings.partitions}, 1, {output: STREAM_CONFIG})
    starts = ends(settings, source)
    where = [settings.broker, source, output, ",".join(map(str, starts))]
    command = [sys.executable, str(BENCHMARKS / "echo_loop.py"), "confluent", *where]
    child = Child(command, output=tmp_path / "echo.log", environment=settings.process_environment())

    try:
        report = send(load_of(settings, "signal", streams=10, rate=1000, samples=300, sequence="s"))
        wait_for(settings, output, 300, check=lambda: require_running(child))
    finally:
        child.kill()

    found = match(read_times(settings, source, starts), read_times(settings, output, (0,) * settings.partitions))
    assert report["samples"] == 300
    assert report["seconds"] >= 0.299
    assert (len(found.latency_ms), found.unanswered, found.repeated) == (300, 0, 0)
    assert found.latency_ms.min() >= 0


@pytest.mark.kafka
def test_a_sender_whose_topic_is_missing_fails_with_its_words(settings: Settings) -> None:
    with pytest.raises(RunError, match="the sender failed"):
        send(load_of(settings.replace(topic_prefix="none-"), "signal", streams=1, rate=0, samples=1, sequence="s"))


# What the parts are made of.


def test_both_calls_of_the_model_give_the_same_predictions() -> None:
    samples = np.random.default_rng(1).standard_normal((5, 9, 5)).astype(np.float32)

    np.testing.assert_allclose(
        our_call(signal_model(), samples)(), library_call(signal_model(), samples)(), rtol=0, atol=1e-5
    )


def test_calls_take_turns_five_times_at_least() -> None:
    called: list[str] = []

    best = best_of([lambda: called.append("a"), lambda: called.append("b")], budget_s=0.0)

    assert called == ["a", "b"] * 5
    assert all(0 <= seconds < 1 for seconds in best)


@pytest.mark.parametrize("steps", [99, 100, 190, 530])
def test_windows_of_the_model_alone_are_those_that_a_cast_has(settings: Settings, steps: int) -> None:
    window, lengths = CastWindow(WindowRules()), Counter[int]()
    for step in range(steps):
        window.open(step)
        window.add(step, (0.0,) * 5)
        window.trim()
        if window.due:
            lengths[len(window.view().steps)] += 1

    assert window_lengths(settings, steps) == lengths


def test_commits_are_counted_between_two_looks() -> None:
    metrics = Metrics()
    metrics.stages.labels("", "commit").observe(0.004)
    before = parse(metrics.exposition().decode())
    for seconds in (0.004, 0.06):
        metrics.stages.labels("", "commit").observe(seconds)
    metrics.stages.labels("signal", "decode").observe(9.0)

    found = commits_between(before, parse(metrics.exposition().decode()))

    assert found["count"] == 2
    assert found["mean_ms"] == pytest.approx(32.0)
    assert found["longest_below_ms"] == 75.0


def test_a_look_at_the_metrics_sums_over_labels_that_are_not_asked_for() -> None:
    metrics = Metrics()
    for outcome, count in (("processed", 5), ("late", 2)):
        metrics.records.labels("signal", "a", outcome).inc(count)

    found = parse(metrics.exposition().decode())

    assert found.get("caststream_records_total", topic="a") == 7
    assert found.get("caststream_records_total", outcome="late") == 2
    assert found.get("caststream_records_total", topic="b") == 0


def test_the_worker_s_line_of_a_recovery_is_understood() -> None:
    source = (BENCHMARKS.parent / "stream_app" / "worker" / "recovery.py").read_text()
    said = "12:00:00 INFO worker 0: recovered 1234 changelog records of 8 partitions in 2.5 s"

    found = RECOVERED.search(said)

    assert found is not None
    assert found.groups() == ("1234", "2.5")
    assert '"recovered %d changelog records of %d partitions in %.1f s"' in source


def test_a_load_travels_to_the_sender_as_json() -> None:
    sent = load_of(Settings(), "casting", streams=2, rate=5.0, samples=10, sequence="c", stagger=30)

    assert Load(**json.loads(json.dumps(vars(sent)))) == sent
