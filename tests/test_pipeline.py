"""A chunk's way through a worker: what is applied, what is cut off, and what goes out."""

from __future__ import annotations

import logging

import pytest

from core.engines.results import StreamRules
from core.engines.stepper import SignalStepper
from core.errors import RunError
from stream_app.flow.letter_record import MAX_LETTER_BYTES
from stream_app.kafka.chunks import Chunk
from stream_app.native.batches import BatchBuilder
from tests.changes import Change, by_partition, packed_of, taken, tombstone
from tests.fakes import APP, DEAD, GENERATION, OUTPUT, SOURCE, FakeBroker, FakeWorker, record, settle
from tests.strategies import FakeRecord, signal_model, signal_value


@pytest.fixture
async def worker() -> FakeWorker:
    return FakeWorker(FakeBroker(), partitions=(0, 1))


def stepping(worker: FakeWorker) -> FakeWorker:
    """The worker with the engine of the product."""
    worker.pipeline.engine = SignalStepper(signal_model(), StreamRules(), worker.states)
    return worker


async def published(worker: FakeWorker, partition: int = 0) -> list[int]:
    await settle()
    return [written.source_offset for written in worker.broker.written(OUTPUT, partition)]


async def test_outputs_go_to_the_partition_of_their_record(worker: FakeWorker) -> None:
    worker.run(record(0), record(0, partition=1), record(1))

    assert await published(worker, 0) == [0, 1]
    assert await published(worker, 1) == [0]


async def test_a_chunk_of_an_older_generation_is_not_applied(worker: FakeWorker) -> None:
    worker.run(record(0), generation=GENERATION - 1)

    assert await published(worker) == []
    assert worker.pipeline.next_offset == {0: 0, 1: 0}


async def test_a_partition_that_is_not_owned_is_left_out(worker: FakeWorker) -> None:
    worker.run(record(0), record(0, partition=2))

    assert await published(worker, 0) == [0]
    assert await published(worker, 2) == []


async def test_records_that_were_applied_are_cut_off(worker: FakeWorker) -> None:
    """The seek after a recovery can deliver a chunk again, or the end of one with new records behind."""
    worker.run(record(0), record(1))
    worker.run(record(0), record(1))
    worker.run(record(1), record(2))

    assert await published(worker) == [0, 1, 2]
    assert worker.pipeline.next_offset[0] == 3


async def test_offsets_may_have_holes_and_those_that_go_back_are_remembered(worker: FakeWorker) -> None:
    worker.run(record(0))
    worker.run(record(4), start=1)
    worker.run(record(2))

    assert worker.pipeline.went_back == {0: 5}
    assert await published(worker) == [0, 4]


async def test_records_are_never_applied_over_missing_ones(worker: FakeWorker) -> None:
    worker.run(record(0))

    with pytest.raises(RunError, match=r"source\[0\]: records 1 to 2 were never handed over"):
        worker.run(record(3), record(4), start=3)

    assert await published(worker) == [0]
    assert worker.pipeline.next_offset[0] == 1
    worker.pipeline.pass_over(0, 1, 3)
    worker.run(record(3), start=3)
    assert await published(worker) == [0, 3]


async def test_after_a_drop_nothing_is_left_to_commit(worker: FakeWorker) -> None:
    worker.run(record(0))
    worker.evict(tombstone(0, 0, b"gone"))

    worker.pipeline.drop()
    cut = worker.pipeline.cut()

    assert (cut.changed, cut.extra, cut.offsets) == ({}, {}, {})
    assert worker.engine.dropped == [0, 1]
    worker.run(record(1))
    assert await published(worker) == [0]


async def test_overtaken_states_are_in_the_first_commit(worker: FakeWorker) -> None:
    again = Change(0, 5, [(b"key", b"state")])
    worker.states.overtaken[0] = packed_of(again)
    worker.start({0: 6})

    assert taken(worker.pipeline) == [again]
    assert taken(worker.pipeline) == []


async def test_a_dead_letter_holds_the_record_and_ascii_headers(worker: FakeWorker) -> None:
    stepping(worker)
    bad = FakeRecord(1, 7, 1_234, b"\xffkey", b'{"signal": "\xc3\xa4"}', (("content-type", b"application/json"),))
    worse = FakeRecord(1, 8, None, b"key", None)
    worker.start({1: 7})
    worker.run(bad, worse)
    await settle()

    first, second = worker.broker.written(DEAD, 1)
    assert (first.key, first.value) == (bad.key, bad.value)
    assert first.headers[0] == ("content-type", b"application/json")
    headers = dict(first.headers)
    assert headers.pop("error.message").isascii()
    assert headers == {
        "content-type": b"application/json",
        "error.reason": b"key_not_utf8",
        "error.topic": SOURCE.encode(),
        "error.partition": b"1",
        "error.offset": b"7",
        "error.timestamp_ms": b"1234",
        "app-id": APP.encode(),
    }
    assert (second.key, second.value) == (b"key", None)
    assert dict(second.headers)["error.timestamp_ms"] == b"-1"


