"""The application between Faust's calls: what a fault and a revocation at the wrong moment leave behind."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.tables.recovery import RebalanceAgain
from faust.types import TP

from core.errors import StartupError
from stream_app.flow.pipeline import NO_GENERATION
from stream_app.kafka.chunks import Chunk
from stream_app.settings import load_settings
from stream_app.worker.app import CaststreamApp
from stream_app.worker.assignment import BrokerView
from tests.changes import by_partition, taken, tombstone
from tests.fakes import CHANGELOG, GENERATION, OUTPUT, SOURCE, FakeBroker, FakeWorker, record, settle
from tests.strategies import FakeRecord

AT = TopicPartition(SOURCE, 0)


def app_of(worker: FakeWorker, monkeypatch: pytest.MonkeyPatch) -> CaststreamApp:
    """An application around a worker's parts, connected to nothing, with one partition assigned."""
    app = CaststreamApp(load_settings(), broker="caststream://127.0.0.1:1", store="memory://")
    app.pipelines.append(worker.pipeline)
    app.committer = worker.committer
    app.consumer_generation_id = GENERATION
    app._revoked = False

    async def found(_: Any) -> BrokerView:
        return BrokerView({AT: OffsetAndMetadata(0, "")}, {AT: 0}, {AT: 10}, {SOURCE: "topic-id"})

    monkeypatch.setattr(app, "_assigned_sources", lambda: [AT])

    async def published(*_: Any) -> dict[TopicPartition, Any]:
        return {}

    monkeypatch.setattr(app, "_ask_broker", found)
    monkeypatch.setattr("stream_app.worker.app.find_published", published)
    return app


def chunk(*records: FakeRecord) -> Chunk:
    parts = by_partition(records)
    return Chunk(SOURCE, GENERATION, 0, parts, {number: part.first_offset for number, part in parts.items()})


async def test_after_a_fault_nothing_more_is_applied_and_nothing_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's states may be ahead of outputs that were never published: committed, those would be lost."""
    broker = FakeBroker()
    worker = FakeWorker(broker)
    app = app_of(worker, monkeypatch)
    run = worker.engine.run

    def fail(records: Any) -> Any:
        run(records)
        raise MemoryError

    monkeypatch.setattr(worker.engine, "run", fail)
    app.apply(worker.pipeline, chunk(record(0)))
    monkeypatch.setattr(worker.engine, "run", run)
    app.apply(worker.pipeline, chunk(record(1)))
    committed = await worker.committer.commit()
    await settle()

    assert isinstance(app.failure, MemoryError)
    assert not committed
    assert (broker.written(OUTPUT), broker.written(CHANGELOG), broker.committed_offset()) == ([], [], None)


async def test_a_recovery_starts_what_it_has_found(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker)
    app = app_of(worker, monkeypatch)
    worker.pipeline.drop()

    await app.on_restored(GENERATION)

    assert app.ready
    assert worker.pipeline.next_offset == {0: 0}
    assert broker.committed_offset() == 0


@pytest.mark.parametrize("moment", ["before", "during the commit"])
async def test_a_recovery_whose_partitions_are_gone_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Otherwise chunks would be applied to partitions that may have another owner, and stay in memory."""
    broker = FakeBroker()
    worker = FakeWorker(broker)
    app = app_of(worker, monkeypatch)
    worker.pipeline.drop()
    confirmed = worker.committer.commit_offsets

    async def commit_and_revoke(offsets: Any, ends: Any) -> None:
        await confirmed(offsets, ends)
        app._revoked = True

    if moment == "before":
        app.consumer_generation_id = GENERATION + 1
    else:
        monkeypatch.setattr(worker.committer, "commit_offsets", commit_and_revoke)

    with pytest.raises(RebalanceAgain):
        await app.on_restored(GENERATION)

    assert not app.ready
    assert worker.pipeline.generation == NO_GENERATION
    assert worker.pipeline.next_offset == {}


async def test_a_worker_that_has_failed_takes_up_no_other_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may get one before it ends; what is left in its engine of the chunk that failed would be applied with it."""
    broker = FakeBroker()
    worker = FakeWorker(broker)
    app = app_of(worker, monkeypatch)
    app.fail(MemoryError())
    await settle()

    with pytest.raises(RebalanceAgain):
        await app.on_restored(GENERATION)

    app.apply(worker.pipeline, chunk(record(0)))
    assert not app.ready
    assert not await worker.committer.commit()
    assert (broker.written(OUTPUT), broker.committed_offset()) == ([], None)


