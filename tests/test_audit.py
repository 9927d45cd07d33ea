"""The auditor's reading of the record table against the slow workers, the engines and their stored states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.audit.casts import CastAudit
from core.audit.partition import NOT_JUDGED, NOTHING, PartitionAudit, Scope
from core.audit.rules import Memory, entered, judge
from core.audit.signals import SignalAudit
from core.audit.stored import state_problems
from core.chunk import StreamRules
from core.native.streams import StreamState
from core.scorer import HEAD, segment_key
from core.state import NEXT, Fate, begin, decide, pack_state, seal, unpack_state
from tests import test_scorer, test_stepper
from tests.changes import take_changed
from tests.reference import LAST_OF_ALL_MS, CrashingWorker, read_outputs, stream_rules
from tests.strategies import (
    IDLE_TIMEOUT_MS,
    MAX_STEP_JUMP,
    Event,
    FakeRecord,
    MemoryTable,
    casting_value,
    defect_model,
    feeds,
    relaxed,
    signal_model,
    signal_value,
)
from tests.test_scorer import POLICIES, WINDOWS

KINDS = st.sampled_from(("signal", "casting"))
ALL = 2**60
"""A committed offset past everything."""


def make_audit(kind: str, rules: StreamRules, scope: Scope) -> PartitionAudit:
    if kind == "signal":
        return SignalAudit(signal_model(), rules, scope)
    return CastAudit(defect_model(), rules, WINDOWS, scope)


def audit_of(
    kind: str, records: list[FakeRecord], scope: Scope | None = None, rules: StreamRules | None = None, now_ms: int = 0
) -> PartitionAudit:
    """The finished audit of a partition's records."""
    audit = make_audit(kind, rules or stream_rules(), scope or Scope(committed=ALL))
    for record in records:
        if record.offset >= audit.scope.start:
            assert record.timestamp is not None
            audit.feed(record.offset, record.timestamp, record.key, record.value, record.headers)
    audit.finish(now_ms)
    return audit


def in_partition(events: list[Event], partition: int) -> list[FakeRecord]:
    return [event.record for event in events if event.record.partition == partition]


def expected_of(audit: PartitionAudit, partition: int) -> dict[tuple[Any, ...], dict[str, Any]]:
    """All rows, named as the slow workers name them."""
    found = {}
    for row in range(len(audit)):
        fields = msgspec.to_builtins(audit.expected(row))
        identity = (partition, audit.key(row), audit.offset(row), fields.get("final"))
        assert audit.row(audit.offset(row), bool(fields.get("final"))) == row
        found[identity] = fields
    return found


