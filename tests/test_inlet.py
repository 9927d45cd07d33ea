"""Chunks that are applied without their agent: only small ones, and only where they overtake nothing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.native.records import Records
from stream_app.kafka.chunks import Chunk
from stream_app.kafka.inlet import SMALL_RECORDS, Inlet
from tests.fakes import settle
from tests.strategies import relaxed


def chunk_of(first: int, count: int = 1) -> Chunk:
    records = Records(0)
    for offset in range(first, first + count):
        records.append(b"key", b"value", offset, 0)
    return Chunk("source", 1, 0, {0: records}, {0: first})


class Bench:
    """An agent that applies what comes out of its queue, one chunk each time that a test lets it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Chunk] = asyncio.Queue()
        self.applied: list[int] = []
        self.alone: list[int] = []
        """The chunks that were applied without the agent."""
        self.may_apply = True
        self.go_on = asyncio.Semaphore(0)
        self.inlet = Inlet(self.apply_now)
        self.agent = asyncio.create_task(self.serve())

    def apply_now(self, chunk: Chunk) -> bool:
        if self.may_apply:
            self.applied.append(chunk.starts[0])
            self.alone.append(chunk.starts[0])
        return self.may_apply

    async def serve(self) -> None:
        async def started() -> None: ...

        stream: Any = SimpleNamespace(maybe_start=started, channel=SimpleNamespace(queue=self.queue))
        async for chunk in self.inlet.chunks(stream):
            await self.go_on.acquire()
            self.applied.append(chunk.starts[0])

    def hand(self, chunk: Chunk) -> None:
        if not self.inlet.take(chunk):
            self.queue.put_nowait(chunk)


async def test_a_small_chunk_is_applied_at_once_where_the_agent_waits() -> None:
    bench = Bench()
    await settle()
    bench.hand(chunk_of(0, SMALL_RECORDS))

    assert bench.alone == [0]
    assert bench.queue.empty()


@pytest.mark.parametrize("reason", ["not started", "large", "has to wait", "one in the queue", "one with the agent"])
async def test_a_chunk_goes_through_the_queue_where_it_would_overtake_or_hold_up_others(reason: str) -> None:
    bench = Bench()
    if reason != "not started":
        await settle()
    if reason.startswith("one"):
        bench.queue.put_nowait(chunk_of(0))
        if reason == "one with the agent":
            await settle()
            assert bench.queue.empty()
    bench.may_apply = reason != "has to wait"
    bench.hand(chunk_of(1, SMALL_RECORDS + 1 if reason == "large" else 1))

    assert bench.applied == []
    bench.go_on.release()
    bench.go_on.release()
    await settle()
    assert bench.applied == ([0, 1] if reason.startswith("one") else [1])
    assert bench.alone == []


@relaxed
@given(st.lists(st.sampled_from(["small", "large", "agent", "turn", "room"]), max_size=40))
async def test_chunks_are_applied_in_their_order_whatever_way_each_takes(steps: list[str]) -> None:
    bench = Bench()
    handed = 0
    for step in steps:
        if step in ("small", "large"):
            bench.hand(chunk_of(handed, 1 if step == "small" else SMALL_RECORDS + 1))
            handed += 1
        elif step == "agent":
            bench.go_on.release()
        elif step == "room":
            bench.may_apply = not bench.may_apply
        else:
            await asyncio.sleep(0)
    for _ in range(handed):
        bench.go_on.release()
    await settle()

    assert bench.applied == list(range(handed))
    bench.agent.cancel()


async def test_an_agent_that_was_ended_takes_nothing_any_more() -> None:
    bench = Bench()
    await settle()
    bench.agent.cancel()
    await settle()

    assert not bench.inlet.take(chunk_of(0))
