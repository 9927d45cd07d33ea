"""What recovery keeps of a changelog, and where an assignment may begin."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.tables.recovery import ServiceStopped
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StartupError
from core.native.records import Records
from stream_app.flow.pipeline import Pipeline
from stream_app.settings import load_settings
from stream_app.topics.grown import Grown
from stream_app.topics.ownership import CLAIM
from stream_app.worker.assignment import BrokerView, Start, check_end, report_lost, start_of, stored_id, wanted_of
from stream_app.worker.recovery import ChangelogRecovery, Winners, read_keys
from tests.changes import Change, changes_of
from tests.fakes import CHANGELOG, SOURCE, FakeBroker, FakeWorker, settle
from tests.strategies import FakeRecord

AT = TopicPartition(SOURCE, 0)
OURS = '{"topic_id": "now"}'


def kept(*written: tuple[bytes, int, bytes | None]) -> Winners:
    """Winners of (key, source offset, value) in changelog order."""
    winners, records = Winners(), Records()
    for offset, (key, source_offset, value) in enumerate(written):
        records.add(state_record(key, value, offset, [("source-offset", b"%d" % source_offset)]))
    winners.add(TopicPartition(CHANGELOG, 0), records)
    return winners


def state_record(key: bytes, value: bytes | None, offset: int = 0, headers: Any = ()) -> FakeRecord:
    return FakeRecord(0, offset, 0, key, value, headers)


def values(winners: Winners) -> dict[bytes, bytes | None]:
    return {key: value for key, (value, _) in winners.rows.items()}


def winners_of(record: FakeRecord) -> Winners:
    winners, records = Winners(), Records()
    records.add(record)
    winners.add(TopicPartition(CHANGELOG, 0), records)
    return winners


# The record to keep.


def test_the_last_record_of_a_key_is_kept() -> None:
    winners = kept((b"a", 1, b"old"), (b"b", 2, b"b"), (b"a", 5, b"new"))

    assert values(winners) == {b"a": b"new", b"b": b"b"}
    assert len(winners.overtaken(0)) == 0


def test_a_zombies_older_state_is_not_kept_and_the_newer_one_is_written_again() -> None:
    winners = kept((b"a", 5, b"new"), (b"a", 3, b"zombie"))

    assert values(winners) == {b"a": b"new"}
    assert changes_of(winners.overtaken(2)) == [Change(2, 5, [(b"a", b"new")])]


def test_of_two_records_with_the_same_source_offset_the_later_is_kept() -> None:
    """A tombstone has the offset of the state that it ends."""
    assert values(kept((b"a", 5, b"state"), (b"a", 5, None))) == {b"a": None}


def test_a_tombstone_that_a_zombie_has_overtaken_is_written_again() -> None:
    winners = kept((b"a", 5, b"state"), (b"a", 5, None), (b"a", 4, b"zombie"))

    assert values(winners) == {b"a": None}
    assert changes_of(winners.overtaken(0)) == [Change(0, 5, [(b"a", None)])]


def test_a_changelog_was_used_if_it_ever_had_a_state() -> None:
    """Two workers that start at once may both claim it: that is no state whose offsets are gone."""
    claim, note, state = (CLAIM + SOURCE.encode(), 0, None), (Grown(1, 2).key, 0, b"{}"), (b"a", 5, b"state")

    assert not kept().was_used(0)
    assert not kept(claim, claim, note).was_used(3)
    assert kept(claim, state).was_used(2)
    assert kept(claim, state, (b"a", 5, None)).was_used(3)
    assert kept(claim).was_used(3)  # compaction has removed what stood behind the claim


def test_a_winner_that_was_written_again_is_overtaken_no_more() -> None:
    assert len(kept((b"a", 5, b"new"), (b"a", 3, b"zombie"), (b"a", 5, b"new")).overtaken(0)) == 0


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 6)), max_size=20))
def test_winners_agree_with_looking_at_each_keys_whole_history(written: list[tuple[bytes, int]]) -> None:
    winners = kept(*((key, offset, b"%d" % number) for number, (key, offset) in enumerate(written)))
    history = {key: [(at, n) for n, (k, at) in enumerate(written) if k == key] for key, _ in written}
    best = {key: max(records) for key, records in history.items()}

    assert values(winners) == {key: b"%d" % number for key, (_, number) in best.items()}
    overtaken = {key for key, records in history.items() if records[-1] != best[key]}
    assert {record.key for record in winners.overtaken(0)} == overtaken


def test_the_source_offset_is_a_header() -> None:
    headers = [("other", b"1"), ("null", None), ("source-offset", b"42")]

    assert winners_of(state_record(b"a", b"x", headers=headers)).rows == {b"a": (b"x", 42)}


@pytest.mark.parametrize("headers", [[], [("source-offset", b"")], [("source-offset", b"many")]])
def test_a_changelog_record_without_a_source_offset_is_somebody_elses(headers: Any) -> None:
    with pytest.raises(StartupError, match=rf"{CHANGELOG}\[0\] offset 7: .*reset-state"):
        winners_of(state_record(b"a", b"x", 7, headers))


async def test_a_changelog_that_begins_at_0_again_holds_nothing_of_another_writer() -> None:
    nobody_there = load_settings(broker="127.0.0.1:1")

    assert await read_keys(nobody_there, AT, 48, 0) == set()


# Where an assignment begins.


@pytest.fixture
async def pipeline() -> Pipeline:
    return FakeWorker(FakeBroker()).pipeline


def found(
    committed: int, beginning: int = 0, end: int = 10, metadata: str = '{"topic_id": "now"}', topic_id: str = "now"
) -> BrokerView:
    kept = OffsetAndMetadata(committed, metadata)
    return BrokerView({AT: kept}, {AT: beginning}, {AT: end}, {SOURCE: topic_id, CHANGELOG: "now"})


def test_it_begins_at_the_committed_offset(pipeline: Pipeline) -> None:
    assert start_of(pipeline, 0, found(7)) == Start(7)


@pytest.mark.parametrize("answer", [found(-1, beginning=3), BrokerView({}, {AT: 3}, {AT: 10}, {})], ids=["-1", "none"])
def test_a_group_without_offsets_begins_at_the_beginning(pipeline: Pipeline, answer: BrokerView) -> None:
    assert start_of(pipeline, 0, answer) == Start(3)


def test_states_without_a_committed_offset_are_refused(pipeline: Pipeline) -> None:
    pipeline.states.fill(0, {b"key": (b"state", 4)})

    with pytest.raises(StartupError, match=rf"{SOURCE}\[0\]: {CHANGELOG} holds states, .*reset-state"):
        start_of(pipeline, 0, found(-1))


def test_states_of_another_partition_are_no_reason_to_refuse(pipeline: Pipeline) -> None:
    pipeline.states.fill(1, {b"key": (b"state", 4)})

    assert start_of(pipeline, 0, found(-1)) == Start(0)


def test_another_topic_id_than_that_of_the_commit_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(
        StartupError, match=r"deleted and created again \(topic id now, the committed offsets are of then"
    ):
        start_of(pipeline, 0, found(7, metadata='{"topic_id": "then"}'))


def test_states_of_a_changelog_that_was_made_anew_are_missed(pipeline: Pipeline) -> None:
    with pytest.raises(
        StartupError, match=rf"{CHANGELOG} was deleted and created again .* states of {SOURCE} .* are gone"
    ):
        start_of(pipeline, 0, found(7, metadata='{"topic_id": "now", "changelog_id": "then"}'))


@pytest.mark.parametrize(
    "metadata",
    ['{"topic_id": "now", "changelog_id": "now"}', '{"topic_id": "now"}', "", '{"topic_id": ""}', "a note", "[]"],
)
def test_the_same_topic_id_and_none_at_all_are_good(pipeline: Pipeline, metadata: str) -> None:
    assert start_of(pipeline, 0, found(7, metadata=metadata)).position == 7


def test_a_group_that_was_moved_back_is_told(pipeline: Pipeline) -> None:
    """Records that the states include are skipped, which nobody who rewinds a group expects."""
    pipeline.states.fill(0, {b"key": (b"state", 8)})

    start = start_of(pipeline, 0, found(2, metadata=""))

    assert start.position == 2
    assert f"{SOURCE}[0]: the group was moved back from offset 9 to 2" in start.note
    assert "reset-state" in start.note


def test_states_ahead_of_a_workers_own_offset_are_no_reason_to_tell(pipeline: Pipeline) -> None:
    """It died between its states and its offsets."""
    pipeline.states.fill(0, {b"key": (b"state", 8)})

    assert start_of(pipeline, 0, found(2)) == Start(2)


@pytest.mark.parametrize(("committed", "metadata"), [(-1, ""), (3, "")])
def test_offsets_that_are_no_workers_have_outputs_looked_for_anywhere(
    pipeline: Pipeline, committed: int, metadata: str
) -> None:
    """All streams were evicted: only the log says what is published already."""
    pipeline.states.used[0] = True
    answer = found(committed, metadata=metadata)

    assert "left out" in start_of(pipeline, 0, answer).note
    (wanted,) = wanted_of([pipeline], answer.committed)
    assert wanted.anywhere


@pytest.mark.parametrize(("used", "committed", "metadata"), [(False, -1, ""), (True, 3, '{"topic_id": "now"}')])
def test_a_new_system_and_a_workers_offset_have_none_looked_for(
    pipeline: Pipeline, used: bool, committed: int, metadata: str
) -> None:
    pipeline.states.used[0] = used

    (wanted,) = wanted_of([pipeline], found(committed, metadata=metadata).committed)

    assert not wanted.anywhere


def test_a_topic_id_that_nobody_knows_is_not_compared(pipeline: Pipeline) -> None:
    assert start_of(pipeline, 0, found(7, metadata='{"topic_id": "then"}', topic_id="")) == Start(7)


@pytest.mark.parametrize("metadata", [None, "", "{", "7", '"x"', '{"other": 1}'])
def test_metadata_of_others_holds_no_topic_id(metadata: str | None) -> None:
    assert stored_id(metadata, "topic_id") == ""


def test_a_topic_that_ends_below_the_committed_offset_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(StartupError, match=rf"{SOURCE}\[0\] ends at offset 10, but records up to 10 were processed"):
        start_of(pipeline, 0, found(11))


def test_a_topic_that_ends_below_a_states_offset_is_refused(pipeline: Pipeline) -> None:
    pipeline.states.fill(0, {b"key": (b"state", 10)})

    with pytest.raises(StartupError, match="records up to 10 were processed"):
        start_of(pipeline, 0, found(5))


def test_a_state_at_the_last_record_is_good(pipeline: Pipeline) -> None:
    pipeline.states.fill(0, {b"key": (b"state", 9)})

    assert start_of(pipeline, 0, found(10)) == Start(10)


def test_records_that_retention_took_are_lost_and_told(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    start = start_of(pipeline, 0, found(4, beginning=6))

    report_lost(pipeline, 0, 4, start.position)

    assert start == Start(6, lost=2)
    assert pipeline.metrics.registry.get_sample_value("caststream_records_lost_total", {"task": "signal"}) == 2
    assert f"{SOURCE}[0]: records 4 to 5 were deleted by retention" in caplog.text


def test_the_end_may_equal_what_is_stored() -> None:
    check_end(AT, 5, 5)
    with pytest.raises(StartupError):
        check_end(AT, 4, 5)


# A stop in the middle of it.


async def test_what_a_stop_gives_up_is_no_traceback_in_the_log() -> None:
    """Faust's inner wait ends with the same error as ours, and nobody retrieves it."""
    heard: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context["message"]))
    recovery = ChangelogRecovery.__new__(ChangelogRecovery)
    recovery.loop, recovery._signal_recovery_start = loop, asyncio.Event()
    recovery._stopped, recovery._crashed = asyncio.Event(), asyncio.Event()

    over = asyncio.Event()

    async def gives_up_too() -> None:
        await over.wait()
        raise ServiceStopped

    waiting = asyncio.create_task(recovery._wait(gives_up_too()))
    await settle()
    over.set()
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    del waiting
    await settle()
    gc.collect()

    assert heard == []