def test_nothing_is_evicted_once_the_last_commit_may_have_taken_its_cut() -> None:
    """Under exactly_once that commit would make the final score final, and the tombstone would be missing."""
    worker = FakeWorker(FakeBroker())
    worker.pipeline.suspend()

    worker.evict(tombstone(0, 0, b"key"))

    assert taken(worker.pipeline) == []


def test_an_eviction_that_is_under_way_ends_with_the_assignment() -> None:
    worker = FakeWorker(FakeBroker())
    worker.engine.to_evict = [tombstone(0, 0, b"first"), tombstone(0, 0, b"second")]
    steps = worker.pipeline.evict(0, 1, 0)
    next(steps)

    worker.pipeline.suspend()

    assert list(steps) == []
    assert taken(worker.pipeline) == [(0, 0, [(b"first", None)])]


def test_an_assignment_begins_with_nothing_of_the_one_before() -> None:
    worker = FakeWorker(FakeBroker(), partitions=(0, 1))
    worker.evict(tombstone(1, 0, b"key"), partition=1)

    worker.pipeline.drop()
    worker.pipeline.start(GENERATION + 1, {0: 0})

    assert worker.engine.dropped == [0, 1]
    assert taken(worker.pipeline) == []


async def handed_over(worker: FakeWorker, monkeypatch: pytest.MonkeyPatch) -> CaststreamApp:
    """An application that has handed over partitions 0 and 1, with record 0 of each applied and committed."""
    app = app_of(worker, monkeypatch)
    monkeypatch.setattr(app, "_assigned_sources", lambda: [AT])
    worker.run(record(0), record(0, partition=1))
    worker.committer._next_base.update({(CHANGELOG, 0): 0, (CHANGELOG, 1): 0})
    app.lease.renew(app.lease.now())
    worker.pipeline.suspend()
    assert await app._commit_while_member()
    app.committer.stop()
    app._park(agreed=True)
    return app


async def test_what_stays_with_a_worker_over_a_rebalance_goes_on_without_a_recovery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker, partitions=(0, 1))
    app = await handed_over(worker, monkeypatch)

    assert app.keep(GENERATION + 1) == {AT}

    assert worker.pipeline.next_offset == {0: 1}
    assert worker.engine.dropped == [1]
    assert app.kept_changelogs() == {TopicPartition(CHANGELOG, 0)}
    assert app.taken_up([TP(SOURCE, 0), TP(SOURCE, 1)]) == set()  # Faust's generation is another still
    app.consumer_generation_id = GENERATION + 1
    assert app.taken_up([TP(SOURCE, 0), TP(SOURCE, 1)]) == {TP(SOURCE, 0)}
    worker.run(record(1, b"next"), generation=GENERATION + 1)
    assert await worker.committer.commit()
    assert broker.committed_offset() == 2
    assert worker.committer._next_base == {(CHANGELOG, 0): 2}  # it still notices other writers


@pytest.mark.parametrize("generation", [GENERATION, GENERATION + 2])
async def test_after_a_generation_of_others_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, generation: int) -> None:
    """They may have had the partitions, and moved on from what this worker remembers."""
    worker = FakeWorker(FakeBroker(), partitions=(0, 1))
    app = await handed_over(worker, monkeypatch)

    assert app.keep(generation) == set()

    assert worker.pipeline.next_offset == {}
    assert worker.engine.dropped == [0, 1]


async def test_what_is_not_all_committed_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = FakeWorker(FakeBroker(), partitions=(0, 1))
    app = app_of(worker, monkeypatch)

    app._park(agreed=False)

    assert worker.engine.dropped == [0, 1]
    assert app.keep(GENERATION + 1) == set()


