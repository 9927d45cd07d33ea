"""The rows that settings and time decide, through a real worker: gap policy ``hold``, the idle rule.

The sources have CreateTime here, so that a test chooses the times by which the idle rule goes. Outputs are MessagePack.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from stream_app.local.broker import LocalBroker
from stream_app.settings import Settings
from tests.admin import alter_topic
from tests.broker import wait_until
from tests.feeds import Feed, assert_close, assert_scores, in_sequence
from tests.offline import Sample, casting_samples, predictions, scores, signal_samples
from tests.worker import WorkerProcess, own_worker

pytestmark = pytest.mark.kafka

IDLE_MS = 300_000  # the default idle_timeout
MAX_GAP = 5


def give_producers_the_time(settings: Settings) -> None:
    for source in ("signal-samples", "casting-samples"):
        alter_topic(settings, settings.topic(source), message_timestamp_type="CreateTime")


@pytest.fixture(scope="module")
def worker(broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    changes = {"gap_policy": "hold", "max_gap": MAX_GAP, "output_format": "msgpack"}
    directory = tmp_path_factory.mktemp("table-settings")
    with own_worker(broker, directory, "table-settings", give_producers_the_time, **changes) as running:
        yield running


@pytest.fixture
def now_ms() -> int:
    return time.time_ns() // 1_000_000


def held(samples: list[Sample]) -> list[Sample]:
    """The samples with the missing steps filled by the sample before."""
    filled = [samples[0]]
    for sample in samples[1:]:
        missing = range(filled[-1]["step"] + 1, sample["step"])
        filled += [{**filled[-1], "step": step} for step in missing] + [sample]
    return filled


# Policy hold.


def test_a_held_gap_repeats_the_sample_before_it_without_outputs(signals: Feed) -> None:
    samples = signal_samples(30, seed=1)
    good = [*samples[:4], *samples[9:20], *samples[22:]]
    signals.send(*good)

    found = signals.predictions(len(good))

    expected = predictions(held(good))
    assert [(good.index(samples[9]), found[4].gap), (2, found[15].gap)] == [(4, 5), (2, 2)]
    assert [sample["step"] for sample in good] == [prediction.step for prediction in found]
    assert_close([expected[sample["step"]] for sample in good], [prediction.prediction for prediction in found])


def test_a_gap_above_max_gap_resets_the_state(worker: WorkerProcess, signals: Feed) -> None:
    before = worker.metric("caststream_resets_total", reason="gap")
    samples = signal_samples(20, seed=2)
    signals.send(*samples[:4], *samples[10:])

    found = signals.predictions(14)

    assert found[4].gap == MAX_GAP + 1
    assert_close(predictions(samples[:4]) + predictions(samples[10:]), [prediction.prediction for prediction in found])
    assert worker.metric("caststream_resets_total", reason="gap") == before + 1


def test_a_gap_before_the_first_record_has_nothing_to_hold(signals: Feed) -> None:
    samples = signal_samples(10, seed=3)
    signals.send(*samples[3:])

    found = signals.predictions(7)

    assert found[0].gap == 3
    assert_close(predictions(samples[3:]), [prediction.prediction for prediction in found])


def test_a_held_gap_fills_the_window_of_a_cast(casts: Feed) -> None:
    samples = in_sequence(casting_samples(140, seed=1), "cast-1")
    good = [*samples[:50], *samples[55:]]
    casts.send(*good)

    assert_scores(scores(held(good), ended=False), casts.scores(2))


def test_a_gap_above_max_gap_empties_the_window_of_a_cast(casts: Feed) -> None:
    samples = in_sequence(casting_samples(230, seed=2), "cast-1")
    samples[-1]["end"] = True
    casts.send(*samples[:120], *samples[126:])

    before = scores(samples[:120], ended=False)
    after = scores(samples[126:], ended=True, steps=range(126, 230))
    assert_scores([*before, *after], casts.scores(3))


# Outputs in MessagePack.


def test_outputs_are_messagepack_and_say_so(signals: Feed) -> None:
    signals.send(signal_samples(1)[0])

    (record,) = signals.outputs(1)

    assert record.header("content-type") == b"application/msgpack"
    assert (record.value or b"")[:1] != b"{"


# The idle rule.


def test_a_record_after_the_idle_timeout_finds_no_state(worker: WorkerProcess, signals: Feed, now_ms: int) -> None:
    before = worker.metric("caststream_resets_total", reason="idle")
    samples = in_sequence(signal_samples(10, seed=4), "a")
    signals.send(*samples[:3], timestamp_ms=now_ms)
    signals.send(*samples[3:5], timestamp_ms=now_ms + IDLE_MS)
    signals.send(*samples[5:], timestamp_ms=now_ms + 2 * IDLE_MS + 1)

    found = signals.predictions(10)

    assert [prediction.gap for prediction in found] == [0, 0, 0, 0, 0, 5, 0, 0, 0, 0]
    assert_close(predictions(samples[:5]) + predictions(samples[5:]), [prediction.prediction for prediction in found])
    assert worker.metric("caststream_resets_total", reason="idle") == before + 1


def test_duplicates_and_dead_letters_are_no_activity_so_a_wrong_counter_heals(signals: Feed, now_ms: int) -> None:
    samples = signal_samples(8, seed=5)
    signals.send({**samples[0], "step": 900_000}, timestamp_ms=now_ms)
    signals.send(*samples[1:4], timestamp_ms=now_ms + IDLE_MS - 1)  # below the wrong counter
    (bad,) = signals.send(b"?", timestamp_ms=now_ms + IDLE_MS)
    signals.send(*samples[4:], timestamp_ms=now_ms + IDLE_MS + 1)

    found = signals.predictions(5)

    assert [prediction.step for prediction in found] == [900_000, 4, 5, 6, 7]
    assert_close(predictions(samples[:1]) + predictions(samples[4:]), [prediction.prediction for prediction in found])
    assert signals.dead_letter(bad).header("error.timestamp_ms") == b"%d" % (now_ms + IDLE_MS)


def test_a_sequence_that_was_late_is_none_after_the_idle_timeout(signals: Feed, now_ms: int) -> None:
    first, second = in_sequence(signal_samples(4, seed=6), "a"), in_sequence(signal_samples(2, seed=7), "b")
    signals.send(*first[:2], *second, timestamp_ms=now_ms)
    signals.send(*first, timestamp_ms=now_ms + IDLE_MS + 1)

    found = signals.predictions(8)

    assert_close(
        predictions(first[:2]) + predictions(second) + predictions(first),
        [prediction.prediction for prediction in found],
    )


def test_an_idle_cast_gives_its_final_score_first(casts: Feed, now_ms: int) -> None:
    samples = in_sequence(casting_samples(215, seed=3), "cast-1")
    offsets = casts.send(*samples[:110], timestamp_ms=now_ms)
    casts.send(*samples[110:], timestamp_ms=now_ms + IDLE_MS + 1)

    found = casts.scores(3)

    before, after = samples[:110], samples[110:]
    assert_scores([*scores(before, ended=True), *scores(after, ended=False, steps=range(110, 215))], found)
    assert found[1].timestamp_ms == now_ms
    assert casts.outputs(3)[1].header("source-offset") == b"%d" % offsets[109]


# Latency.


def test_latency_on_a_create_time_topic_does_not_count_the_age_of_the_samples(
    worker: WorkerProcess, signals: Feed, now_ms: int
) -> None:
    topic = worker.settings.topic("signal-predictions")

    def observed() -> tuple[float, float]:
        return (
            worker.metric("caststream_latency_seconds_count", topic=topic),
            worker.metric("caststream_latency_seconds_sum", topic=topic),
        )

    count, total_s = observed()
    signals.send(*signal_samples(10), timestamp_ms=now_ms - 200_000)
    signals.predictions(10)
    wait_until(lambda: observed()[0] >= count + 10)

    assert observed()[1] - total_s < 10 * 100