async def test_a_dead_letter_larger_than_its_topic_takes_is_cut_and_says_so(worker: FakeWorker) -> None:
    stepping(worker)
    worker.writer.limits[DEAD] = 16 * 2**20
    size = MAX_LETTER_BYTES + 1
    long_value = FakeRecord(1, 7, 1_234, b"key", b"?" * size, (("content-type", b"application/json"),))
    long_header = FakeRecord(1, 8, 1_234, b"key", b"?", (("x", b"y" * size),))
    long_key = FakeRecord(1, 9, 1_234, b"k" * size, None)
    fits = FakeRecord(1, 10, 1_234, b"key", b"?" * (size - 10))
    worker.start({1: 7})
    worker.run(long_value, long_header, long_key, fits)
    await settle()

    letters = worker.broker.written(DEAD, 1)
    headers = [dict(letter.headers) for letter in letters]
    assert [found.get("error.value_bytes") for found in headers] == [b"%d" % size, b"1", b"0", None]
    assert [found["error.offset"] for found in headers] == [b"7", b"8", b"9", b"10"]
    first, second, third, whole = letters
    assert long_value.value is not None
    assert first.value
    assert long_value.value.startswith(first.value)
    assert headers[0]["content-type"] == b"application/json"
    assert (second.key, second.value) == (b"key", b"?")
    assert third.key
    assert third.value is None
    assert (whole.key, whole.value) == (fits.key, fits.value)
    for key, value, kept in letters:
        assert len(key or b"") + len(value or b"") + sum(len(held) for _, held in kept) < 16 * 2**20


@pytest.mark.parametrize("limit", [1_500, 2_000, 10_000, 1_048_588])
async def test_a_dead_letter_never_exceeds_what_its_topic_takes(worker: FakeWorker, limit: int) -> None:
    stepping(worker)
    worker.writer.limits[DEAD] = limit
    odd = [
        FakeRecord(1, 0, 1, b"key", b"?" * (limit - 100), (("a", b"b" * 20),)),
        FakeRecord(1, 1, 1, b"k" * limit, b"?" * limit, (("a", b"b" * limit),)),
        FakeRecord(1, 2, 1, b"key", b"?", tuple((f"header-{i}", b"x" * 90) for i in range(limit // 100))),
        FakeRecord(1, 3, 1, b"key", b'{"' + b"\xc3\xa4" * (limit // 2) + b'": 1}'),
    ]
    worker.start({1: 0})
    worker.run(*odd)
    await settle()

    letters = worker.broker.written(DEAD, 1)
    assert [dict(letter.headers)["error.offset"] for letter in letters] == [b"0", b"1", b"2", b"3"]
    for letter in letters:
        batch = BatchBuilder(1, False)
        batch.append(0, letter.key, letter.value, list(letter.headers))
        assert batch.size() <= limit
        assert b"error.value_bytes" in [name.encode() for name, _ in letter.headers]


async def test_streams_without_a_state_are_told_to_the_writer(worker: FakeWorker) -> None:
    """They may have moved here from another partition."""
    stepping(worker)
    value = signal_value((0.5, 1.0, 0.0, 0.0, 0.0))
    worker.run(record(0, value, b"a"), record(1, value, b"b"))
    worker.run(record(2, value, b"a"))

    assert worker.writer.openings == 1
    worker.run(record(3, value, b"c"))
    assert worker.writer.openings == 2


async def test_a_stream_in_a_second_partition_is_told_once(
    worker: FakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    stepping(worker)
    value = signal_value((0.5, 1.0, 0.0, 0.0, 0.0))
    with caplog.at_level(logging.WARNING):
        for offset in range(3):
            worker.run(*(record(offset, value, b"stream", partition) for partition in (0, 1)))

    (message,) = caplog.messages
    assert "stream 'stream' came in partition 0 and now in 1" in message
    assert worker.metrics.registry.get_sample_value("caststream_moved_streams_total", {"task": "signal"}) == 1


async def test_a_stream_that_only_repeats_itself_is_told_once_and_counted_each_time(
    worker: FakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    stepping(worker)
    value = signal_value((0.5, 1.0, 0.0, 0.0, 0.0), sequence="A", step=7)

    def repeated() -> float | None:
        return worker.metrics.registry.get_sample_value(
            "caststream_repeating_streams_total", {"task": "signal", "topic": SOURCE}
        )

    with caplog.at_level(logging.WARNING):
        worker.run(*(FakeRecord(0, offset, offset, b"press", value) for offset in range(10)))
        assert (caplog.messages, repeated()) == ([], 0)
        worker.run(*(FakeRecord(0, offset, offset, b"press", value) for offset in range(10, 25)))
        following = signal_value((0.5, 1.0, 0.0, 0.0, 0.0), sequence="A", step=8)
        worker.run(*(FakeRecord(0, offset, offset, b"press", following) for offset in range(25, 36)))

    (message,) = caplog.messages
    assert message.startswith("source[0] offset 10: stream 'press' sends only steps that it has sent before")
    assert repeated() == 2


async def test_every_record_has_one_outcome(worker: FakeWorker) -> None:
    stepping(worker)
    good, bad = signal_value((0.5, 1.0, 0.0, 0.0, 0.0), step=3), b"?"
    late = [signal_value((0.5, 1.0, 0.0, 0.0, 0.0), sequence=name) for name in "aba"]
    worker.run(*(record(offset, value) for offset, value in enumerate([good, good, bad, *late])))

    def count(outcome: str) -> float | None:
        labels = {"task": "signal", "topic": SOURCE, "outcome": outcome}
        return worker.metrics.registry.get_sample_value("caststream_records_total", labels)

    assert [count(outcome) for outcome in ("processed", "duplicate", "dead_letter", "late")] == [3, 1, 1, 1]


async def test_latency_runs_from_the_append_time_or_from_the_arrival(worker: FakeWorker) -> None:
    now_ms = 10**15  # far ahead: latencies stop at zero, and only the times that were handed on tell
    seen: list[int] = []
    worker.writer.on_acked = lambda topic, times: seen.extend(times)
    appended, created = record(0), record(0, partition=1)
    parts = by_partition([appended], timestamp_type=1) | by_partition([created], timestamp_type=0)
    worker.pipeline.run(Chunk(SOURCE, GENERATION, now_ms, parts, dict.fromkeys(parts, 0)))
    await settle()

    assert sorted(seen) == [appended.timestamp, now_ms]
