"""Commits: outputs, then states, then offsets, and what happens when the broker says no in between."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiokafka.structs import TopicPartition

from core.errors import RunError
from stream_app.flow.commits import FEWEST_AT_ONCE, MANY_CHANGES, MEMBERSHIP_LOST, CommitLoop
from tests import test_stepper
from tests.changes import tombstone
from tests.fakes import CHANGELOG, OUTPUT, SOURCE, FakeBroker, FakeWorker, Written, record, settle
from tests.strategies import FakeRecord, signal_value

WRITE_OUTPUT, WRITE_STATES = f"write {OUTPUT}", f"write {CHANGELOG}"


async def test_outputs_come_first_then_states_then_offsets() -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker)
    worker.run(record(0), record(1))

    assert await worker.committer.commit()

    assert broker.journal == [WRITE_OUTPUT, "confirm", WRITE_STATES, "commit"]
    assert [state.source_offset for state in broker.written(CHANGELOG)] == [1]
    assert broker.committed_offset() == 2


async def test_no_state_is_written_before_every_output_is_acknowledged() -> None:
    broker = FakeBroker(prompt=False)
    worker = FakeWorker(broker)
    worker.run(record(0))
    await settle()
    worker.run(record(1))
    commit = asyncio.create_task(worker.committer.commit())
    await settle()
    broker.take(broker.waiting[0])
    await settle()

    assert [request.what for request in broker.waiting] == [WRITE_OUTPUT]

    broker.take(broker.waiting[0])
    await settle()

    assert [request.what for request in broker.waiting] == ["confirm"]
    commit.cancel()


async def test_offsets_wait_for_the_states() -> None:
    broker = FakeBroker(prompt=False)
    worker = FakeWorker(broker)
    worker.run(record(0))
    commit = asyncio.create_task(worker.committer.commit())
    for what in (WRITE_OUTPUT, "confirm"):
        await settle()
        assert [request.what for request in broker.waiting] == [what]
        broker.take(broker.waiting[0])
    await settle()

    assert [request.what for request in broker.waiting] == [WRITE_STATES]

    broker.take(broker.waiting[0])
    await settle()

    assert [request.what for request in broker.waiting] == ["commit"]
    assert [state.value for state in broker.written(CHANGELOG)] == [b"value"]
    assert broker.committed_offset() is None
    broker.take(broker.waiting[0])
    assert await commit


async def test_what_is_applied_while_a_commit_runs_belongs_to_the_next() -> None:
    broker = FakeBroker(prompt=False)
    worker = FakeWorker(broker)
    worker.run(record(0, b"first"))
    commit = asyncio.create_task(worker.committer.commit())
    await settle()
    worker.run(record(1, b"second"))
    broker.prompt = True
    for request in list(broker.waiting):
        broker.take(request)
    assert await commit

    assert [(state.value, state.source_offset) for state in broker.written(CHANGELOG)] == [(b"first", 0)]
    assert broker.committed_offset() == 1

    assert await worker.committer.commit()

    assert [state.value for state in broker.written(CHANGELOG)] == [b"first", b"second"]
    assert broker.committed_offset() == 2


async def test_behind_the_last_commit_of_an_assignment_none_begins() -> None:
    """Begun in the old assignment, it would end in the new one: refused, and all commits of the new one after it."""
    broker = FakeBroker(prompt=False)
    worker = FakeWorker(broker)
    worker.run(record(0))
    last = asyncio.create_task(worker.committer.commit(last=True))
    await settle()
    worker.evict(tombstone(0, 0, b"key"))  # as a cast has something left to write behind any commit
    another = asyncio.create_task(worker.committer.commit())
    while not last.done():
        broker.take(broker.waiting[0])
        await settle()
    assert await last

    assert broker.waiting == []
    assert another.done()
    assert not await another

    worker.committer.stop()
    worker.committer.start({TopicPartition(SOURCE, 0)})
    broker.prompt = True
    assert await worker.committer.commit()
    assert [state.value for state in broker.written(CHANGELOG)] == [b"value", None]


async def test_offsets_carry_the_topics_id() -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker)
    worker.run(record(0))
    await worker.committer.commit()

    kept = json.loads(broker.committed[TopicPartition(SOURCE, 0)].metadata)
    assert kept.items() >= {"topic_id": "topic-id", "changelog_id": "changelog-id"}.items()


async def test_without_news_the_broker_is_left_alone() -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker)
    worker.run(record(0))
    await worker.committer.commit()
    broker.journal.clear()

    assert await worker.committer.commit()
    assert broker.journal == []


@pytest.mark.parametrize("error", MEMBERSHIP_LOST)
async def test_a_worker_that_has_lost_its_membership_writes_nothing(error: type[Exception]) -> None:
    """A worker that was stopped for longer than its session must not write old states over its successor's."""
    broker = FakeBroker()
    worker = FakeWorker(broker)
    worker.run(record(0))
    broker.refusals["confirm"] = error()

    assert not await worker.committer.commit()
    worker.run(record(1))
    broker.refusals.clear()
    assert not await worker.committer.commit()

    assert broker.written(CHANGELOG) == []
    assert broker.committed == {}
    assert [output.source_offset for output in broker.written(OUTPUT)] == [0]  # no chunk was applied after it

    worker.start({0: 0})
    worker.run(record(0))
    assert await worker.committer.commit()
    assert broker.committed_offset() == 1