def assert_same(kind: str, want: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    (test_stepper.assert_same if kind == "signal" else test_scorer.assert_same)(dict(want), dict(got))


def slow_worker(kind: str, events: list[Event], rules: StreamRules) -> Any:
    return (test_stepper.slowly if kind == "signal" else test_scorer.slowly)(events, rules)


def engine(kind: str, rules: StreamRules, table: Any = None) -> Any:
    return test_stepper.make(table, rules) if kind == "signal" else test_scorer.make(table, rules)


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


def heads_of(kind: str, table: MemoryTable, partition: int) -> dict[bytes, tuple[int, bytes]]:
    """Stream key -> source offset and value of a stored state."""
    rows = table.rows.get(partition, {}).items()
    found = {key: (offset, blob) for key, (offset, blob) in rows if blob is not None}
    if kind == "signal":
        return found
    return {key[1:]: row for key, row in found.items() if key[:1] == HEAD}


def problems_of(kind: str, audit: PartitionAudit, table: MemoryTable, partition: int) -> dict[bytes, Any]:
    return {
        key: state_problems(
            audit, key, offset, blob, lambda number, key=key: table.get(partition, segment_key(key, number))
        )
        for key, (offset, blob) in heads_of(kind, table, partition).items()
    }


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


def assert_loosely_same(want: dict[str, Any], got: dict[str, Any]) -> None:
    for name in ("prediction", "probability"):
        if want.get(name) is not None:
            assert want.pop(name) == pytest.approx(got.pop(name), abs=1e-6)
    assert want == got


NAMES = st.sampled_from(("", "A", "B"))


@settings(max_examples=500)
@given(
    memory=st.builds(
        Memory,
        NAMES,
        st.none() | NAMES,
        step=st.integers(0, 3),
        closed=st.booleans(),
        offset=st.just(0),
        append_ms=st.just(0),
    ),
    sequence=NAMES,
    step=st.none() | st.integers(0, 8) | st.integers(MAX_STEP_JUMP - 1, MAX_STEP_JUMP + 5),
    append_ms=st.sampled_from((0, IDLE_TIMEOUT_MS, IDLE_TIMEOUT_MS + 1)),
    policy=POLICIES,
)
def test_the_auditor_and_the_worker_judge_alike(
    memory: Memory, sequence: str, step: int | None, append_ms: int, policy: str
) -> None:
    rules, state = stream_rules(policy, max_gap=3), StreamState()
    for name in ("sequence", "previous", "step", "closed", "offset", "append_ms"):
        setattr(state, name, getattr(memory, name))

    mine, theirs = (
        judge(memory, sequence, step, append_ms, rules),
        decide(state, sequence, step, append_ms, rules),
    )

    fates = {"step": Fate.ADVANCE, "duplicate": Fate.DUPLICATE, "late": Fate.LATE, "step_jump": Fate.JUMP}
    assert fates[mine.fate] is theirs.fate
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

SAMPLE = (1.0, 2.0, 3.0, 4.0, 5.0)


def signal(offset: int, ms: int | None = None, key: bytes = b"a", **fields: Any) -> FakeRecord:
    return FakeRecord(0, offset, offset if ms is None else ms, key, signal_value(SAMPLE, **fields))


def cast(offset: int, ms: int | None = None, key: bytes = b"a", **fields: Any) -> FakeRecord:
    return FakeRecord(0, offset, offset if ms is None else ms, key, casting_value(SAMPLE, **fields))


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


def test_the_previous_name_of_a_state_is_not_compared_while_it_is_in_doubt() -> None:
    records = [signal(i, sequence=name) for i, name in enumerate("xabcd")]
    _, table = stored("signal", records)
    offset, blob = heads_of("signal", table, 0)[b"a"]

    audit = audit_of("signal", records, Scope(start=1, committed=ALL, states={b"a": offset}))

    assert state_problems(audit, b"a", offset, blob, segments(table)) == []
    assert state_problems(audit, b"a", offset, changed(blob, sequence="e"), segments(table)) != []


def test_a_restart_keeps_the_doubt_about_the_previous_name() -> None:
    names = [*"abc", "", "", "c"]
    records = [signal(10 + i, sequence=name, step=(i + 1) % 5) for i, name in enumerate(names)]

    audit = audit_of("signal", records, Scope(start=10, committed=ALL))

    # The stream without a name begins at step 4 and again at step 0; what came before it may be c.
    assert judged(audit, range(10, 16)) == [False] * 3 + [True, True, False]
    assert [audit.expected(row).step for row in range(len(audit))] == [4, 0]


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


def stored(kind: str, records: list[FakeRecord], committed: int = ALL) -> tuple[PartitionAudit, MemoryTable]:
    """An audit of some records, and what an engine has stored of them."""
    worker, table = engine(kind, stream_rules()), MemoryTable()
    worker.run(records)
    table.apply(take_changed(worker, [0]))
    states = {key: offset for key, (offset, _) in heads_of(kind, table, 0).items()}
    return audit_of(kind, records, Scope(committed=committed, states=states)), table


def changed(blob: bytes, **fields: Any) -> bytes:
    """The state with other fields, and a checksum that fits."""
    state = StreamState()
    model, body = unpack_state(blob, state)
    body = fields.pop("body", body)
    model = fields.pop("model", model)
    for name, value in fields.items():
        setattr(state, name, value)
    return pack_state(state, model, body)


CHANGES = {
    "append_ms": 77,
    "timestamp_ms": 77,
    "sequence": "other",
    "previous": "other",
    "step": 77,
    "closed": True,
    "sample": (1.0, 2.0, 3.0, 4.0, 5.001),
}


@pytest.mark.parametrize("kind", ["signal", "casting"])
@pytest.mark.parametrize("field", CHANGES)
def test_a_state_that_differs_in_one_field_is_found(kind: str, field: str) -> None:
    make = signal if kind == "signal" else cast
    audit, table = stored(kind, [make(i, sequence="A", step=i) for i in range(5)])
    offset, blob = heads_of(kind, table, 0)[b"a"]

    problems = state_problems(audit, b"a", offset, changed(blob, **{field: CHANGES[field]}), segments(table))

    assert problems is not None
    assert any(problem.startswith(f"{field} is ") for problem in problems), problems


def segments(table: MemoryTable) -> Any:
    return lambda number: table.get(0, segment_key(b"a", number))


@pytest.mark.parametrize("difference", [1e-4, float("nan")])
def test_hidden_states_that_differ_are_found(difference: float) -> None:
    audit, table = stored("signal", [signal(i) for i in range(5)])
    offset, blob = heads_of("signal", table, 0)[b"a"]
    hidden = np.frombuffer(unpack_state(blob, StreamState())[1], "<f4").copy()
    hidden[3] += difference

    (problem,) = state_problems(audit, b"a", offset, changed(blob, body=hidden.tobytes()), segments(table)) or []

    assert problem.startswith(f"1 of {len(hidden)} numbers of h and c differ, at 3: ")
    assert state_problems(audit, b"a", offset, blob, segments(table)) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "0123456789ab"}, "it was written by model 0123456789ab"),
        ({"body": b"1234"}, "h and c have 4 bytes"),
        ({"offset": 3}, "its offset 3 is not that of its header, 4"),
    ],
)
def test_states_that_cannot_be_compared_are_found(fields: dict[str, Any], words: str) -> None:
    audit, table = stored("signal", [signal(i) for i in range(5)])
    offset, blob = heads_of("signal", table, 0)[b"a"]

    (problem,) = state_problems(audit, b"a", offset, changed(blob, **fields), segments(table)) or []

    assert problem.startswith(words)


