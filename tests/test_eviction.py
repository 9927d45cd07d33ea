"""Idle streams are let go by a real worker, whose idle timeout is short here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stream_app.local.broker import LocalBroker
from stream_app.settings import Settings
from tests.broker import Received, consume_all, consume_until, wait_until
from tests.feeds import Feed, assert_close, assert_scores, casting_feed, in_sequence, signal_feed
from tests.offline import casting_samples, predictions, scores, signal_samples
from tests.worker import WorkerProcess, own_worker

pytestmark = pytest.mark.kafka

IDLE_S = 2.0


@pytest.fixture(scope="module")
def worker(broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with own_worker(broker, tmp_path_factory.mktemp("eviction"), "eviction", idle_timeout=IDLE_S) as running:
        yield running


def last_per_key(records: list[Received], stream: str) -> dict[bytes, Received]:
    return {record.key: record for record in records if record.key and record.key.endswith(stream.encode())}


def gone(records: list[Received], stream: str) -> bool:
    """Whether the last record of every key of the stream is a tombstone."""
    last = last_per_key(records, stream)
    return bool(last) and all(record.value is None for record in last.values())


def evicted(settings: Settings, table: str, stream: str) -> list[Received]:
    """Wait until a stream is gone from the changelog; its tombstones."""
    topic = settings.changelog(table)
    consume_until(settings, topic, lambda records: gone(records, stream))
    return list(last_per_key(consume_all(settings, topic), stream).values())


def test_an_idle_signal_stream_is_evicted_and_one_that_is_not_stays(worker: WorkerProcess, signals: Feed) -> None:
    samples = in_sequence(signal_samples(6, seed=8), "a")
    busy, changelog = signal_feed(worker.settings, signals.partition), worker.settings.changelog("signal-states")
    *_, last = signals.send(*samples[:4])
    sent = 0

    def let_go_beside_a_busy_one() -> bool:
        nonlocal sent
        busy.send(signal_samples(1)[0] | {"step": sent})
        sent += 1
        return gone(consume_all(worker.settings, changelog), signals.name)

    wait_until(let_go_beside_a_busy_one, 30, "the eviction")
    signals.send(*samples[4:])
    found = signals.predictions(6)

    records = consume_all(worker.settings, changelog)
    tombstones = [record for record in records if record.key == signals.name.encode() and record.value is None]
    assert [tombstone.header("source-offset") for tombstone in tombstones][:1] == [b"%d" % last]
    assert found[4].gap == 4
    assert_close(predictions(samples[:4]) + predictions(samples[4:]), [prediction.prediction for prediction in found])
    assert [prediction.gap for prediction in busy.predictions(sent)] == [0] * sent
    assert all(record.value is not None for record in records if record.key == busy.name.encode())


def test_idle_casts_give_their_final_scores_and_leave_no_segment(worker: WorkerProcess, casts: Feed) -> None:
    """An ended one has given it already."""
    samples = in_sequence(casting_samples(150, seed=4), "cast-1")
    ended = in_sequence(casting_samples(101, seed=5), "cast-1")
    ended[-1]["end"] = True
    offsets, other = casts.send(*samples), casting_feed(worker.settings)
    other.send(*ended)

    found = casts.scores(3)
    tombstones = evicted(worker.settings, "casting-windows", casts.name)
    evicted(worker.settings, "casting-windows", other.name)

    assert_scores(scores(samples, ended=True), found)
    assert casts.outputs(3)[-1].header("source-offset") == b"%d" % offsets[-1]
    assert len(tombstones) >= 4  # a head and a segment for each 50 samples
    assert {b"%d" % offsets[-1]} == {tombstone.header("source-offset") for tombstone in tombstones}
    assert_scores(scores(ended, ended=True), other.scores(2))
