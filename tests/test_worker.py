"""Whole worker processes: killed and replaced, stopped and started again, refusing what would go wrong in silence."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from admin import add_partitions, commit, committed, delete_records
from broker import Received, ToSend, consume_all, consume_until, produce, wait_until
from conftest import MakeSettings
from feeds import PARTITIONS, Feed, assert_close, casting_feed, in_sequence, signal_feed
from offline import (
    TOLERANCE,
    Expected,
    Sample,
    casting_samples,
    defect_fingerprint,
    predictions,
    run_signals,
    scores,
    signal_fingerprint,
    signal_samples,
)
from prometheus_client.parser import text_string_to_metric_families
from worker import WorkerProcess, own_worker

from core.chunk import WindowRules
from core.errors import RunError
from core.records import SENSORS, Prediction, Score, decode_prediction, decode_score
from core.scorer import HEAD, segment_key
from core.state import StreamState, unpack_state
from core.windows import unpack_body
from stream_app.admin import Cluster
from stream_app.broker import LocalBroker
from stream_app.process import EXIT_REFUSED
from stream_app.settings import Settings
from stream_app.topics import create_topics, topic_ids
from stream_app.worker import Supervisor

pytestmark = pytest.mark.kafka


# Killed in mid stream.

SIGNALS, SIGNAL_STEPS = 12, 900
STRANDS, CASTS = 4, (230, 310)  # the first cast of each strand ends, the second goes on
BLOCKS = 18


@dataclass(frozen=True)
class Load:
    """Streams of both kinds with all their samples, sent block by block, all streams in turn."""

    signals: dict[Feed, list[Sample]]
    casts: dict[Feed, list[Sample]]

    def send(self, blocks: range) -> None:
        for block in blocks:
            for streams in (self.signals, self.casts):
                _send_block(streams, block)

    def expected_predictions(self) -> dict[tuple[str, int], float]:
        return {
            (feed.name, step): value
            for feed, samples in self.signals.items()
            for step, value in enumerate(predictions(samples))
        }

    def expected_scores(self) -> dict[tuple[str, str, int, bool], Expected]:
        found = {}
        for feed, samples in self.casts.items():
            for sequence, ended in (("cast-1", True), ("cast-2", False)):
                cast = [sample for sample in samples if sample["sequence"] == sequence]
                for score in scores(cast, ended):
                    found[feed.name, sequence, score.step, score.final] = score
        return found


def _send_block(streams: dict[Feed, list[Sample]], block: int) -> None:
    length = len(next(iter(streams.values()))) // BLOCKS
    records = [
        ToSend(feed.name, samples[step], partition=feed.partition)
        for step in range(block * length, (block + 1) * length)
        for feed, samples in streams.items()
    ]
    feed = next(iter(streams))
    produce(feed.settings, feed.topic, records)


def load(settings: Settings) -> Load:
    """Every second signal stream has no steps: only its offsets keep its samples from being applied twice."""
    signals = {}
    for i in range(SIGNALS):
        samples = signal_samples(SIGNAL_STEPS, i)
        signals[signal_feed(settings, i % PARTITIONS)] = (
            samples if i % 2 else [{**sample, "step": None} for sample in samples]
        )
    casts = {}
    for i in range(STRANDS):
        first, second = (in_sequence(casting_samples(n, i + n), f"cast-{k}") for k, n in enumerate(CASTS, 1))
        first[-1]["end"] = True
        casts[casting_feed(settings, i % PARTITIONS)] = [*first, *second]
    return Load(signals, casts)


def by_prediction(records: Sequence[Received]) -> dict[tuple[str, int], list[Prediction]]:
    found = defaultdict(list)
    for record in records:
        prediction = decode_prediction(record.value)
        found[prediction.stream, prediction.step].append(prediction)
    return found


def by_score(records: Sequence[Received]) -> dict[tuple[str, str, int, bool], list[Score]]:
    found = defaultdict(list)
    for record in records:
        score = decode_score(record.value)
        found[score.stream, score.sequence, score.step, score.final].append(score)
    return found


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
def test_a_worker_killed_in_mid_stream_loses_nothing_and_changes_nothing(
    make_settings: MakeSettings, tmp_path: Path, guarantee: str
) -> None:
    settings = make_settings(processing_guarantee=guarantee, session_timeout=3)
    sent = load(settings)
    topic = settings.topic("signal-predictions")
    expected, expected_scores = sent.expected_predictions(), sent.expected_scores()
    with WorkerProcess(settings, tmp_path) as worker:
        worker.start()
        sent.send(range(6))
        wait_until(lambda: any(offset for offset, _ in committed(settings).values()), what="a first commit")
        sent.send(range(6, 12))
        worker.sigkill()  # some of these are applied now, few of them committed
        seen = by_prediction(consume_all(settings, topic))
        sent.send(range(12, 15))
        worker.start()
        sent.send(range(15, BLOCKS))
        received = consume_until(settings, topic, lambda records: by_prediction(records).keys() >= expected.keys())
        received_scores = consume_until(
            settings,
            settings.topic("casting-scores"),
            lambda records: by_score(records).keys() >= expected_scores.keys(),
        )
        wait_until(lambda: at_the_end(settings), what="all offsets committed")

        found, found_scores = by_prediction(received), by_score(received_scores)
        assert 0 < len(seen) < len(expected)
        assert_predictions(expected, found)
        assert_all_scores(expected_scores, found_scores)
        assert_hidden_states(settings, sent)
        assert_windows(settings, sent)
        if guarantee == "exactly_once":
            assert {len(same) for same in found.values()} == {1}
            assert {len(same) for same in found_scores.values()} == {1}
        assert worker.sigterm() == 0


def at_the_end(settings: Settings) -> bool:
    """Whether the group has committed all records of both sources; transactions leave markers behind them."""
    found = committed(settings)
    topics = [settings.topic(name) for name in ("signal-samples", "casting-samples")]
    ends = {(topic, record.partition): record.offset + 1 for topic in topics for record in consume_all(settings, topic)}
    return all(found.get(at, (0, ""))[0] >= end for at, end in ends.items())


def assert_predictions(expected: dict[tuple[str, int], float], found: dict[tuple[str, int], list[Prediction]]) -> None:
    assert found.keys() == expected.keys()
    for key, same in found.items():
        for prediction in same:
            assert abs(prediction.prediction - expected[key]) <= TOLERANCE, key
            assert (prediction.gap, prediction.model, prediction.timestamp_ms) == (
                0,
                signal_fingerprint(),
                same[0].timestamp_ms,
            )


def assert_all_scores(
    expected: dict[tuple[str, str, int, bool], Expected], found: dict[tuple[str, str, int, bool], list[Score]]
) -> None:
    assert found.keys() == expected.keys()
    for key, same in found.items():
        want = expected[key]
        for got in same:
            assert (got.start, got.length, got.attention_peak) == (want.start, want.length, want.peak), key
            assert abs((got.probability or 0) - (want.probability or 0)) <= TOLERANCE, key


def table(settings: Settings, name: str) -> dict[tuple[int, bytes], bytes]:
    """What a recovery would keep: per key the record with the highest source offset, of equal ones the later."""
    best: dict[tuple[int, bytes], tuple[int, bytes | None]] = {}
    for record in consume_all(settings, settings.changelog(name)):
        at, offset = (record.partition, record.key or b""), int(record.header("source-offset") or -1)
        if at not in best or offset >= best[at][0]:
            best[at] = offset, record.value
    return {at: value for at, (_, value) in best.items() if value is not None}


def assert_hidden_states(settings: Settings, sent: Load) -> None:
    rows = table(settings, "signal-states")
    assert rows.keys() == {(feed.partition, feed.name.encode()) for feed in sent.signals}
    for feed, samples in sent.signals.items():
        state = StreamState()
        model, body = unpack_state(rows[feed.partition, feed.name.encode()], state)
        assert (model, state.step) == (signal_fingerprint(), SIGNAL_STEPS - 1)
        # Cells that integrate reach some hundreds, where float32 resolves no 1e-5 any more: 1e-5 of them then.
        np.testing.assert_allclose(np.frombuffer(body, "<f4"), run_signals(samples)[1], rtol=TOLERANCE, atol=TOLERANCE)


def assert_windows(settings: Settings, sent: Load) -> None:
    rows = table(settings, "casting-windows")
    for feed, samples in sent.casts.items():
        state, key, partition = StreamState(), feed.name.encode(), feed.partition
        model, body = unpack_state(rows[partition, HEAD + key], state)
        window = unpack_body(
            body, state.step, WindowRules(), lambda n, at=partition, key=key: rows.get((at, segment_key(key, n)))
        )
        cast = [sample for sample in samples if sample["sequence"] == "cast-2"]
        assert (model, state.sequence, state.step) == (defect_fingerprint(), "cast-2", len(cast) - 1)
        assert window.view().steps.tolist() == [sample["step"] for sample in cast]
        expected = np.array([[sample[name] for name in SENSORS] for sample in cast], np.float32)
        np.testing.assert_array_equal(expected, window.view().samples)


# One worker for what does not need a fresh one.


@pytest.fixture(scope="module")
def worker(broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with own_worker(broker, tmp_path_factory.mktemp("worker"), "worker-tests") as running:
        yield running


METRICS = [
    "caststream_records_total",
    "caststream_duplicates_total",
    "caststream_dead_letters_total",
    "caststream_latency_seconds_count",
    "caststream_stage_seconds_count",
    "caststream_batch_streams_count",
    "caststream_batch_steps_count",
    "caststream_resets_total",
    "caststream_gaps_total",
    "caststream_records_lost_total",
    "caststream_moved_streams_total",
    "caststream_active_streams",
    "caststream_scores_total",
    "caststream_score_probability_count",
    "caststream_consumer_lag_records",
    "caststream_commit_age_seconds",
    "caststream_model_info",
]


def test_metrics_tell_what_happened(worker: WorkerProcess) -> None:
    settings = worker.settings
    signals, casts = signal_feed(settings), casting_feed(settings)
    signals.send(*signal_samples(40), signal_samples(1)[0] | {"step": 39}, b"?", signal_samples(1)[0] | {"step": 50})
    signals.send(signal_samples(1)[0])  # begins again
    cast = casting_samples(130)
    casts.send(*cast)
    signals.predictions(42)
    casts.scores(2)
    wait_until(lambda: worker.metric("caststream_latency_seconds_count", topic=settings.topic("casting-scores")) >= 2)
    wait_until(lambda: worker.metric("caststream_active_streams", table="casting-windows") == 1)
    wait_until(lambda: "caststream_consumer_lag_records{" in worker.get("/metrics")[1])

    status, text = worker.get("/metrics")
    names = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}

    assert status == 200
    assert set(METRICS) <= names
    assert {name for name in names if name.startswith("caststream_") and name.endswith("_milliseconds")} == set()
    outcomes = {
        outcome: worker.metric("caststream_records_total", topic=signals.topic, outcome=outcome)
        for outcome in ("processed", "duplicate", "dead_letter", "late")
    }
    assert outcomes == {"processed": 42, "duplicate": 1, "dead_letter": 1, "late": 0}
    assert worker.metric("caststream_records_total", topic=casts.topic, outcome="processed") == 130
    assert worker.metric("caststream_score_probability_count") == 2
    assert worker.metric("caststream_model_info", model="signal", fingerprint=signal_fingerprint()) == 1
    assert worker.metric("caststream_model_info", model="defect", fingerprint=defect_fingerprint()) == 1
    stages = {stage for stage in ("decode", "infer", "publish", "commit") if f'stage="{stage}"' in text}
    assert stages == {"decode", "infer", "publish", "commit"}
    assert signals.name not in text


def test_health_and_readiness_have_endpoints_of_their_own(worker: WorkerProcess) -> None:
    assert worker.get("/healthz") == (200, "ok\n")
    assert worker.get("/readyz") == (200, "ready\n")
    assert worker.get("/")[0] == 404


def test_a_worker_stopped_in_order_repeats_nothing(worker: WorkerProcess) -> None:
    settings = worker.settings
    signals, casts = signal_feed(settings), casting_feed(settings)
    samples, cast = signal_samples(60, seed=1), casting_samples(130, seed=1)
    signals.send(*samples[:30])
    casts.send(*cast[:110])
    signals.predictions(30)
    casts.scores(1)

    assert worker.sigterm() == 0
    offsets = committed(settings)
    ids = topic_ids(settings)
    for feed in (signals, casts):
        end = 1 + max(
            record.offset for record in consume_all(settings, feed.topic) if record.partition == feed.partition
        )
        assert offsets[feed.topic, feed.partition] == (end, f'{{"topic_id": "{ids[feed.topic]}"}}')
    signals.send(*samples[30:50])
    worker.start()
    signals.send(*samples[50:])
    casts.send(*cast[110:])

    found = signals.predictions(60)
    assert [prediction.step for prediction in found] == list(range(60))
    assert_close(predictions(samples), [prediction.prediction for prediction in found])
    assert [score.step for score in casts.scores(2)] == [99, 129]
    assert worker.metric("caststream_duplicates_total") == 0


def test_records_that_retention_took_are_counted_and_leave_a_gap(worker: WorkerProcess) -> None:
    settings = worker.settings
    feed, samples = signal_feed(settings), signal_samples(30, seed=2)
    feed.send(*samples[:10])
    feed.predictions(10)
    assert worker.sigterm() == 0
    offsets = feed.send(*samples[10:])
    delete_records(settings, feed.topic, feed.partition, before=offsets[5])
    worker.start()

    found = feed.predictions(25)

    assert [(prediction.step, prediction.gap) for prediction in found[9:12]] == [(9, 0), (15, 5), (16, 0)]
    assert_close(predictions([*samples[:10], *samples[15:]]), [prediction.prediction for prediction in found])
    assert worker.metric("caststream_records_lost_total") == 5
    assert f"{feed.topic}[{feed.partition}]: records {offsets[0]} to {offsets[4]} were deleted" in worker.log


# Refusals: one line that says what to do, and a status that tells the supervisor not to try again.


RESET = "caststream topics reset-state"


def topics_missing(settings: Settings) -> list[str]:
    names = [settings.topic("signal-samples"), settings.changelog("casting-windows")]
    Cluster(settings).delete(names)
    return [*names, "caststream topics create"]


def partitions_differ(settings: Settings) -> list[str]:
    topic = settings.topic("signal-samples")
    add_partitions(settings, topic, PARTITIONS + 1)
    wait_until(lambda: Cluster(settings).partitions()[topic] == PARTITIONS + 1)
    return [settings.topic("signal-predictions"), "has 4 partitions and its source 5"]


def checkpoint_missing(settings: Settings) -> list[str]:
    return ["nowhere.pt", "no such file"]


def port_taken(settings: Settings) -> list[str]:
    return [str(settings.metrics_port), "--metrics-port"]


def offsets_deleted(settings: Settings) -> list[str]:
    leave_state(settings, "casting-windows", partition=1)
    return [settings.topic("casting-samples") + "[1]", "no committed offset", RESET]


def topic_made_anew(settings: Settings) -> list[str]:
    """The broker has forgotten the offsets with the topic; the states are still there."""
    feed = signal_feed(settings, 2)
    feed.send(*signal_samples(3))
    leave_state(settings, "signal-states", partition=2, source_offset=2)
    commit(settings, {(feed.topic, 2): (3, "")})
    Cluster(settings).delete([feed.topic])
    create_topics(settings)
    feed.send(*signal_samples(5))
    return [f"{feed.topic}[2]", "no committed offset", RESET]


def offsets_of_another_topic(settings: Settings) -> list[str]:
    """A topic made anew under a running worker, which has committed its offsets once more."""
    feed = signal_feed(settings, 2)
    old = topic_ids(settings)[feed.topic]
    Cluster(settings).delete([feed.topic])
    create_topics(settings)
    feed.send(*signal_samples(5))
    commit(settings, {(feed.topic, 2): (3, json.dumps({"topic_id": old}))})
    return [feed.topic, "deleted and made anew", old, RESET]


def source_truncated(settings: Settings) -> list[str]:
    feed = signal_feed(settings, 3)
    feed.send(*signal_samples(3))
    commit(settings, {(feed.topic, 3): (3, "")})
    leave_state(settings, "signal-states", partition=3, source_offset=9)
    return [f"{feed.topic}[3] ends at offset 3", "up to 9", RESET]


def leave_state(settings: Settings, name: str, partition: int, source_offset: int = 0) -> None:
    header = [("source-offset", b"%d" % source_offset)]
    produce(settings, settings.changelog(name), [ToSend("x", b"state", header, partition)])


REFUSALS: list[Callable[[Settings], list[str]]] = [
    topics_missing,
    partitions_differ,
    checkpoint_missing,
    port_taken,
    offsets_deleted,
    topic_made_anew,
    offsets_of_another_topic,
    source_truncated,
]


@pytest.mark.parametrize("wrong", REFUSALS, ids=lambda wrong: wrong.__name__)
def test_a_worker_refuses(make_settings: MakeSettings, tmp_path: Path, wrong: Callable[[Settings], list[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        changes = {
            checkpoint_missing: {"signal_checkpoint": tmp_path / "nowhere.pt"},
            port_taken: {"metrics_port": taken.getsockname()[1]},
        }
        settings = make_settings(**changes.get(wrong, {}))
        words = wrong(settings)
        with WorkerProcess(settings, tmp_path) as worker:
            status = worker.start(ready=False).wait()

    assert status == EXIT_REFUSED, worker.log
    assert len(worker.errors) == 1, worker.log
    assert [word for word in words if word not in worker.errors[0]] == []
    assert "Traceback" not in worker.log


def test_a_topic_made_anew_ends_the_worker_that_reads_it(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings()
    feed = signal_feed(settings)
    with WorkerProcess(settings, tmp_path) as worker:
        worker.start()
        feed.send(*signal_samples(10))
        feed.predictions(10)
        Cluster(settings).delete([feed.topic])
        create_topics(settings)
        feed.send(*signal_samples(3))

        assert worker.wait() == EXIT_REFUSED, worker.log
        assert feed.topic in worker.errors[-1]  # aiokafka has complained before: it met the topic while it was gone
        assert RESET in worker.errors[-1]
        assert "Traceback" not in worker.log


# The supervisor.


@pytest.fixture
def supervisor(make_settings: MakeSettings) -> Iterator[Callable[..., Supervisor]]:
    running: list[Supervisor] = []

    def make(settings: Settings, workers: int = 1) -> Supervisor:
        running.append(Supervisor(settings, workers))
        return running[-1]

    yield make
    for each in running:
        each.stopping.set()


def test_the_supervisor_starts_a_worker_again_that_was_killed(
    make_settings: MakeSettings, supervisor: Callable[..., Supervisor]
) -> None:
    supervised = supervisor(make_settings(), workers=1)
    thread = threading.Thread(target=supervised.run)
    thread.start()

    def pid() -> int | None:
        process = supervised.children[0].process
        return process.pid if process else None

    first = wait_until(pid)
    os.kill(first, signal.SIGKILL)
    second = wait_until(lambda: (now := pid()) != first and now)
    supervised.stopping.set()
    thread.join(60)

    assert first != second
    assert not thread.is_alive()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_the_supervisor_ends_when_a_worker_refuses(
    make_settings: MakeSettings, supervisor: Callable[..., Supervisor]
) -> None:
    settings = make_settings()
    topics_missing(settings)

    with pytest.raises(RunError, match="worker 0 refused to start"):
        supervisor(settings, workers=2).run()