def test_damaged_states_and_states_without_a_record_are_found() -> None:
    records = [signal(i) for i in range(5)]
    audit, table = stored("signal", records)
    _, blob = heads_of("signal", table, 0)[b"a"]
    never = audit_of("signal", records, Scope(committed=ALL, states={b"a": 9}))

    def words(key: bytes, offset: int, value: bytes) -> list[str] | None:
        return state_problems(audit, key, offset, value, segments(table))

    assert "checksum" in (words(b"a", 4, blob[:-1] + b"?") or [""])[0]
    (problem,) = state_problems(never, b"a", 9, changed(blob, offset=9), segments(table)) or []
    assert problem == "no step of the stream is at source offset 9"
    assert words(b"b", 4, blob) == ["no step of the stream is at source offset 4"]


def test_a_state_older_than_the_committed_offset_asks_for_is_found() -> None:
    records = [signal(i) for i in range(5)]
    _, table = stored("signal", records[:3])
    offset, blob = heads_of("signal", table, 0)[b"a"]

    def problems(committed: int) -> Any:
        audit = audit_of("signal", records, Scope(committed=committed, states={b"a": offset}))
        return state_problems(audit, b"a", offset, blob, segments(table))

    assert problems(committed=3) == []
    assert problems(committed=4) == ["it is older than the stream's last step below the committed offset, 3"]


def test_windows_that_differ_are_found() -> None:
    audit, table = stored("casting", [cast(i, step=i) for i in range(12)])
    offset, blob = heads_of("casting", table, 0)[b"a"]
    _, body = unpack_state(blob, StreamState())

    whole = segments(table)

    def problems(body: bytes = body, segment: Any = whole) -> str:
        (problem,) = state_problems(audit, b"a", offset, changed(blob, body=body), segment) or [""]
        return problem

    def other_sample(number: int) -> bytes:
        segment = segments(table)(number)
        return seal(segment[:-8] + b"\x00\x00\x80\x3f") if number == 8 else segment

    assert problems() == ""
    assert problems(segment=lambda number: None) == "segment 2 of its window is missing"
    assert problems(segment=other_sample) == "its window has other samples than were sent"
    assert problems((13).to_bytes(8, "little") + body[8:]) == "it counts 13 samples of the cast, expected 12"
    fewer = body[:8] + (4).to_bytes(4, "little") + body[20:]
    assert problems(fewer) == "its window has steps 4 to 11 (8), expected 3 to 11 (9)"
    assert problems(body[:-1]).startswith("its body of ")


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


def test_a_long_run_is_stepped_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [signal(i, key=b"ab"[i % 2 : i % 2 + 1], step=i // 2) for i in range(40)]
    whole, table = stored("signal", records)
    monkeypatch.setattr("core.audit.signals.BATCH_SAMPLES", 6)

    parts, _ = stored("signal", records)

    for row in range(len(whole)):
        assert whole.expected(row) == parts.expected(row)
    assert problems_of("signal", parts, table, 0) == {b"a": [], b"b": []}


def test_nothing_comes_of_holes_and_of_what_was_never_sent() -> None:
    audit = audit_of("signal", [signal(0), signal(3)])

    assert [audit.row(offset, False) for offset in range(5)] == [0, NOTHING, NOTHING, 1, NOTHING]
    assert audit.row(0, True) == NOTHING