async def test_what_was_kept_for_an_assignment_that_never_began_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one may be the one after it; and whoever had the partitions in between moved on."""
    worker = FakeWorker(FakeBroker(), partitions=(0, 1))
    app = await handed_over(worker, monkeypatch)

    app._park(agreed=True)

    assert worker.engine.dropped == [0, 1]
    assert app.keep(GENERATION + 1) == set()


class Asked:
    """A consumer whose broker gives these answers, one after another."""

    def __init__(self, *answers: Exception | dict[str, int]) -> None:
        self.answers = list(answers)

    async def partition_counts(self, topics: list[str]) -> dict[str, int]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def ask(monkeypatch: pytest.MonkeyPatch, *answers: Exception | dict[str, int]) -> CaststreamApp:
    """An application that has met a new stream and asks how many partitions its source has."""
    monkeypatch.setattr("stream_app.worker.app.ASK_AGAIN_S", 0.0)
    app = app_of(FakeWorker(FakeBroker()), monkeypatch)
    app.partition_counts = {SOURCE: 3}
    consumer = Asked(*answers)
    monkeypatch.setattr(app, "chunk_consumer", lambda: consumer)
    app.writer.opened()
    await app._ask_for_partitions()
    return app


async def test_outputs_of_a_new_stream_go_on_when_the_broker_answers_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    app = await ask(monkeypatch, KafkaConnectionError(), {SOURCE: 3})

    assert app.failure is None
    assert app.writer.confirmed == app.writer.openings > 0


async def test_a_worker_that_cannot_ask_for_partitions_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the outputs of its new streams would wait for ever, without a word."""
    app = await ask(monkeypatch, RuntimeError("a fault of our own"))

    assert isinstance(app.failure, RuntimeError)


async def test_a_worker_whose_source_has_grown_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    app = await ask(monkeypatch, {SOURCE: 4})

    assert isinstance(app.failure, StartupError)
    assert app.writer.confirmed == 0


def with_agent(app: CaststreamApp) -> tuple[asyncio.Queue[Chunk], asyncio.Task[None]]:
    """Let an agent wait for the chunks of the only source, of which it takes one and no more."""
    queue: asyncio.Queue[Chunk] = asyncio.Queue(1)
    inlet = app.open_inlet(app.pipelines[0])

    async def started() -> None: ...

    async def serve() -> None:
        stream: Any = SimpleNamespace(maybe_start=started, channel=SimpleNamespace(queue=queue))
        async for _ in inlet.chunks(stream):
            await asyncio.Event().wait()

    app.queue_of = lambda _: queue  # type: ignore[method-assign]
    return queue, asyncio.create_task(serve())


async def test_a_chunk_that_finds_its_agent_waiting_is_applied_and_its_outputs_leave_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = FakeWorker(FakeBroker())
    app = app_of(worker, monkeypatch)
    app.writer = worker.writer
    queue, agent = with_agent(app)
    await settle()
    left: list[int] = []
    monkeypatch.setattr(worker.writer, "_begin", lambda: left.append(worker.pipeline.next_offset[0]))
    assert app.has_place(SOURCE)
    app.hand([chunk(record(0))])

    assert queue.empty()
    assert left == [1]
    agent.cancel()


@pytest.mark.parametrize("reason", ["the broker is behind", "a commit runs", "windows wait", "records are missing"])
async def test_a_chunk_that_has_to_wait_goes_to_its_agent(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    worker = FakeWorker(FakeBroker())
    app = app_of(worker, monkeypatch)
    app.writer = worker.writer
    queue, agent = with_agent(app)
    await settle()
    {
        "the broker is behind": worker.writer._has_room,
        "a commit runs": worker.committer._may_process,
        "windows wait": worker.pipeline.scores._has_room,
        "records are missing": asyncio.Event(),
    }[reason].clear()
    missing = reason == "records are missing"
    app.hand([chunk(record(1 if missing else 0))])

    assert worker.pipeline.next_offset == {0: 0}
    assert queue.qsize() == 1
    assert not app.has_place(SOURCE)
    agent.cancel()
