"""What each record does, row by row, through a real worker: where it ends, and that the stream goes on as offline."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.broker import ToSend, produce, wait_until
from tests.feeds import (
    MSGPACK,
    Feed,
    assert_close,
    bad,
    dead_letters,
    in_sequence,
    msgpack,
)
from tests.offline import predictions, signal_samples
from tests.worker import WorkerProcess

pytestmark = pytest.mark.kafka

SAMPLE = {"signal": 0.5, "condition_vector": [0, 1, 0, 0]}


# The plain row: the next step.


def test_every_sample_gives_the_prediction_that_the_offline_run_gives(signals: Feed) -> None:
    samples = signal_samples(300)
    offsets = signals.send(*samples, timestamp_ms=1_700_000_000_000)

    received = signals.outputs(300)
    found = signals.predictions(300)

    assert list(range(300)) == [prediction.step for prediction in found]
    assert [b"%d" % offset for offset in offsets] == [record.header("source-offset") for record in received]
    assert {0} == {prediction.gap for prediction in found}
    assert {""} == {prediction.sequence for prediction in found}
    assert_close(predictions(samples), [prediction.prediction for prediction in found])


def test_samples_without_steps_are_counted_by_the_worker(signals: Feed) -> None:
    samples = signal_samples(20, seed=1)
    signals.send(*({**sample, "step": None} for sample in samples[:10]))
    signals.send(*({name: sample[name] for name in SAMPLE} for sample in samples[10:]))

    found = signals.predictions(20)

    assert list(range(20)) == [prediction.step for prediction in found]
    assert_close(predictions(samples), [prediction.prediction for prediction in found])


def test_event_time_is_the_samples_own_or_the_append_time(signals: Feed) -> None:
    signals.send({**SAMPLE, "timestamp_ms": 1_700_000_012_345}, SAMPLE, timestamp_ms=1_000)

    own, fallen_back = signals.predictions(2)

    assert own.timestamp_ms == 1_700_000_012_345
    assert fallen_back.timestamp_ms > 1_600_000_000_000  # the broker's clock, not the producer's


def test_unknown_fields_are_ignored_and_null_means_absent(signals: Feed) -> None:
    samples = signal_samples(3, seed=2)
    signals.send(*({**sample, "sequence": None, "timestamp_ms": None, "unit": "mm"} for sample in samples))

    assert_close(predictions(samples), [prediction.prediction for prediction in signals.predictions(3)])


def test_messagepack_is_read_beside_json(signals: Feed) -> None:
    samples = signal_samples(6, seed=3)
    signals.send(*map(msgpack, samples[:2]), headers=MSGPACK)
    signals.send(*samples[2:4], headers=[("content-type", b"application/json")])
    signals.send(*map(msgpack, samples[4:]), headers=MSGPACK)

    assert_close(predictions(samples), [prediction.prediction for prediction in signals.predictions(6)])


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_are_read(signals: Feed, codec: str) -> None:
    samples = signal_samples(50, seed=4)
    signals.send(*samples, producer={"compression.type": codec, "linger.ms": 20})

    assert_close(predictions(samples), [prediction.prediction for prediction in signals.predictions(50)])


def test_records_of_an_aborted_transaction_do_not_exist(signals: Feed) -> None:
    samples = signal_samples(6, seed=5)
    signals.send(*samples[:3])
    producer = Producer({**signals.settings.client_config(), "transactional.id": signals.name})
    producer.init_transactions()
    for part, finish in [(samples[1:], producer.abort_transaction), (samples[3:], producer.commit_transaction)]:
        producer.begin_transaction()
        for sample in part:
            producer.produce(signals.topic, json.dumps(sample), key=signals.name, partition=signals.partition)
        producer.flush()
        finish()

    found = signals.predictions(6)

    assert list(range(6)) == [prediction.step for prediction in found]
    assert_close(predictions(samples), [prediction.prediction for prediction in found])


def test_a_key_in_a_second_partition_is_a_stream_of_its_own(worker: WorkerProcess, signals: Feed) -> None:
    before = worker.metric("caststream_moved_streams_total")
    home, other = signals.partition, (signals.partition + 1) % 4
    samples = signal_samples(8, seed=6)
    signals.send(*samples[:4])
    signals.predictions(4)
    signals.send(*samples, partition=other)
    signals.send(*samples[4:])

    assert_close(predictions(samples), [prediction.prediction for prediction in signals.predictions(8, home)])
    assert_close(predictions(samples), [prediction.prediction for prediction in signals.predictions(8, other)])
    assert worker.metric("caststream_moved_streams_total") == before + 1
    assert worker.log.count(repr(signals.name)) == 1


# Not decodable and the like: dead letters.


BAD_SAMPLES = [
    bad("not_decodable", b"{", name="cut"),
    bad("not_decodable", b"", name="empty"),
    bad("not_decodable", None, name="no-value"),
    bad("not_decodable", b"\xff\xfe\x00", name="binary"),
    bad("not_decodable", {**SAMPLE, "signal": math.nan}, name="NaN-as-JSON"),
    bad("not_decodable", msgpack(SAMPLE)[:-3], MSGPACK, name="cut-msgpack"),
    bad("content_type", SAMPLE, [("content-type", b"text/csv")]),
    bad("content_type", b"Obj\x01", [("content-type", b"avro/binary")], name="avro"),
    bad("missing_field", {"condition_vector": [0, 1, 0, 0]}, name="signal"),
    bad("missing_field", {"signal": 0.5}, name="condition"),
    bad("missing_field", {**SAMPLE, "signal": None}, name="null"),
    bad("wrong_type", {**SAMPLE, "signal": "0.5"}, name="text"),
    bad("wrong_type", {**SAMPLE, "step": 1.5}, name="broken-step"),
    bad("wrong_type", {**SAMPLE, "sequence": 7.5}, name="sequence"),
    bad("wrong_type", [1, 2, 3], name="array"),
    bad("vector_length", {**SAMPLE, "condition_vector": [0, 1, 0]}, name="three"),
    bad("vector_length", {**SAMPLE, "condition_vector": [0, 1, 0, 0, 0]}, name="five"),
    bad("not_finite", msgpack({**SAMPLE, "signal": math.nan}), MSGPACK, name="NaN"),
    bad("not_finite", msgpack({**SAMPLE, "condition_vector": [0, math.inf, 0, 0]}), MSGPACK, name="infinity"),
    bad("out_of_range", {**SAMPLE, "signal": 1.000001e6}, name="high"),
    bad("out_of_range", {**SAMPLE, "signal": -1e300}, name="low"),
    bad("out_of_range", {**SAMPLE, "step": -1}, name="negative-step"),
    bad("out_of_range", {**SAMPLE, "step": 2**53}, name="huge-step"),
    bad("sequence_too_long", {**SAMPLE, "sequence": "s" * 256}, name="ascii"),
    bad("sequence_too_long", {**SAMPLE, "sequence": "°" * 128}, name="bytes-count"),
    bad("step_jump", {**SAMPLE, "step": 1_000_003}),
]


@pytest.mark.parametrize(("value", "headers", "reason"), BAD_SAMPLES)
def test_a_bad_sample_is_a_dead_letter_and_its_stream_goes_on(
    signals: Feed, value: Any, headers: list[tuple[str, bytes]], reason: str
) -> None:
    samples = signal_samples(5, seed=7)
    signals.send(*samples[:3])
    (offset,) = signals.send(value, headers=headers)
    signals.send(*samples[3:])

    found = signals.predictions(5)
    letter = signals.dead_letter(offset)

    assert_close(predictions(samples), [prediction.prediction for prediction in found])
    assert letter.partition == signals.partition
    assert letter.key == signals.name.encode()
    assert letter.value == (value if isinstance(value, bytes | None) else json.dumps(value).encode())
    assert letter.header("error.reason") == reason.encode()
    assert letter.header("error.message")
    assert letter.header("error.topic") == signals.topic.encode()
    assert letter.header("error.partition") == b"%d" % signals.partition
    assert letter.header("error.offset") == b"%d" % offset
    assert 1_600_000_000_000 < int(letter.header("error.timestamp_ms") or 0) <= letter.timestamp
    assert letter.headers[: len(headers)] == headers  # they say how the value is encoded
    assert all(text.isascii() for _, text in letter.headers)


@pytest.mark.parametrize(
    ("key", "reason"),
    [(None, "no_key"), (b"", "no_key"), (b"k" * 256, "key_too_long"), (b"\xff\xfe", "key_not_utf8")],
    ids=["none", "empty", "long", "binary"],
)
def test_a_record_without_a_usable_key_is_a_dead_letter(signals: Feed, key: bytes | None, reason: str) -> None:
    samples = signal_samples(2, seed=8)
    _, offset, _ = signals.send(samples[0], ToSend(key, SAMPLE, partition=signals.partition), samples[1])

    letter = signals.dead_letter(offset)

    assert letter.header("error.reason") == reason.encode()
    assert letter.key == key
    assert_close(predictions(samples), [prediction.prediction for prediction in signals.predictions(2)])


def test_the_longest_key_and_the_longest_sequence_are_good(worker: WorkerProcess) -> None:
    feed = Feed(worker.settings, "°" * 127 + "k", "signal-samples", "signal-predictions", 0)
    feed.send({**SAMPLE, "sequence": "°" * 127 + "s"})

    (prediction,) = feed.predictions(1)

    assert prediction.sequence == "°" * 127 + "s"


def test_the_message_of_a_dead_letter_is_ascii_whatever_the_record_holds(signals: Feed) -> None:
    samples = in_sequence(signal_samples(2), "Gießrinne °1")
    _, _, offset = signals.send(samples[0], {**SAMPLE, "sequence": "другая"}, samples[1])

    message = signals.dead_letter(offset).header("error.message") or b""

    assert message.isascii()
    assert b"Gie\\xdfrinne" in message


def test_bad_records_are_counted_by_reason(worker: WorkerProcess, signals: Feed) -> None:
    def counted() -> tuple[float, float]:
        return (
            worker.metric("caststream_records_total", topic=signals.topic, outcome="dead_letter"),
            worker.metric("caststream_dead_letters_total", topic=signals.topic, reason="vector_length"),
        )

    outcomes, reasons = counted()
    signals.send(*[{**SAMPLE, "condition_vector": []}] * 7, SAMPLE)
    signals.predictions(1)

    assert counted() == (outcomes + 7, reasons + 7)


# Sequences, steps and gaps.


def test_another_sequence_begins_at_zeros_and_the_one_before_is_late(worker: WorkerProcess, signals: Feed) -> None:
    first, second = in_sequence(signal_samples(4, seed=9), "a"), in_sequence(signal_samples(5, seed=10), "b")
    resets = worker.metric("caststream_resets_total", reason="sequence")
    late = worker.metric("caststream_records_total", topic=signals.topic, outcome="late")
    signals.send(*first[:3], *second[:2])
    (offset,) = signals.send(first[3])
    signals.send(*second[2:])

    found = signals.predictions(8)

    assert [(prediction.sequence, prediction.step) for prediction in found] == [
        ("a", 0),
        ("a", 1),
        ("a", 2),
        ("b", 0),
        ("b", 1),
        ("b", 2),
        ("b", 3),
        ("b", 4),
    ]
    assert_close(predictions(first[:3]) + predictions(second), [prediction.prediction for prediction in found])
    assert signals.dead_letter(offset).header("error.reason") == b"late"
    assert worker.metric("caststream_resets_total", reason="sequence") == resets + 1
    assert worker.metric("caststream_records_total", topic=signals.topic, outcome="late") == late + 1


def test_step_0_without_a_sequence_begins_again_at_zeros(signals: Feed) -> None:
    first, second = signal_samples(4, seed=11), signal_samples(3, seed=12)
    signals.send(*first, *second)

    found = signals.predictions(7)

    assert [prediction.step for prediction in found] == [0, 1, 2, 3, 0, 1, 2]
    assert_close(predictions(first) + predictions(second), [prediction.prediction for prediction in found])


def test_step_0_of_a_named_sequence_is_a_duplicate(worker: WorkerProcess, signals: Feed) -> None:
    samples = in_sequence(signal_samples(5, seed=13), "a")
    signals.send(*samples[:4], samples[0], samples[4])

    found = signals.predictions(5)

    assert list(range(5)) == [prediction.step for prediction in found]
    assert_close(predictions(samples), [prediction.prediction for prediction in found])


def test_a_step_that_was_applied_is_counted_and_gives_nothing(worker: WorkerProcess, signals: Feed) -> None:
    def counted() -> tuple[float, float]:
        return (
            worker.metric("caststream_duplicates_total", topic=signals.topic, reason="step"),
            worker.metric("caststream_records_total", topic=signals.topic, outcome="duplicate"),
        )

    reasons, outcomes = counted()
    samples = signal_samples(6, seed=14)
    signals.send(*samples[:4], samples[3], samples[1], samples[2], *samples[4:])

    assert_close(predictions(samples), [prediction.prediction for prediction in signals.predictions(6)])
    assert counted() == (reasons + 3, outcomes + 3)


def test_a_gap_is_told_and_counted_and_steps_once(worker: WorkerProcess, signals: Feed) -> None:
    before = worker.metric("caststream_gaps_total")
    samples = signal_samples(20, seed=15)
    good = [*samples[2:5], *samples[9:12], samples[19]]
    signals.send(*good)

    found = signals.predictions(7)

    assert [(prediction.step, prediction.gap) for prediction in found] == [
        (2, 2),
        (3, 0),
        (4, 0),
        (9, 4),
        (10, 0),
        (11, 0),
        (19, 7),
    ]
    assert_close(predictions(good), [prediction.prediction for prediction in found])
    assert worker.metric("caststream_gaps_total") == before + 3
    assert b'"gap"' not in (signals.outputs(7)[1].value or b"")


def test_the_largest_jump_allowed_is_a_gap(signals: Feed) -> None:
    samples = signal_samples(2, seed=16)
    samples[1]["step"] = 1_000_000
    signals.send(*samples)

    assert [(prediction.step, prediction.gap) for prediction in signals.predictions(2)] == [
        (0, 0),
        (1_000_000, 999_999),
    ]


def test_each_of_thousands_of_bad_records_is_a_dead_letter(worker: WorkerProcess) -> None:
    topic = worker.settings.topic("signal-samples")
    places = produce(worker.settings, topic, [ToSend(None, b"?", partition=2)] * 2_000)

    letters = dead_letters(worker.settings, topic, places)

    assert {b"no_key"} == {letter.header("error.reason") for letter in letters}
    wait_until(lambda: worker.metric("caststream_consumer_lag_records", topic=topic, partition="2") == 0)