async def test_membership_lost_between_states_and_offsets_ends_the_commits_too() -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker)
    worker.run(record(0))
    broker.refusals["commit"] = MEMBERSHIP_LOST[0]()

    assert not await worker.committer.commit()
    broker.refusals.clear()
    assert not await worker.committer.commit()

    assert broker.committed == {}


@pytest.mark.parametrize("what", [WRITE_OUTPUT, WRITE_STATES])
async def test_a_write_that_the_broker_refuses_ends_the_worker(what: str) -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker)
    broker.refusals[what] = RuntimeError("the disk is full")
    worker.run(record(0))

    with pytest.raises(RunError, match=r"1 records were not accepted.*the disk is full"):
        await worker.committer.commit()

    assert len(worker.failures) == 1
    assert "commit" not in broker.journal
    broker.refusals.clear()
    worker.run(record(1))
    assert not await worker.committer.commit()  # its states were taken and never written
    assert broker.committed == {}


async def test_a_commit_that_was_cut_off_is_not_followed_by_another() -> None:
    broker = FakeBroker(prompt=False)
    worker = FakeWorker(broker)
    worker.run(record(0))
    commit = asyncio.create_task(worker.committer.commit())
    await settle()
    commit.cancel()
    await settle()
    broker.prompt = True
    for request in list(broker.waiting):
        broker.take(request)
    worker.run(record(1))

    assert not await worker.committer.commit()
    assert "commit" not in broker.journal


async def test_offsets_are_not_committed_when_the_partitions_were_let_go_before_their_states_were_written() -> None:
    """A worker that has failed lets go at once, while a commit may run: what it has not packed yet is gone."""
    broker = FakeBroker(prompt=False)
    worker = FakeWorker(broker, test_stepper.make(), partitions=(0, 1))
    value = signal_value((0.5, 1.0, 0.0, 0.0, 0.0))
    worker.run(*(FakeRecord(0, offset, 1_000, b"key-%d" % offset, value) for offset in range(3 * FEWEST_AT_ONCE)))
    worker.run(FakeRecord(1, 0, 1_000, b"key", value))  # written last: more than little waits for the broker
    commit = asyncio.create_task(worker.committer.commit())
    while not (states := [request for request in broker.waiting if request.what == WRITE_STATES]):
        await settle()
        for request in broker.next_ones():
            if request.what != WRITE_STATES:
                broker.take(request)
    worker.committer.stop()
    worker.pipeline.drop()
    broker.prompt = True
    for request in states:
        broker.take(request)

    assert not await commit
    assert broker.written(CHANGELOG, 1) == []
    assert broker.committed == {}


async def test_tombstones_are_written_though_no_offset_has_moved() -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker)
    worker.run(record(0))
    await worker.committer.commit()
    worker.evict(tombstone(0, 0, b"key"))

    assert await worker.committer.commit()
    assert [(state.value, state.source_offset) for state in broker.written(CHANGELOG)] == [(b"value", 0), (None, 0)]


async def test_a_new_state_stands_after_the_tombstone_of_the_stream_before_it() -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker)
    worker.run(record(0, b"old"))
    await worker.committer.commit()
    worker.evict(tombstone(0, 0, b"key"))
    worker.run(record(1, b"new"))
    await worker.committer.commit()

    assert [state.value for state in broker.written(CHANGELOG)] == [b"old", None, b"new"]
    assert worker.states.size(0) == 0  # the store holds only what no stream in memory stands for


