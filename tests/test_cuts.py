"""A commit's cut: whatever happens before its last state is packed, the table gets the states as they were at the cut.

States are packed some at a time while chunks go on; a stream that changes before its turn is packed before it does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.base import Engine
from tests import test_scorer, test_stepper
from tests.changes import Change, changes_of, evict_all, take_changed, take_rest
from tests.changes import plain as lists
from tests.reference import WatchedTable, stream_rules
from tests.strategies import IDLE_TIMEOUT_MS, Event, FakeRecord, MemoryTable, cuts, feeds, relaxed, signal_value

PARTITIONS = [0, 1]
KINDS: dict[str, Any] = {"signals": test_stepper, "casts": test_scorer}
SAMPLE = (0.5, 1.0, 0.0, 0.0, 0.0)


@dataclass
class Packer:
    """An engine whose cuts are packed when the test says so; ``rest``: partitions of the cut that lies open."""

    engine: Engine[Any]
    log: MemoryTable = field(default_factory=WatchedTable)
    rest: list[int] = field(default_factory=list)
    extra: list[Change] = field(default_factory=list)
    taken: Counter[tuple[int, bytes]] = field(default_factory=Counter)

    def cut(self) -> None:
        self.finish()
        extra, self.extra = self.extra, []
        self.log.apply(extra)
        self.engine.cut(PARTITIONS)
        self.rest, self.taken = list(PARTITIONS), Counter()

    def take(self, partition: int, streams: int) -> None:
        if partition not in self.rest:
            return
        packed = self.engine.take_packed(partition, streams)
        if packed is None:
            self.rest.remove(partition)
            return
        changes = changes_of(packed)
        self.taken.update((partition, key) for change in changes for key, _ in change.records)
        assert not self.taken or max(self.taken.values()) == 1, "a table record was packed twice for one cut"
        self.log.apply(changes)

    def finish(self, streams: int = 500) -> None:
        while self.rest:
            self.take(self.rest[0], streams)

    def evict(self, before: int) -> Any:
        """Not while a cut lies open."""
        self.finish()
        outputs = []
        for partition in PARTITIONS:
            gone = evict_all(self.engine, partition, before)
            self.extra += gone.tombstones
            outputs.append(gone.outputs)
        return outputs


def actions(last: int) -> st.SearchStrategy[tuple[str, Any]]:
    """What may happen between two chunks."""
    return st.one_of(
        st.tuples(st.just("cut"), st.none()),
        st.tuples(st.just("take"), st.tuples(st.sampled_from(PARTITIONS), st.integers(1, 3))),
        st.tuples(st.just("take"), st.tuples(st.sampled_from(PARTITIONS), st.integers(1, 3))),
        st.tuples(st.just("rewrite"), st.sampled_from(PARTITIONS)),
        st.tuples(st.just("evict"), st.sampled_from((0, last - 10, last, last + 1))),
    )


@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(data=st.data(), policy=st.sampled_from(("step", "hold", "reset")))
def test_packed_in_pieces_or_at_once_the_table_is_the_same(kind: str, data: Any, policy: str) -> None:
    events = data.draw(feeds(casts=kind == "casts"))
    rules = stream_rules(policy)
    in_pieces, at_once = (Packer(KINDS[kind].make(rules=rules)) for _ in range(2))
    for chunk in data.draw(cuts(events)):
        records = [event.record for event in chunk]
        assert lists(in_pieces.engine.run(records)) == lists(at_once.engine.run(records))
        last = max((event.record.offset for event in chunk), default=0)
        for action, given_ in data.draw(st.lists(actions(last), max_size=4)):
            if action == "take":
                in_pieces.take(*given_)
            elif action == "cut":
                in_pieces.cut()
                at_once.cut()
                at_once.finish()
            elif action == "rewrite":
                for packer in (in_pieces, at_once):
                    packer.engine.rewrite(given_)
            else:
                assert in_pieces.evict(given_) == at_once.evict(given_)
        if not in_pieces.rest:
            assert in_pieces.log.rows == at_once.log.rows
    for _ in range(3):  # the tombstones of segments come one cut later
        for packer in (in_pieces, at_once):
            packer.cut()
            packer.finish()
    assert in_pieces.log.rows == at_once.log.rows
    assert in_pieces.evict(10**9) == at_once.evict(10**9)


@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(data=st.data())
def test_what_comes_after_the_cut_is_not_in_it(kind: str, data: Any) -> None:
    """Against one record at a time: the table of a cut is that of the records before it."""
    events = data.draw(feeds(casts=kind == "casts"))
    module, at = KINDS[kind], data.draw(st.integers(0, len(events)))
    packer = Packer(module.make())
    _run(packer.engine, events[:at])

    packer.cut()
    for chunk in data.draw(cuts(events[at:])):
        _run(packer.engine, chunk)
        packer.take(data.draw(st.sampled_from(PARTITIONS)), 1)
    packer.finish(streams=1)

    slow = module.slowly(events[:at], stream_rules())
    module.assert_same_states(slow, packer.log)
    heads = {(partition, key) for partition, rows in packer.log.rows.items() for key in rows if key[:1] != b"s"}
    assert len(heads) == len(slow.streams)


@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(data=st.data())
def test_an_engine_that_begins_at_a_cut_goes_on_as_the_one_that_made_it(kind: str, data: Any) -> None:
    events: list[Event] = data.draw(feeds(casts=kind == "casts"))
    module, at = KINDS[kind], data.draw(st.integers(0, len(events)))
    packer = Packer(module.make())
    _run(packer.engine, events[:at])
    packer.cut()
    expected = _run(packer.engine, events[at:])
    packer.finish(streams=1)

    found = _run(module.make(packer.log), events[at:])

    assert lists(expected) == lists(found)
    assert [letter.reason for letter in expected.dead_letters] == [letter.reason for letter in found.dead_letters]


def _run(engine: Engine[Any], events: list[Event]) -> Any:
    return engine.run([event.record for event in events])


# Single cases.


def plain(offset: int, key: bytes, partition: int = 0) -> FakeRecord:
    return FakeRecord(partition, offset, offset, key, signal_value(SAMPLE))


def offsets(changes: list[Change]) -> dict[bytes, int]:
    return {change.records[0][0]: change.source_offset for change in changes}


def many_streams(count: int) -> Engine[Any]:
    engine = test_stepper.make()
    engine.run([plain(number, b"%d" % number) for number in range(count)])
    return engine


def test_a_cut_tells_how_many_streams_it_covers() -> None:
    engine = many_streams(3)
    engine.run([plain(0, b"x", partition=1)])

    assert engine.cut(PARTITIONS) == {0: 3, 1: 1}
    assert len(take_rest(engine, PARTITIONS)) == 4
    assert engine.cut(PARTITIONS) == {}
    assert take_rest(engine, PARTITIONS) == []


def test_about_as_many_streams_are_packed_as_were_asked_for() -> None:
    engine = many_streams(10)
    engine.cut([0])

    pieces = [len(packed) for packed in iter(lambda: engine.take_packed(0, 4), None)]

    assert pieces == [4, 4, 2]


def test_a_stream_that_changes_many_times_before_its_turn_is_packed_once_as_it_was() -> None:
    engine = many_streams(5)
    engine.cut([0])
    for offset in range(100, 110):
        engine.run([plain(offset, b"3"), plain(offset + 100, b"new")])

    first, second = take_rest(engine, [0], streams=2), take_changed(engine, [0])

    assert offsets(first) == {b"%d" % number: number for number in range(5)}
    assert len(first) == 5
    assert offsets(second) == {b"3": 109, b"new": 209}


def test_when_all_streams_have_changed_since_the_cut_its_states_are_still_given() -> None:
    """There is nothing left to pack then, only to hand over."""
    engine = many_streams(5)
    engine.cut([0])
    engine.run([plain(10 + number, b"%d" % number) for number in range(5)])

    assert offsets(take_rest(engine, [0], streams=1)) == {b"%d" % number: number for number in range(5)}
    assert offsets(take_changed(engine, [0])) == {b"%d" % number: 10 + number for number in range(5)}


def test_partitions_are_packed_each_for_itself() -> None:
    engine = test_stepper.make()
    engine.run([plain(0, b"a"), plain(0, b"b", partition=1)])
    engine.cut(PARTITIONS)
    engine.run([plain(1, b"a"), plain(1, b"b", partition=1)])

    assert [change.partition for change in take_rest(engine, [1])] == [1]
    assert [change.partition for change in take_rest(engine, [0])] == [0]


def test_a_partition_that_is_dropped_gives_nothing_more_and_the_others_do() -> None:
    engine = test_stepper.make()
    engine.run([plain(number, b"%d" % number, partition) for partition in PARTITIONS for number in range(3)])
    engine.cut(PARTITIONS)
    engine.run([plain(10, b"1", partition) for partition in PARTITIONS])

    engine.drop([0])

    assert engine.take_packed(0, 500) is None
    assert offsets(take_rest(engine, [1])) == {b"0": 0, b"1": 1, b"2": 2}


def test_an_evicted_stream_s_state_is_in_no_later_cut() -> None:
    engine = many_streams(2)
    evict_all(engine, 0, 1)

    assert offsets(take_changed(engine, [0])) == {b"1": 1}


def test_chunks_between_two_steps_of_an_eviction_keep_their_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are let go at a time; a stream that gets a record before its turn is idle no more."""
    monkeypatch.setattr("core.engines.eviction.EVICTED_AT_ONCE", 1)
    engine, now_ms = many_streams(3), IDLE_TIMEOUT_MS + 6_000
    steps = engine.evict(0, 3, now_ms)
    first = changes_of(next(steps).tombstones)

    engine.run([FakeRecord(0, 50, now_ms, b"1", signal_value(SAMPLE)), FakeRecord(0, 51, now_ms, b"new", b"{")])
    rest = [change for step in steps for change in changes_of(step.tombstones)]

    assert [offsets(first), offsets(rest)] == [{b"0": 0}, {b"2": 2}]
    assert engine.active() == 1


def test_a_stored_stream_that_is_met_between_two_steps_of_an_eviction_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.engines.eviction.EVICTED_AT_ONCE", 1)
    table, now_ms = MemoryTable(), IDLE_TIMEOUT_MS + 6_000
    table.apply(take_changed(many_streams(3), [0]))
    engine = test_stepper.make(table)
    steps = engine.evict(0, 3, now_ms)
    while not (first := changes_of(next(steps).tombstones)):
        pass

    engine.run([FakeRecord(0, 50, now_ms, b"1", signal_value(SAMPLE))])
    rest = [change for step in steps for change in changes_of(step.tombstones)]

    assert [offsets(first), offsets(rest)] == [{b"0": 0}, {b"2": 2}]
    assert engine.active() == 1


# Casts: what goes together stays together.


def test_the_records_of_a_cast_s_state_are_tied() -> None:
    make: Callable[..., Engine[Any]] = test_scorer.make
    engine = make()
    engine.run(test_scorer.cast(5))
    engine.cut([0])

    (group,) = engine.take_packed(0, 500).groups()  # type: ignore[union-attr]

    assert [record.key[:1] for record in group] == [b"s", b"s", b"s", b"h"]
