"""Scores that are computed beside the flow of chunks: in order, before their commit, and never lost in silence."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from core.engines.results import ChunkResult
from core.errors import RunError
from core.native.records import Outputs
from stream_app.flow.deferred import NICENESS, ROOM_WINDOWS
from tests.fakes import CHANGELOG, OUTPUT, FakeBroker, FakeEngine, FakeWorker, record, settle

WAIT_S = 10.0


class HeldScores:
    """Scores that are computed when the test lets them."""

    def __init__(self, value: bytes, offset: int, windows: int = 1, fails: bool = False) -> None:
        self.value, self.offset, self.windows, self.fails = value, offset, windows, fails
        self.released = threading.Event()

    def compute(self) -> None:
        assert self.released.wait(WAIT_S)
        if self.fails:
            raise ValueError("no memory")

    def finish(self, result: ChunkResult) -> None:
        result.outputs[0] = Outputs(0)
        result.outputs[0].append(b"cast", self.value, self.offset, 0)
        result.counts.scores[False] += 1


class ScoringEngine(FakeEngine):
    """Publishes nothing at once: each chunk's outputs are the next of ``held``."""

    def __init__(self, *held: HeldScores) -> None:
        super().__init__()
        self.held = list(held)

    def run(self, records):  # type: ignore[no-untyped-def]
        result = super().run(records)
        result.outputs.clear()
        result.deferred = self.held.pop(0)
        return result


@contextmanager
def released_at_the_end(*held: HeldScores) -> Iterator[None]:
    try:
        yield
    finally:
        for scores in held:
            scores.released.set()


async def published(worker: FakeWorker, count: int) -> list[bytes | None]:
    async with asyncio.timeout(WAIT_S):
        while len(worker.broker.written(OUTPUT)) < count:
            await asyncio.sleep(0.001)
    return [written.value for written in worker.broker.written(OUTPUT)]


async def test_the_flow_of_chunks_does_not_wait_for_scores_and_they_come_in_order() -> None:
    first, second = HeldScores(b"first", 0), HeldScores(b"second", 1)
    with released_at_the_end(first, second):
        worker = FakeWorker(FakeBroker(), ScoringEngine(first, second))
        worker.run(record(0))
        worker.run(record(1))
        await settle()

        assert worker.broker.written(OUTPUT) == []

        second.released.set()
        first.released.set()

        assert await published(worker, 2) == [b"first", b"second"]
        assert [written.source_offset for written in worker.broker.written(OUTPUT)] == [0, 1]


async def test_a_commit_waits_for_the_scores_of_its_chunks() -> None:
    """Otherwise a crash after it would lose them: the offsets are past their samples."""
    held = HeldScores(b"score", 0)
    with released_at_the_end(held):
        worker = FakeWorker(FakeBroker(), ScoringEngine(held))
        worker.run(record(0))
        commit = asyncio.create_task(worker.committer.commit())
        await settle()

        assert worker.broker.journal == []

        held.released.set()
        async with asyncio.timeout(WAIT_S):
            assert await commit
        assert worker.broker.journal == [f"write {OUTPUT}", "confirm", f"write {CHANGELOG}", "commit"]


async def test_a_commit_does_not_wait_for_scores_of_later_chunks() -> None:
    first, later = HeldScores(b"first", 0), HeldScores(b"later", 1)
    with released_at_the_end(first, later):
        worker = FakeWorker(FakeBroker(), ScoringEngine(first, later))
        worker.run(record(0))
        commit = asyncio.create_task(worker.committer.commit())
        await settle()
        worker.run(record(1))
        first.released.set()
        async with asyncio.timeout(WAIT_S):
            assert await commit

        assert worker.broker.committed_offset() == 1


async def test_scores_that_cannot_be_computed_end_the_worker_and_nothing_is_committed() -> None:
    held = HeldScores(b"score", 0, fails=True)
    with released_at_the_end(held):
        worker = FakeWorker(FakeBroker(), ScoringEngine(held))
        worker.run(record(0))
        held.released.set()
        with pytest.raises(RunError, match="scores could not be computed: ValueError"):
            await worker.committer.commit()

        assert [str(failure) for failure in worker.failures] == [
            "scores could not be computed: ValueError('no memory')"
        ]
        assert worker.broker.journal == []


async def test_nothing_is_published_for_partitions_that_are_gone() -> None:
    held = HeldScores(b"score", 0)
    with released_at_the_end(held):
        worker = FakeWorker(FakeBroker(), ScoringEngine(held, HeldScores(b"next", 0)))
        worker.run(record(0))
        await settle()
        worker.pipeline.drop()
        held.released.set()
        worker.start({0: 0})
        worker.engine.held[0].released.set()
        worker.run(record(0))

        assert await published(worker, 1) == [b"next"]
        assert worker.pipeline.scores.has_room


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has its process's niceness")
async def test_scores_give_way_to_the_loop() -> None:
    """Beside a broker and the loop there is no third processor for them on a small machine."""

    class Told(HeldScores):
        def compute(self) -> None:
            self.niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    told = Told(b"score", 0)
    worker = FakeWorker(FakeBroker(), ScoringEngine(told))
    worker.run(record(0))

    await published(worker, 1)

    assert told.niceness == min(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + NICENESS, 19)


async def test_there_is_room_again_when_scores_are_out() -> None:
    held = HeldScores(b"score", 0, windows=ROOM_WINDOWS)
    with released_at_the_end(held):
        worker = FakeWorker(FakeBroker(), ScoringEngine(held))
        assert worker.pipeline.scores.has_room
        worker.run(record(0))

        assert not worker.pipeline.scores.has_room

        held.released.set()
        async with asyncio.timeout(WAIT_S):
            await worker.pipeline.scores.room()
        assert worker.pipeline.scores.has_room
