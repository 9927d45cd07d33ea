"""A worker and its broker as a state machine: anything that happens to them, in any order, one step at a time.

`tests.reference` says what a stream should come to, one record after the other. Here the log grows while a worker reads
it, commits bit by bit, evicts, loses partitions and dies; every state that is written and every output that is sent is
compared with what the slow reference had at that record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from core.native.states import peek_offset
from tests import test_scorer, test_stepper
from tests.changes import changes_of, take_rest
from tests.reference import (
    CrashingWorker,
    Published,
    SlowState,
    WatchedTable,
    first_fresh,
    read_outputs,
    stored_rows,
    stream_rules,
)
from tests.strategies import Event, EventFeed

PARTITIONS = (0, 1)
GRACE_MS = 4_999  # the clock of an eviction is ahead of the last record by less than a record may be late


class SteppedWorker(CrashingWorker):
    """A commit in steps: the cut (its outputs are acked), then states bit by bit, then the offsets."""

    rest: list[int] | None = None
    """Partitions of the open commit whose states are not all written; None: no commit is open."""
    cut_ends: dict[int, int] = {}  # noqa: RUF012 - always set anew

    @property
    def in_memory_only(self) -> bool:
        """Whether there is something that a crash would take."""
        return self.ends != self.committed or bool(self.extra or self.unacked)

    def cut(self) -> None:
        self.acknowledge()
        self.log.apply(self.extra)
        self.extra = []
        self.cut_ends = dict(self.ends)
        self.engine.cut(list(PARTITIONS))
        self.rest = list(PARTITIONS)

    def write(self, streams: int) -> None:
        """The next states of the open commit."""
        assert self.rest
        packed = self.engine.take_packed(self.rest[0], streams)
        if packed is None:
            self.rest.pop(0)
        else:
            self.log.apply(changes_of(packed))

    def write_and_die(self, changes: int) -> None:
        """A part of what is left of the open commit arrives."""
        assert self.rest is not None
        self.log.apply(take_rest(self.engine, self.rest)[:changes])
        self.crash(outputs_were_sent=True)

    def commit_offsets(self) -> None:
        self.committed |= self.cut_ends
        self.rest = None

    def crash(self, outputs_were_sent: bool) -> None:
        super().crash(outputs_were_sent)
        self.rest = None

    def lose(self, partition: int, outputs_were_sent: bool) -> None:
        """A partition goes away without a commit, and comes back."""
        lost = [output for output in self.unacked if output.partition == partition]
        self.published += lost if outputs_were_sent else []
        self.unacked = [output for output in self.unacked if output.partition != partition]
        letters = {at: reason for at, reason in self.unacked_letters.items() if at[0] == partition}
        self.letters |= letters if outputs_were_sent else {}
        self.unacked_letters = {at: reason for at, reason in self.unacked_letters.items() if at not in letters}
        self.extra = [change for change in self.extra if change.partition != partition]
        self.engine.drop([partition])
        rows = self.log.rows.get(partition, {})
        self.store.fill(partition, {key: (blob, offset) for key, (offset, blob) in rows.items()})
        self.ends[partition] = self.committed[partition]
        self.cut_ends.pop(partition, None)
        if self.rest is not None:
            self.rest = [one for one in self.rest if one != partition]


class StreamMachine(RuleBasedStateMachine):
    """Rules are what may happen next."""

    casts: ClassVar[bool]
    module: ClassVar[ModuleType]
    """Where the slow reference of the kind stands, and what compares with it."""
    worker_class: ClassVar[type[SteppedWorker]] = SteppedWorker

    @initialize(policy=st.sampled_from(("step", "hold", "reset")))
    def start(self, policy: str) -> None:
        rules = stream_rules(policy)
        self.slow = self.module.slowly([], rules)
        self.worker = self.worker_class(lambda store: self.module.make(store, rules))
        self.worker.log = WatchedTable()
        self.feed = EventFeed(None, self.casts)
        self.events: list[Event] = []
        self.history: dict[tuple[int, bytes], dict[int, SlowState]] = {}
        self.checked = 0  # outputs of `worker.published`
        self.finals: list[Published] = []  # that the reference gives later, or at the end

    # The log grows, and is read.

    @rule(data=st.data(), count=st.integers(1, 6), are_applied=st.booleans())
    def records_arrive(self, data: Any, count: int, are_applied: bool) -> None:
        self.feed.draw = data.draw
        for _ in range(count):
            self._append(self.feed.event())
        if are_applied:
            self.worker.process(self.worker.unread(self.events))

    def _append(self, event: Event) -> None:
        self.events.append(event)
        self.slow.feed(event)
        state = self.slow.streams.get((event.record.partition, event.record.key))
        if state is not None and state.included == event.record.offset:
            kept = list(state.memory) if isinstance(state.memory, list) else state.memory
            self.history.setdefault(event.stream, {})[state.included] = dataclasses.replace(state, memory=kept)

    @precondition(lambda self: self.worker.unread(self.events))
    @rule(count=st.integers(1, 20))
    def a_chunk_is_applied(self, count: int) -> None:
        self.worker.process(self.worker.unread(self.events)[:count])

    # Commits.

    @precondition(lambda self: self.worker.rest is None and self.worker.in_memory_only)
    @rule()
    def a_commit_begins(self) -> None:
        self.worker.cut()
        self._check()

    @precondition(lambda self: self.worker.rest)
    @rule(streams=st.integers(1, 3))
    def states_are_written(self, streams: int) -> None:
        self.worker.write(streams)
        self._check()

    @precondition(lambda self: self.worker.rest == [])
    @rule()
    def offsets_are_committed(self) -> None:
        self.worker.commit_offsets()
        self._check_nothing_is_missing()

    @precondition(lambda self: self.worker.rest is None and self.worker.in_memory_only)
    @rule()
    def a_commit_from_beginning_to_end(self) -> None:
        self.worker.cut()
        self._finish_commit()

    def _finish_commit(self) -> None:
        while self.worker.rest:
            self.worker.write(streams=500)
        self._check()
        self.worker.commit_offsets()
        self._check_nothing_is_missing()

    @precondition(lambda self: self.worker.engine.active())
    @rule(partition=st.sampled_from(PARTITIONS))
    def all_states_are_to_be_written_again(self, partition: int) -> None:
        self.worker.engine.rewrite(partition)

    # Eviction. No cut may lie open, and everything has been read; records come between its steps.

    @precondition(lambda self: self.worker.rest is None and self.events and not self.worker.unread(self.events))
    @rule(data=st.data(), partition=st.sampled_from(PARTITIONS), ahead_ms=st.sampled_from((0, GRACE_MS)))
    def idle_streams_are_evicted(self, data: Any, partition: int, ahead_ms: int) -> None:
        worker, now_ms = self.worker, self.feed.now_ms + ahead_ms
        before = min(worker.committed[partition], first_fresh(self.events, partition, now_ms))
        for step in worker.engine.evict(partition, before, now_ms):
            worker.unacked += read_outputs(step.outputs)
            worker.extra += changes_of(step.tombstones)
            if data.draw(st.booleans()):
                self.records_arrive(data, 1, are_applied=True)

    # What goes wrong.

    @precondition(lambda self: self.worker.in_memory_only)
    @rule(outputs_were_sent=st.booleans())
    def the_worker_dies(self, outputs_were_sent: bool) -> None:
        self.worker.crash(outputs_were_sent)
        self._check()

    @precondition(lambda self: self.worker.rest)
    @rule(changes=st.integers(0, 4))
    def the_worker_dies_while_states_are_written(self, changes: int) -> None:
        self.worker.write_and_die(changes)
        self._check()

    @precondition(lambda self: self.worker.in_memory_only)
    @rule(partition=st.sampled_from(PARTITIONS), outputs_were_sent=st.booleans())
    def a_partition_is_lost(self, partition: int, outputs_were_sent: bool) -> None:
        self.worker.lose(partition, outputs_were_sent)
        self._check()

    # Compared.

    def _check(self) -> None:
        """Every state in the table is the reference's at its offset; every output is the reference's."""
        known = {place: self.history[place][offset] for place, offset in self._stored()}
        self.module.assert_same_states(SimpleNamespace(streams=known), self.worker.log)
        for output in self.worker.published[self.checked :]:
            self._check_output(output)
        self.checked = len(self.worker.published)

    def _stored(self) -> Iterator[tuple[tuple[int, bytes], int]]:
        """The streams in the table, and the offsets of their states."""
        for (partition, table_key), blob in stored_rows(self.worker.log).items():
            key = self.worker.engine._stream_key(table_key)
            offset = None if key is None else peek_offset(blob)
            if key is not None and offset is not None:
                yield (partition, key), offset

    def _check_output(self, output: Published) -> None:
        expected = self.slow.outputs.get(output.identity)
        if expected is None and output.fields.get("final"):
            self.finals.append(output)  # of a cast that was evicted: the reference concludes it with its next record
            return
        assert expected is not None, f"no record gives the output {output.identity}"
        self.module.assert_same(expected, output.fields)

    def _check_nothing_is_missing(self) -> None:
        """Behind the committed offsets nobody reads again: the outputs of all records before them have been sent."""
        sent = {output.identity for output in self.worker.published}
        for partition, key, offset, final in self.slow.outputs.keys() - sent:
            # A final score comes of a later record.
            assert final or offset >= self.worker.committed[partition], f"the output of {key!r} at {offset} is lost"

    def teardown(self) -> None:
        """All is read and committed, and at last everything is idle."""
        if not hasattr(self, "worker"):
            return
        if self.worker.rest is not None:
            self._finish_commit()
        self.worker.process(self.worker.unread(self.events))
        self.worker.cut()
        self._finish_commit()
        assert {place for place, state in self.slow.streams.items() if state.offset >= 0} >= {
            p for p, _ in self._stored()
        }
        self.worker.end()
        for stream, state in self.slow.streams.items():
            if not state.closed:
                self.slow.conclude(stream, state)
        assert self.slow.outputs.keys() == {output.identity for output in self.worker.published}
        for output in [*self.finals, *self.worker.published[self.checked :]]:
            self.module.assert_same(self.slow.outputs[output.identity], output.fields)
        assert self.slow.letters.items() <= self.worker.letters.items()
        assert stored_rows(self.worker.log) == {}, "something would stay in the table for ever"
        assert self.worker.engine.active() == 0


class SignalMachine(StreamMachine):
    casts, module = False, test_stepper


class CastMachine(StreamMachine):
    casts, module = True, test_scorer
