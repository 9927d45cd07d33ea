"""What is looked after beside the flow: offsets without a record, idle streams under load and in a backlog."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import TopicPartition

from core.engines.stepper import SignalStepper
from core.errors import StartupError
from stream_app.flow.idleness import GRACE_S
from stream_app.worker import upkeep
from stream_app.worker.upkeep import Upkeep
from tests.fakes import SOURCE, FakeBroker, FakeWorker, record
from tests.reference import stream_rules
from tests.strategies import FakeRecord, signal_model, signal_value

AT = TopicPartition(SOURCE, 0)
AGE_S = 300.0 + GRACE_S  # of the fake worker's positions


class Log:
    """The consumer, as far as it is asked here."""

    def __init__(self) -> None:
        self.end = 0
        self.hole = (0, 0)
        self.answers = True
        self.hangs = False

    async def log_ends(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.end)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self.hangs:
            await asyncio.Event().wait()
        if not self.answers:
            raise KafkaConnectionError
        return dict.fromkeys(partitions, self.end)

    def behind(self, partition: TopicPartition) -> tuple[int, int]:
        return self.hole


class Clock:
    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def time_ns(self) -> int:
        return 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(upkeep, "time", clock)
    return clock


def upkeep_of(worker: FakeWorker, log: Log) -> Upkeep:
    consumer: Any = log
    return Upkeep([worker.pipeline], worker.committer, worker.writer, worker.metrics, lambda: consumer)


def stepping() -> FakeWorker:
    worker = FakeWorker(FakeBroker())
    worker.pipeline.engine = worker.engine = SignalStepper(signal_model(), stream_rules(), worker.states)
    return worker


def sample(offset: int, key: bytes) -> FakeRecord:
    return FakeRecord(0, offset, 1_000, key, signal_value((1.0, 0.0, 0.0, 0.0, 0.0)))


async def commit(worker: FakeWorker, kept: Upkeep) -> None:
    assert await worker.committer.commit()
    await kept.after_commit()


async def test_a_marker_behind_the_last_record_is_committed_and_is_no_lag(clock: Clock) -> None:
    """Else a worker whose source is quiet for a minute would look stuck, for ever."""
    broker, log = FakeBroker(), Log()
    worker = FakeWorker(broker)
    kept = upkeep_of(worker, log)
    worker.run(record(0))
    log.end, log.hole = 2, (1, 2)

    await commit(worker, kept)
    await commit(worker, kept)
    await kept.observe()

    assert broker.committed_offset() == 2
    assert kept.lag == {AT: 0}


async def test_a_hole_behind_a_record_that_is_on_its_way_is_not_passed_over(clock: Clock) -> None:
    worker, log = FakeWorker(FakeBroker()), Log()
    kept = upkeep_of(worker, log)
    worker.run(record(0))
    log.end, log.hole = 9, (7, 9)  # records 1 to 6 have been handed out and not been applied

    await commit(worker, kept)

    assert worker.pipeline.next_offset == {0: 1}


async def test_under_load_and_in_a_backlog_idle_streams_are_let_go_too(clock: Clock) -> None:
    """The log never ends where a worker stands: what counts is that all of it was applied that was there at a look."""
    worker, log = stepping(), Log()
    kept = upkeep_of(worker, log)
    worker.run(sample(0, b"idle"))
    await commit(worker, kept)

    position = 1
    for clock.now_s in (1.0, 3.0, AGE_S, AGE_S + 2, AGE_S + 4, AGE_S + 6, AGE_S + 8, AGE_S + 10):
        worker.run(*(sample(offset, b"busy") for offset in range(position, position + 100)))
        position += 100
        log.end = position + 150  # always ahead
        await commit(worker, kept)

    assert worker.engine.active() == 1


async def test_a_stream_whose_next_record_is_still_to_be_applied_stays(clock: Clock) -> None:
    """As one in an open transaction, which the end of the log counts, and no fetch gives yet."""
    worker, log = stepping(), Log()
    kept = upkeep_of(worker, log)
    worker.run(sample(0, b"open"))
    log.end = 2

    for clock.now_s in (0.0, 1.0, AGE_S + 2, AGE_S + 4, AGE_S + 10):
        await commit(worker, kept)
    assert worker.engine.active() == 1

    worker.run(sample(1, b"open"))
    await commit(worker, kept)
    assert worker.engine.active() == 1


async def test_a_topic_that_went_back_is_looked_into_until_the_broker_answers(clock: Clock) -> None:
    worker, log = FakeWorker(FakeBroker()), Log()
    kept = upkeep_of(worker, log)
    worker.run(record(0), record(1))
    worker.run(record(0))
    log.end, log.answers = 1, False

    await kept.after_commit()
    log.answers = True

    with pytest.raises(StartupError, match="truncated or created again"):
        await kept.after_commit()


def shown_lag(worker: FakeWorker) -> list[float]:
    return [sample.value for family in worker.metrics.lag.collect() for sample in family.samples]


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_lag_that_cannot_be_measured_is_not_shown_as_the_last_one(clock: Clock, hangs: bool) -> None:
    worker, log = FakeWorker(FakeBroker()), Log()
    kept = upkeep_of(worker, log)
    worker.run(record(0))
    await commit(worker, kept)
    log.end = 5
    await kept.observe()
    assert shown_lag(worker) == [4]

    log.answers, log.hangs = False, hangs
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(kept.observe(), 0.01)
    assert shown_lag(worker) == []
    assert kept.lag == {AT: 4}  # what a stuck worker is known by

    log.answers, log.hangs = True, False
    await kept.observe()
    assert shown_lag(worker) == [4]
