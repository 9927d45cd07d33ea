"""The end of an assignment without the lease: whoever has the partitions now does again what is not committed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalStateError, ProducerFenced
from aiokafka.structs import TopicPartition

from core.engines.stepper import SignalStepper
from stream_app.flow.guarantees import ExactlyOnce
from stream_app.native.batches import BatchBuilder
from stream_app.worker.app import CaststreamApp
from tests.fakes import DEAD, OUTPUT, FakeBroker, FakeWorker, record, settle, written_in
from tests.reference import stream_rules
from tests.strategies import FakeRecord, signal_model
from tests.test_app import app_of
from tests.test_deferred import HeldScores, ScoringEngine, released_at_the_end

WAIT_S = 5.0


class SlowBroker(FakeBroker):
    """Takes a partition's next batch only when the one before has been taken, as aiokafka's accumulator does; what a
    thrown away producer has is never sent.
    """

    def __init__(self, exactly_once: bool) -> None:
        super().__init__(prompt=False)
        self.exclusive, self.keeps = exactly_once, not exactly_once
        self.discarded = False

    def abandon(self) -> None:
        if self.keeps:
            self.discarded = True
            self.waiting = [request for request in self.waiting if not request.what.startswith("write")]

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[Any]:
        while any((request.topic, request.partition) == (topic, partition) for request in self.waiting):
            await asyncio.sleep(0)
        if self.discarded:
            return asyncio.get_running_loop().create_future()
        return self._ask(f"write {topic}", topic=topic, partition=partition, records=written_in(batch)).done

    async def serve(self) -> None:
        """Do what is asked, one after the other."""
        while True:
            await settle()
            for request in self.next_ones():
                self.take(request)


def sample(offset: int) -> FakeRecord:
    fields = {"sequence": "a", "step": offset, "signal": 1.0, "condition_vector": [1, 0, 0, 0]}
    return FakeRecord(0, offset, 1_000 + offset, b"s", json.dumps(fields).encode())


def bad(offset: int) -> FakeRecord:
    return FakeRecord(0, offset, 1_000 + offset, b"s", b"?")


def over(worker: FakeWorker, broker: FakeBroker, patch: pytest.MonkeyPatch) -> CaststreamApp:
    """An application whose assignment is over, without the lease."""
    app = app_of(worker, patch)
    app.writer, app.guarantee = worker.writer, broker  # type: ignore[assignment]
    flow = SimpleNamespace(stop_flow=lambda: None, assignment=set)
    patch.setattr(CaststreamApp, "consumer", property(lambda self: flow))
    app._revoked = True
    assert not app.lease.held
    return app


@pytest.mark.parametrize("exactly_once", [False, True])
@pytest.mark.parametrize("make", [sample, bad])
async def test_what_is_given_up_is_not_committed(
    make: Callable[[int], FakeRecord], exactly_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = SlowBroker(exactly_once)
    worker = FakeWorker(broker)
    worker.pipeline.engine = SignalStepper(signal_model(), stream_rules(), worker.states)
    app = over(worker, broker, monkeypatch)
    worker.run(make(0))
    await settle()  # its batch is on its way
    worker.run(make(1), make(2))
    await settle()  # this one waits for its turn
    serving = asyncio.create_task(broker.serve())

    await asyncio.wait_for(app._hand_over(), WAIT_S)

    serving.cancel()
    assert len([*broker.written(OUTPUT), *broker.written(DEAD)]) <= 1
    assert broker.committed_offset() is None
    assert worker.pipeline.next_offset == {}


@pytest.mark.parametrize("commits", [False, True])
async def test_scores_that_are_still_computed_hold_up_no_hand_over(
    commits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldScores(b"final", 0)
    broker = SlowBroker(exactly_once=False)
    worker = FakeWorker(broker, ScoringEngine(held))
    app = over(worker, broker, monkeypatch)
    with released_at_the_end(held):
        worker.run(record(0))
        await settle()
        commit = asyncio.create_task(worker.committer.commit()) if commits else None
        await settle()

        await asyncio.wait_for(app._hand_over(), WAIT_S)

        assert commit is None or not await asyncio.wait_for(commit, WAIT_S)
    await settle()
    assert (broker.committed_offset(), broker.written(OUTPUT), app.failure) == (None, [], None)


async def test_a_commit_of_an_assignment_that_is_over_leaves_the_next_one_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = FakeBroker(prompt=False)
    worker = FakeWorker(broker)
    worker.run(record(0))
    commit = asyncio.create_task(worker.committer.commit())
    await settle()
    worker.committer.stop()
    worker.committer.start()
    broker.prompt = True
    while broker.waiting:
        broker.take(broker.waiting[0])
        await settle()

    assert not await asyncio.wait_for(commit, WAIT_S)
    assert worker.committer.committed == {}
    assert not worker.committer.refuses


async def test_a_commit_that_asks_a_broker_that_is_away_holds_up_no_hand_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_app.worker.app.LET_GO_S", 0.05)
    broker = FakeBroker(prompt=False)
    worker = FakeWorker(broker)
    worker.run(record(0))
    app = over(worker, broker, monkeypatch)  # type: ignore[arg-type]
    app.lease.renew(app.lease.now())
    ending = asyncio.create_task(app._hand_over())
    while [request.what for request in broker.waiting] != ["commit"]:  # all else is answered
        for request in broker.next_ones():
            if request.what != "commit":
                broker.take(request)
        await settle()

    app.lease.end()
    await asyncio.wait_for(ending, WAIT_S)

    assert worker.pipeline.next_offset == {}
    assert app.failure is None


class Opening:
    """A transactional producer that is opened when the test lets it."""

    def __init__(self) -> None:
        self.opened, self._closed, self.closed = asyncio.Event(), False, 0
        self._sender = self.client = SimpleNamespace(close=self._close)

    async def start(self) -> None:
        await self.opened.wait()

    async def begin_transaction(self) -> None: ...

    async def _close(self) -> None:
        self.closed += 1


SOURCES = [TopicPartition("source", 0), TopicPartition("source", 1)]


def transactional(*producers: Opening) -> ExactlyOnce:
    waiting: Any = list(producers)
    return ExactlyOnce(lambda: SimpleNamespace(_new_producer=lambda name: waiting.pop(0)), "app")  # type: ignore[arg-type, return-value]


async def test_producers_that_are_still_opened_when_an_assignment_ends_fence_nobody() -> None:
    first, second = Opening(), Opening()
    guarantee = transactional(first, second)
    first.opened.set()
    opening = asyncio.create_task(guarantee.open(SOURCES))
    await settle()

    await guarantee.close()
    second.opened.set()

    with pytest.raises(IllegalStateError):
        await opening
    assert [producer.closed for producer in (first, second)] == [2, 2]
    assert all(producer._closed for producer in (first, second))


async def test_where_one_producer_cannot_be_opened_the_others_are_closed() -> None:
    first, second = Opening(), Opening()
    guarantee = transactional(first, second)
    first.opened.set()
    second.begin_transaction = _fenced  # type: ignore[method-assign]
    second.opened.set()

    with pytest.raises(ProducerFenced):
        await guarantee.open(SOURCES)

    assert [producer.closed for producer in (first, second)] == [2, 2]


async def _fenced() -> None:
    raise ProducerFenced
