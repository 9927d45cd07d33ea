"""Whole worker processes: killed and replaced, stopped and started again, refusing what would go wrong in silence."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.engines.results import WindowRules
from core.engines.state import StreamState, unpack_state
from core.engines.table_keys import HEAD, segment_key
from core.engines.windows import unpack_body
from core.wire.records import SENSORS, Prediction, Score, decode_prediction, decode_score
from stream_app.clients.admin import Cluster
from stream_app.local.broker import LocalBroker
from stream_app.settings import Settings
from stream_app.topics.administration import topic_ids
from stream_app.worker.assignment import stored_id
from tests.admin import committed, delete_records
from tests.broker import Received, ToSend, consume_all, consume_until, produce, wait_until
from tests.conftest import MakeSettings
from tests.feeds import PARTITIONS, Feed, assert_close, casting_feed, in_sequence, signal_feed
from tests.no_torch import hide_torch
from tests.offline import (
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
from tests.prometheus import names_of_a_worker
from tests.worker import ROOT, WorkerProcess, own_worker

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
    make_settings: MakeSettings, tmp_path: Path, guarantee: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of both tasks, as in a plant: from the interpreter on, without PyTorch."""
    monkeypatch.setenv("PYTHONPATH", f"{hide_torch(tmp_path / 'hidden')}:{os.environ.get('PYTHONPATH', '')}")
    settings = make_settings(processing_guarantee=guarantee, session_timeout=3)
    sent = load(settings)
    topic = settings.topic("signal-predictions")
    expected, expected_scores = sent.expected_predictions(), sent.expected_scores()
    with WorkerProcess(settings, tmp_path) as worker:
        worker.forked = False
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


def test_metrics_tell_what_happened(worker: WorkerProcess) -> None:
    settings = worker.settings
    signals, casts = signal_feed(settings), casting_feed(settings)
    signals.send(*signal_samples(40), signal_samples(1)[0] | {"step": 39}, b"?", signal_samples(1)[0] | {"step": 50})
    signals.send(signal_samples(1)[0])  # begins again
    odd = signal_feed(settings)
    odd.send(signal_samples(1)[0] | {"signal": 1e5, "seq": "A"})
    odd.predictions(1)
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
    of_own_tasks = {"caststream_abnormal_total", "caststream_held_fields_total"}  # in test_pump.py
    assert names_of_a_worker() - {"up"} - of_own_tasks <= names
    assert {name for name in names if name.startswith("caststream_") and name.endswith("_milliseconds")} == set()
    outcomes = {
        outcome: worker.metric("caststream_records_total", topic=signals.topic, outcome=outcome)
        for outcome in ("processed", "duplicate", "dead_letter", "late")
    }
    assert outcomes == {"processed": 43, "duplicate": 1, "dead_letter": 1, "late": 0}
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
    ids = topic_ids(settings, Cluster(settings))
    for feed in (signals, casts):
        end = 1 + max(
            record.offset for record in consume_all(settings, feed.topic) if record.partition == feed.partition
        )
        offset, metadata = offsets[feed.topic, feed.partition]
        assert (offset, stored_id(metadata, "topic_id")) == (end, ids[feed.topic])
    signals.send(*samples[30:50])
    worker.start()
    signals.send(*samples[50:])
    casts.send(*cast[110:])

    found = signals.predictions(60)
    assert [prediction.step for prediction in found] == list(range(60))
    assert_close(predictions(samples), [prediction.prediction for prediction in found])
    assert [score.step for score in casts.scores(2)] == [99, 129]
    assert worker.metric("caststream_duplicates_total") == 0
    assert {path.suffix for path in settings.data_dir.iterdir()} == {".log"}, "a worker writes nothing to disk"
    assert not list(ROOT.glob(f"{settings.app_id}*")), "Faust's folder for tables, in the working directory"


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