async def test_foreign_records_in_the_changelog_have_all_states_written_again() -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker)
    worker.run(record(0, b"a0", b"a"), record(1, b"b0", b"b"))
    await worker.committer.commit()
    broker.written(CHANGELOG).append(broker.written(CHANGELOG)[0])  # a zombie's
    worker.run(record(2, b"a1", b"a"))
    await worker.committer.commit()
    await worker.committer.commit()

    last = {state.key: (state.value, state.source_offset) for state in broker.written(CHANGELOG)}
    assert last == {b"a": (b"a1", 2), b"b": (b"b0", 1)}
    assert [state.key for state in broker.written(CHANGELOG)[-2:]] == [b"a", b"b"]


async def test_a_foreign_record_of_an_evicted_stream_is_deleted_again() -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker)
    worker.run(record(0, b"gone", b"a"), record(1, b"b0", b"b"))
    await worker.committer.commit()
    worker.evict(tombstone(0, 0, b"a"), before=2)
    await worker.committer.commit()
    broker.written(CHANGELOG).append(broker.written(CHANGELOG)[0])  # a zombie's
    worker.run(record(2, b"b1", b"b"))
    await worker.committer.commit()
    await worker.committer.commit()

    last = {state.key: (state.value, state.source_offset) for state in broker.written(CHANGELOG)}
    assert last[b"a"] == (None, 1)


async def test_foreign_records_between_recovery_and_the_first_commit_are_noticed() -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker)
    worker.states.ends[0] = 0
    worker.start({0: 5}, {0: {b"a": (4, b"a4")}})
    broker.written(CHANGELOG).append(Written(b"a", b"a0", [("source-offset", b"0")]))  # a zombie's
    worker.run(record(5, b"b5", b"b"))
    await worker.committer.commit()
    await worker.committer.commit()

    last = {state.key: (state.value, state.source_offset) for state in broker.written(CHANGELOG)}
    assert last == {b"a": (b"a4", 4), b"b": (b"b5", 5)}


async def test_transaction_markers_are_no_foreign_records() -> None:
    broker = FakeBroker()
    broker.changelog_gaps = True
    worker = FakeWorker(broker)
    worker.run(record(0))
    await worker.committer.commit()
    broker.written(CHANGELOG).append(broker.written(CHANGELOG)[0])  # stands for the marker's offset
    worker.run(record(1))
    await worker.committer.commit()
    broker.journal.clear()
    await worker.committer.commit()

    assert broker.journal == []


async def test_an_exclusive_commit_keeps_chunks_waiting() -> None:
    broker = FakeBroker(prompt=False)
    broker.exclusive = True
    worker = FakeWorker(broker)
    worker.run(record(0))
    commit = asyncio.create_task(worker.committer.commit())
    await settle()
    turn = asyncio.create_task(worker.committer.turn())
    await settle()

    assert not turn.done()

    broker.prompt = True
    for request in list(broker.waiting):
        broker.take(request)
    assert await commit
    await turn


async def test_partitions_are_committed_each_for_itself() -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker, partitions=(0, 3))
    worker.run(record(0), record(0, partition=3), record(1, partition=3))
    await worker.committer.commit()
    worker.run(record(2, partition=3))
    await worker.committer.commit()

    assert (broker.committed_offset(0), broker.committed_offset(3)) == (1, 3)
    assert [state.source_offset for state in broker.written(CHANGELOG, 0)] == [0]
    assert [state.source_offset for state in broker.written(CHANGELOG, 3)] == [1, 2]


async def test_the_loop_goes_on_to_the_checks_only_after_a_commit() -> None:
    broker = FakeBroker()
    worker = FakeWorker(broker)
    checks: list[str] = []

    async def after() -> None:
        checks.append("checked")
        worker.run(record(0))
        broker.refusals["confirm"] = MEMBERSHIP_LOST[0]()

    loop = CommitLoop(worker.committer, interval=0.0, max_interval=1.0, after_commit=after)
    running = asyncio.create_task(loop.run())
    while "confirm" not in broker.journal:
        await settle()
    await settle()
    loop.stop()
    await running

    assert checks == ["checked"]


@pytest.mark.parametrize(
    ("changes", "took", "pause"),
    [(MANY_CHANGES, 2.0, 0.5), (MANY_CHANGES + 1, 0.1, 0.5), (MANY_CHANGES + 1, 2.0, 4.0), (10**6, 9.0, 5.0)],
    ids=["few", "many-but-quick", "many", "very-many"],
)
async def test_the_pause_grows_where_very_many_streams_have_changed(changes: int, took: float, pause: float) -> None:
    worker = FakeWorker(FakeBroker())
    worker.committer.last_changes = changes
    loop = CommitLoop(worker.committer, interval=0.5, max_interval=5.0, after_commit=settle)
    loop._took = took

    assert loop._pause() == pause
