"""The auditor's reading of the record table against the slow workers, the engines and their stored states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.audit.partition import PartitionAudit
from core.audit.rules import Candidate, Memory, entered, judge
from core.audit.scope import NOT_JUDGED, NOTHING, Scope
from core.engines.results import StreamRules
from core.engines.state import NEXT, Fate, begin, decide, step_back
from core.native.streams import StreamState
from tests import test_scorer, test_stepper
from tests.audits import (
    ALL,
    assert_loosely_same,
    audit_of,
    cast,
    engine,
    expected_of,
    heads_of,
    in_partition,
    problems_of,
    signal,
)
from tests.changes import take_changed
from tests.reference import LAST_OF_ALL_MS, CrashingWorker, read_outputs, stream_rules
from tests.strategies import (
    IDLE_TIMEOUT_MS,
    MAX_STEP_JUMP,
    TIME_MS,
    Event,
    FakeRecord,
    MemoryTable,
    examples,
    feeds,
    relaxed,
)
from tests.test_scorer import POLICIES

KINDS = st.sampled_from(("signal", "casting"))


def assert_same(kind: str, want: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    (test_stepper.assert_same if kind == "signal" else test_scorer.assert_same)(dict(want), dict(got))


def slow_worker(kind: str, events: list[Event], rules: StreamRules) -> Any:
    return (test_stepper.slowly if kind == "signal" else test_scorer.slowly)(events, rules)


def event_feeds(kind: str) -> st.SearchStrategy[list[Event]]:
    return feeds(casts=kind == "casting")


@relaxed
@given(data=st.data(), kind=KINDS, policy=POLICIES)
def test_an_audit_expects_what_the_slow_worker_puts_out(data: Any, kind: str, policy: str) -> None:
    rules, events = stream_rules(policy), data.draw(event_feeds(kind))
    slow = slow_worker(kind, events, rules)

    for partition in (0, 1):
        audit = audit_of(kind, in_partition(events, partition), rules=rules)
        found = expected_of(audit, partition)

        assert found.keys() == {identity for identity in slow.outputs if identity[0] == partition}
        for identity, fields in found.items():
            assert_same(kind, slow.outputs[identity], fields)
        assert all(audit.required)


@relaxed
@given(data=st.data(), kind=KINDS, policy=POLICIES)
def test_an_audit_expects_the_dead_letters_of_the_engine(data: Any, kind: str, policy: str) -> None:
    rules, events = stream_rules(policy), data.draw(event_feeds(kind))
    letters = engine(kind, rules).run([event.record for event in events]).dead_letters

    for partition in (0, 1):
        audit = audit_of(kind, in_partition(events, partition), rules=rules)

        want = {letter.offset: (letter.reason, letter.key) for letter in letters if letter.partition == partition}
        assert want == {offset: (letter.reason, letter.key) for offset, letter in audit.letters.items()}
        for letter in letters:
            if letter.partition == partition:
                assert audit.letters[letter.offset].holds(letter.value)
                assert not audit.letters[letter.offset].holds((letter.value or b"") + b"x")


@relaxed
@given(data=st.data(), kind=KINDS, policy=POLICIES)
def test_a_worker_that_crashes_and_evicts_passes_an_audit_at_any_commit(data: Any, kind: str, policy: str) -> None:
    rules, events = stream_rules(policy), data.draw(event_feeds(kind))
    worker = CrashingWorker(lambda table: engine(kind, rules, table))
    worker.live(events, data.draw)
    now_ms = max(event.record.timestamp or 0 for event in events)
    if data.draw(st.booleans()):
        worker.end()
        now_ms = LAST_OF_ALL_MS

    for partition in (0, 1):
        states = {key: offset for key, (offset, _) in heads_of(kind, worker.log, partition).items()}
        scope = Scope(committed=worker.committed[partition], states=states)
        audit = audit_of(kind, in_partition(events, partition), scope, rules, now_ms)

        published = [output.identity for output in worker.published if output.partition == partition]
        expected = expected_of(audit, partition)
        assert set(published) <= expected.keys()
        required = {identity for row, identity in enumerate(expected) if audit.required[row]}
        assert required <= set(published)
        assert {key: [] for key in states} == problems_of(kind, audit, worker.log, partition)
        assert [stream.key for stream in audit.missing_states(now_ms)] == []


@relaxed
@given(data=st.data(), kind=KINDS, policy=POLICIES)
def test_behind_any_cut_an_audit_says_only_what_the_whole_log_says(data: Any, kind: str, policy: str) -> None:
    """Nothing that is judged may depend on records that are not there to be read."""
    rules, events = stream_rules(policy), data.draw(event_feeds(kind))
    worker, table = engine(kind, rules), MemoryTable()
    worker.run([event.record for event in events])
    table.apply(take_changed(worker, [0, 1]))

    for partition in (0, 1):
        records = in_partition(events, partition)
        if not records:
            continue
        start = data.draw(st.integers(1, records[-1].offset + 1))
        states = {key: offset for key, (offset, _) in heads_of(kind, table, partition).items()}
        whole = audit_of(kind, records, Scope(committed=ALL), rules)
        part = audit_of(kind, records, Scope(start, committed=ALL, states=states), rules)

        everything, known = expected_of(whole, partition), expected_of(part, partition)
        required = {identity for row, identity in enumerate(known) if part.required[row]}
        assert required <= everything.keys()
        for identity in known.keys() & everything.keys():
            assert_loosely_same(everything[identity], known[identity])
        for offset in (record.offset for record in records if record.offset >= start):
            if part.is_judged(offset):
                assert whole.letter(offset) == part.letter(offset)
                for final in (False, True):
                    if whole.row(offset, final) >= 0:
                        assert part.row(offset, final) >= 0
        for problems in problems_of(kind, part, table, partition).values():
            assert problems in ([], None)


NAMES = st.sampled_from(("", "A", "B"))


@examples(200)
@given(
    memory=st.builds(
        Memory,
        NAMES,
        st.none() | NAMES,
        step=st.integers(0, 3),
        closed=st.booleans(),
        offset=st.just(0),
        append_ms=st.just(0),
        timestamp_ms=st.integers(-1, 1),
        skipped=st.sampled_from((range(0), range(2), range(1, 3))),
        candidate=st.none() | st.builds(Candidate, st.integers(0, 3), st.integers(0, 2), st.just(1)),
    ),
    sequence=NAMES,
    step=st.none() | st.integers(0, 8) | st.integers(MAX_STEP_JUMP - 1, MAX_STEP_JUMP + 5),
    append_ms=st.sampled_from((0, IDLE_TIMEOUT_MS, IDLE_TIMEOUT_MS + 1)),
    event_ms=st.none() | st.integers(-1, 4),
    policy=POLICIES,
)
def test_the_auditor_and_the_worker_judge_alike(
    memory: Memory, sequence: str, step: int | None, append_ms: int, event_ms: int | None, policy: str
) -> None:
    rules, state = stream_rules(policy, max_gap=3), StreamState()
    for name in ("sequence", "previous", "step", "closed", "offset", "append_ms", "timestamp_ms"):
        setattr(state, name, getattr(memory, name))
    state.gap_first, state.gap_end = memory.skipped.start, memory.skipped.stop
    if memory.candidate is not None:
        step_back(state, *memory.candidate)

    mine, theirs = (
        judge(memory, sequence, step, append_ms, event_ms, rules),
        decide(state, sequence, step, append_ms, event_ms, rules),
    )

    fates = {"step": {Fate.ADVANCE}, "step_jump": {Fate.JUMP}, "late": {Fate.LATE, Fate.SKIPPED}}
    fates |= {"duplicate": {Fate.DUPLICATE}, "step_back": {Fate.STEP_BACK}}
    assert theirs.fate in fates[mine.fate]
    if theirs.fate is Fate.ADVANCE:
        assert mine.step == (memory.step + 1 if theirs is NEXT else theirs.step)
        assert (mine.gap, mine.held) == (theirs.gap, theirs.held)
        assert mine.zeros == (theirs.reset is not None or theirs.fresh)
        assert (mine.began is not None) == theirs.fresh
        assert mine.began in (None, "first" if theirs.reset is None else theirs.reset)
    if mine.began is not None:
        begin(state, sequence, theirs.reset)
        assert entered(memory, sequence, mine.began).previous == state.previous


# What follows are single cases.


def judged(audit: PartitionAudit, offsets: range) -> list[bool]:
    return [audit.is_judged(offset) for offset in offsets]


def test_a_stream_behind_a_cut_is_judged_from_its_first_certain_beginning() -> None:
    """a may be late, b its successor and c the sequence before it: only the fourth name begins for certain."""
    records = [signal(10 + i, sequence=name) for i, name in enumerate("aabbccdde")]

    audit = audit_of("signal", records, Scope(start=10, committed=ALL))

    assert judged(audit, range(10, 19)) == [False] * 6 + [True] * 3
    assert audit.not_judged == 0


def test_a_name_that_may_be_the_previous_one_puts_a_stream_in_doubt_again() -> None:
    records = [signal(10 + i, sequence=name) for i, name in enumerate("abcdcde")]

    audit = audit_of("signal", records, Scope(start=10, committed=ALL))

    # d follows b or c. So c is late, or begins again; the d after it is a step, or late; e begins in any case.
    assert judged(audit, range(10, 17)) == [False] * 3 + [True, False, False, True]


def test_a_sequence_after_one_that_began_for_certain_leaves_no_doubt() -> None:
    audit = audit_of(
        "signal", [signal(10 + i, sequence=name) for i, name in enumerate("abcdec")], Scope(start=10, committed=ALL)
    )

    assert judged(audit, range(10, 16)) == [False] * 3 + [True] * 3


def test_a_restart_keeps_the_doubt_about_the_previous_name() -> None:
    names = [*"abc", "", "", "c"]
    records = [signal(10 + i, sequence=name, step=(i + 1) % 5) for i, name in enumerate(names)]

    audit = audit_of("signal", records, Scope(start=10, committed=ALL))

    # The stream without a name begins at step 4 and again at step 0; what came before it may be c.
    assert judged(audit, range(10, 16)) == [False] * 3 + [True, True, False]
    assert [audit.expected(row).step for row in range(len(audit))] == [4, 0]


def test_a_counter_that_starts_again_keeps_the_doubt_about_the_previous_name() -> None:
    names = [*"abc", "d", "d", "d", "d", "c"]
    steps = [0, 0, 0, 5, 0, 1, 2, 0]
    records = [
        signal(10 + i, sequence=name, step=step, timestamp_ms=TIME_MS + i)
        for i, (name, step) in enumerate(zip(names, steps, strict=True))
    ]

    audit = audit_of("signal", records, Scope(start=10, committed=ALL))

    # d begins for certain; its counter starts again, and what came before d may still be c.
    assert judged(audit, range(10, 18)) == [False] * 3 + [True] * 4 + [False]
    assert [audit.expected(row).step for row in range(len(audit))] == [5, 1, 2]
    assert {offset: letter.reason for offset, letter in audit.letters.items()} == {14: "step_back"}


def test_a_pause_between_two_records_settles_a_stream() -> None:
    later = IDLE_TIMEOUT_MS + 10
    records = [signal(10, 0), signal(11, 5, b"b"), signal(12, later, b"a"), signal(13, later, b"b"), signal(14, later)]

    audit = audit_of("signal", records, Scope(start=10, committed=ALL))

    assert judged(audit, range(10, 15)) == [False, False, True, True, True]
    assert audit.expected(audit.row(12, False)).step == 0


def test_a_pause_since_the_first_record_of_the_partition_settles_a_stream_not_met_before() -> None:
    late = IDLE_TIMEOUT_MS + 1

    def of(**scope: Any) -> PartitionAudit:
        return audit_of("signal", [signal(10, 0), signal(11, late, b"b")], Scope(start=10, committed=ALL, **scope))

    assert judged(of(), range(10, 12)) == [False, True]
    assert judged(of(ordered=False), range(10, 12)) == [False, False], "a producer's times may go back"


def test_streams_without_names_are_not_judged_behind_a_cut() -> None:
    audit = audit_of("signal", [signal(10 + i, step=i % 3) for i in range(9)], Scope(start=10, committed=ALL))

    assert audit.not_judged == 1
    assert len(audit) == 0


def test_bad_records_are_judged_behind_a_cut_too() -> None:
    bad = FakeRecord(0, 11, 11, b"a", b"{")

    audit = audit_of("signal", [signal(10), bad], Scope(start=10, committed=ALL))

    assert audit.letters[11].reason == "not_decodable"
    assert audit.is_judged(11)
    assert not audit.is_judged(10)


def test_only_what_is_committed_is_required() -> None:
    audit = audit_of("signal", [signal(0), FakeRecord(0, 1, 1, b"a", b"{"), signal(2)], Scope(committed=2))

    assert list(audit.required) == [1, 0]
    assert audit.letters[1].required
    assert not audit_of("signal", [FakeRecord(0, 1, 1, b"a", b"{")], Scope(committed=1)).letters[1].required


def test_outputs_that_retention_may_have_taken_are_not_required() -> None:
    records = [signal(0, 100), FakeRecord(0, 1, 100, b"a", b"{"), signal(2, 200)]

    audit = audit_of("signal", records, Scope(committed=ALL, outputs_from_ms=150, letters_from_ms=101))

    assert list(audit.required) == [0, 1]
    assert not audit.letters[1].required


def test_streams_that_were_not_chosen_are_passed_over() -> None:
    records = [signal(0), signal(1, key=b"b"), FakeRecord(0, 2, 2, b"b", b"{")]

    audit = audit_of("signal", records, Scope(committed=ALL, chosen={b"a"}))

    assert audit.records == 1
    assert judged(audit, range(3)) == [True, False, False]
    assert [audit.row(0, False), audit.row(1, False)] == [0, NOT_JUDGED]


def finals(audit: PartitionAudit) -> list[tuple[int, bool]]:
    """Offset of each final score that may be there, and whether it must."""
    rows = [row for row in range(len(audit)) if msgspec.to_builtins(audit.expected(row))["final"]]
    return [(audit.offset(row), bool(audit.required[row])) for row in rows]


def idle_cast(now_ms: int, committed: int = 2, **scope: Any) -> PartitionAudit:
    return audit_of("casting", [cast(0), cast(1)], Scope(committed=committed, **scope), now_ms=now_ms)


def test_the_final_score_of_an_idle_cast_may_be_there_and_must_when_its_state_has_gone() -> None:
    idle = 1 + IDLE_TIMEOUT_MS + 1
    there, gone = {b"a": 1}, {}

    assert finals(idle_cast(idle - 1, states=gone)) == []
    assert finals(idle_cast(idle, states=there)) == [(1, False)]
    assert finals(idle_cast(idle, states=gone)) == [(1, True)]
    assert finals(idle_cast(idle, states=gone, committed=1)) == [(1, False)], "not committed, so not let go of"


def test_the_record_that_ends_a_cast_decides_whether_its_final_score_must_be_there() -> None:
    records = [cast(0, sequence="A"), cast(1, sequence="B")]
    states = {b"a": 1}

    assert finals(audit_of("casting", records, Scope(committed=2, states=states))) == [(0, True)]
    assert finals(audit_of("casting", records, Scope(committed=1, states=states))) == [(0, False)]


def test_beyond_the_range_that_is_audited_a_cast_may_have_ended() -> None:
    audit = audit_of("casting", [cast(0)], Scope(committed=1, states={b"a": 7}, cut_off=True))

    assert finals(audit) == [(0, False)]
    assert not audit.is_judged(1)


def test_a_state_may_be_gone_only_when_the_stream_is_idle() -> None:
    audit = audit_of("signal", [signal(0, 100), signal(1, 200)], Scope(committed=1))

    assert [stream.key for stream in audit.missing_states(100 + IDLE_TIMEOUT_MS)] == [b"a"]
    assert list(audit.missing_states(100 + IDLE_TIMEOUT_MS + 1)) == []
    assert list(audit_of("signal", [signal(0)], Scope(committed=0)).missing_states(0)) == [], "nothing is committed"


@pytest.mark.parametrize("kind", ["signal", "casting"])
def test_held_samples_are_seen_by_the_model(kind: str) -> None:
    make = signal if kind == "signal" else cast
    records = [make(i, step=step) for i, step in enumerate((0, 1, 4, 5, 6))]
    rules = stream_rules("hold")

    audit = audit_of(kind, records, rules=rules)

    outputs = read_outputs(engine(kind, rules).run(records).outputs)
    assert len(audit) == len(outputs) > 0
    for output in outputs:
        row = audit.row(output.source_offset, False)
        assert_loosely_same(output.fields, msgspec.to_builtins(audit.expected(row)))


def test_nothing_comes_of_holes_and_of_what_was_never_sent() -> None:
    audit = audit_of("signal", [signal(0), signal(3)])

    assert [audit.row(offset, False) for offset in range(5)] == [0, NOTHING, NOTHING, 1, NOTHING]
    assert audit.row(0, True) == NOTHING


def test_a_peak_is_a_step_with_the_most_attention() -> None:
    audit = audit_of("casting", [cast(i, step=i) for i in range(4)])
    expected = audit.expected(0)

    def agrees(peak: int | None) -> bool:
        return "attention_peak" not in audit.differences(0, msgspec.structs.replace(expected, attention_peak=peak))

    assert [step for step in range(5) if agrees(step)] == [expected.attention_peak]
    assert not agrees(None)
