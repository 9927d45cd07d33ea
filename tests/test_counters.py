"""Counters that start again, wrap, repeat or come late: what each costs, and that a reload changes nothing of it."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from core.audit.scope import Scope
from core.engines.infer import advance_sequences
from core.engines.state import StreamState, unpack_state
from core.models.fingerprint import fingerprint
from tests.audits import audit_of, cast, engine, heads_of, problems_of, signal
from tests.changes import evict_all, take_changed
from tests.clock import START_MS
from tests.reference import read_outputs, stream_rules
from tests.strategies import IDLE_TIMEOUT_MS, FakeRecord, MemoryTable, signal_model
from tests.test_scorer import WINDOWS

KINDS = pytest.mark.parametrize("kind", ["signal", "casting"])

Said = tuple[int | None, int | None]
"""A record's step and its own time, in milliseconds from the first record's on."""


def records_of(kind: str, said: Iterable[Said], sequence: str = "A", first: int = 0) -> list[FakeRecord]:
    make = signal if kind == "signal" else cast
    return [
        make(first + i, sequence=sequence, step=step, timestamp_ms=None if at_ms is None else START_MS + at_ms)
        for i, (step, at_ms) in enumerate(said)
    ]


def timed(*steps: int) -> list[Said]:
    """Each sample 10 ms after the one before, whatever its step."""
    return [(step, 10 * (i + 1)) for i, step in enumerate(steps)]


def fates(kind: str, records: Sequence[FakeRecord], policy: str = "step") -> list[str]:
    """What became of each record: its step as far as it was applied, with the gap; a dead letter's reason; or a
    duplicate. Each record in an engine of its own that knows nothing but the table, and all in one: both the same.
    """
    apart = _fates(kind, records, policy, reload=True)
    assert apart == _fates(kind, records, policy, reload=False)
    letters = {
        at: letter.reason for at, letter in audit_of(kind, list(records), rules=stream_rules(policy)).letters.items()
    }
    assert letters == {at: fate for at, fate in enumerate(apart) if fate in ("late", "step_back")}
    return apart


def _fates(kind: str, records: Sequence[FakeRecord], policy: str, reload: bool) -> list[str]:
    table, rules, found = MemoryTable(), stream_rules(policy), []
    running = engine(kind, rules, table)
    for record in records:
        result = running.run([record])
        stream = running._streams[0][b"a"]
        reasons = [letter.reason for letter in result.dead_letters]
        resets = [reason for reason in result.counts.resets if reason != "gap"]
        applied = [f"{reason} " for reason in resets] + [str(stream.step)] if result.counts.processed else []
        found.append("".join(reasons or applied or ["duplicate"]))
        if reload:
            table.apply(take_changed(running, [0]))
            running = engine(kind, rules, table)
    return found


@KINDS
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # A counter that starts again costs one record; so does one that wraps to 0, or to 1.
        (timed(5, 6, 7, 0, 1, 2), ["5", "6", "7", "step_back", "step_back 1", "2"]),
        (timed(65534, 65535, 0, 1, 2), ["65534", "65535", "step_back", "step_back 1", "2"]),
        (timed(65534, 65535, 1, 2, 3), ["65534", "65535", "step_back", "step_back 2", "3"]),
        # A sender that repeats until it is acknowledged: each repeat has the time of its sample.
        (
            [*timed(5, 6, 7), (0, 40), (0, 40), (1, 50), (1, 50), (2, 60)],
            ["5", "6", "7", "step_back", "step_back", "step_back 1", "duplicate", "2"],
        ),
        (
            [*timed(5, 6, 7), (0, 40), (7, 30), (6, 20), (3, None), (1, 50)],
            ["5", "6", "7", "step_back", "duplicate", "duplicate", "late", "step_back 1"],
        ),
        # A single odd one costs itself, and so do two that do not follow on each other.
        (timed(5, 6, 3, 7, 8), ["5", "6", "step_back", "7", "8"]),
        (timed(5, 6, 6, 7, 7, 8), ["5", "6", "step_back", "7", "step_back", "8"]),
        (timed(5, 6, 3, 1, 2, 3), ["5", "6", "step_back", "step_back", "step_back 2", "3"]),
        (timed(5, 6, 3, 7, 4, 8), ["5", "6", "step_back", "7", "step_back", "8"]),
        # It may restart at once after it has restarted.
        (timed(5, 0, 1, 0, 1), ["5", "step_back", "step_back 1", "step_back", "step_back 1"]),
        # Without a time of its own it is a duplicate, as is one that is not later.
        ([(5, None), (6, None), (0, None), (1, None)], ["5", "6", "late", "late"]),
        ([(0, 10), (1, 20), (2, 30), (0, 30), (1, 20)], ["0", "1", "2", "duplicate", "duplicate"]),
    ],
)
def test_a_counter_that_went_back(kind: str, said: list[Said], expected: list[str]) -> None:
    assert fates(kind, records_of(kind, said)) == expected


@KINDS
@pytest.mark.parametrize("policy", ["step", "hold", "reset"])
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # A swapped pair, and a repeat of it.
        ((0, 1, 3, 2, 4), ["0", "1", "3", "late", "4"]),
        ((0, 1, 2, 2, 1, 3), ["0", "1", "2", "duplicate", "duplicate", "3"]),
        ((0, 1, 3, 2, 2, 1, 4), ["0", "1", "3", "late", "late", "duplicate", "4"]),
        # Joined in the middle.
        ((4, 2, 5, 3, 4), ["4", "late", "5", "late", "duplicate"]),
        # Only the last gap is remembered.
        ((0, 3, 5, 4, 2), ["0", "3", "5", "late", "duplicate"]),
        # One that is wider than what `hold` fills.
        ((0, 9, 8, 1, 0), ["0", "9", "late", "late", "duplicate"]),
    ],
)
def test_a_step_that_a_gap_has_skipped_is_late(
    kind: str, policy: str, steps: tuple[int, ...], expected: list[str]
) -> None:
    assert fates(kind, records_of(kind, [(step, None) for step in steps]), policy) == expected


@KINDS
def test_another_sequence_forgets_gap_and_step_back(kind: str) -> None:
    first, second = records_of(kind, timed(4, 5, 0)), records_of(kind, [(0, 40), (1, 50), (1, 45)], "B", first=3)

    assert fates(kind, first + second) == ["4", "5", "step_back", "sequence 0", "1", "duplicate"]


@KINDS
def test_without_a_name_only_a_beginning_that_is_not_at_0_needs_the_time(kind: str) -> None:
    at_0, at_1 = records_of(kind, [(5, None), (0, None), (1, None)], ""), records_of(kind, timed(5, 1, 2), "")

    assert fates(kind, at_0) == ["5", "restart 0", "1"]
    assert fates(kind, at_1) == ["5", "step_back", "step_back 2"]


@KINDS
def test_the_sequence_before_stays_late_however_often_the_unnamed_one_begins_again(kind: str) -> None:
    make = signal if kind == "signal" else cast
    said = [("a", 0), ("a", 1), ("", 0), ("", 1), ("", 0), ("a", 2), ("", 1), ("", 0), ("a", 0), ("b", 0), ("a", 3)]
    records = [make(i, sequence=sequence, step=step) for i, (sequence, step) in enumerate(said)]

    found = fates(kind, records)

    assert found[4:] == ["restart 0", "late", "1", "restart 0", "late", "sequence 0", "sequence 3"]


def test_after_a_restart_the_model_begins_at_zeros() -> None:
    records = records_of("signal", timed(5, 6, 7, 0, 1, 2, 3))

    outputs = read_outputs(engine("signal", stream_rules()).run(records).outputs)

    rows = np.full((3, 5), np.arange(1.0, 6.0), np.float32)
    (fresh,), _ = advance_sequences(signal_model(), [rows])
    assert [(output.fields["step"], output.fields.get("gap", 0)) for output in outputs[3:]] == [(1, 1), (2, 0), (3, 0)]
    np.testing.assert_allclose([output.fields["prediction"] for output in outputs[3:]], fresh, atol=1e-6)


def test_a_cast_whose_counter_starts_again_gets_its_final_score_first() -> None:
    records = records_of("casting", timed(0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5))

    outputs = read_outputs(engine("casting", stream_rules()).run(records).outputs)

    assert WINDOWS.window_min == 4
    found = [(output.source_offset, output.fields["step"], output.fields["final"]) for output in outputs]
    assert found == [(3, 3, False), (4, 4, True), (9, 4, False)]
    assert outputs[2].fields["start"] == 1


def test_hop_score_and_final_score_have_one_step_where_the_end_is_known_only_later() -> None:
    said = records_of("casting", timed(0, 1, 2, 3)), records_of("casting", timed(0), "B", first=4)

    outputs = read_outputs(engine("casting", stream_rules()).run([*said[0], *said[1]]).outputs)
    told = read_outputs(engine("casting", stream_rules()).run([*said[0][:3], cast(3, sequence="A", end=True)]).outputs)

    assert [(output.fields["step"], output.fields["final"]) for output in outputs] == [(3, False), (3, True)]
    assert [(output.fields["step"], output.fields["final"]) for output in told] == [(3, True)]


# States.


@KINDS
def test_a_record_is_never_judged_by_a_step_back_that_came_after_it(kind: str) -> None:
    """A state with the step back is written, the offsets are not: the records before it are read again."""
    records = records_of(kind, [*timed(5, 6), (0, 40), (1, 35), (2, 50), (0, 60)])
    table, rules = MemoryTable(), stream_rules()
    running = engine(kind, rules, table)
    letters = [(letter.offset, letter.reason) for letter in running.run(records).dead_letters]
    table.apply(take_changed(running, [0]))

    again = engine(kind, rules, table).run(records[1:])

    assert letters == [(2, "step_back"), (3, "step_back"), (5, "step_back")]
    assert again.counts.duplicates == {"offset": 5, "step": 0}
    assert again.dead_letters == []
    ((offset, _),) = heads_of(kind, table, 0).values()
    assert offset == 5


@KINDS
def test_a_stream_is_not_evicted_before_its_step_back_is_idle_and_committed(kind: str) -> None:
    table, running = MemoryTable(), engine(kind, stream_rules())
    running.run(records_of(kind, timed(0, 1, 0)))
    table.apply(take_changed(running, [0]))

    assert evict_all(running, 0, 2, IDLE_TIMEOUT_MS).tombstones == []
    assert evict_all(engine(kind, stream_rules(), table), 0, 2, IDLE_TIMEOUT_MS).tombstones == []
    (change,) = evict_all(running, 0, 3, IDLE_TIMEOUT_MS).tombstones
    assert change.source_offset == 2


def test_the_final_score_of_a_stream_with_a_step_back_is_that_of_its_last_sample() -> None:
    table, running = MemoryTable(), engine("casting", stream_rules())
    running.run(records_of("casting", timed(0, 1, 0)))
    table.apply(take_changed(running, [0]))
    restored = engine("casting", stream_rules(), table)

    assert [one.may_conclude(0, b"a", offset) for one in (running, restored) for offset in (1, 2)] == [True, False] * 2
    (output,) = read_outputs(evict_all(restored, 0, 3, IDLE_TIMEOUT_MS).outputs)
    assert (output.source_offset, output.fields["step"]) == (1, 1)


def v1_state(step: int, hidden: bytes) -> bytes:
    """As a worker of version 0.1 has written it: at offset 10, in sequence A, event time 700."""
    head = struct.pack("<BBBBqqqq12s5f", 1, 0, 1, 0, 10, 0, step, 700, fingerprint(signal_model()).encode(), *[1.0] * 5)
    payload = head + b"A" + hidden
    return payload + struct.pack("<I", zlib.crc32(payload))


def test_a_changelog_of_version_0_1_goes_on() -> None:
    hidden = np.linspace(-0.5, 0.5, 16, dtype=np.float32)
    table = MemoryTable()
    table.rows[0] = {b"a": (10, v1_state(5, hidden.tobytes()))}
    running = engine("signal", stream_rules(), table)

    result = running.run(records_of("signal", [(6, 710), (3, 650), (8, 730), (7, 720)], first=11))

    expected, _ = advance_sequences(signal_model(), [np.full((2, 5), np.arange(1.0, 6.0), np.float32)], hidden[None])
    outputs = read_outputs(result.outputs)
    np.testing.assert_allclose([output.fields["prediction"] for output in outputs], expected[0], atol=1e-6)
    assert [(letter.offset, letter.reason) for letter in result.dead_letters] == [(14, "late")]
    assert result.counts.duplicates == {"offset": 0, "step": 1}, (
        "what a gap had skipped before the upgrade is not known"
    )
    (change,) = take_changed(running, [0])
    ((_, blob),) = change.records
    after = StreamState()
    unpack_state(blob or b"", after)
    assert (blob or b"")[0] == 2
    assert (after.gap_first, after.gap_end, after.offset, after.included) == (7, 8, 13, 13)


def test_streams_without_gaps_are_written_as_version_0_1_did() -> None:
    table, running = MemoryTable(), engine("signal", stream_rules())
    running.run(records_of("signal", timed(0, 1, 2)))

    table.apply(take_changed(running, [0]))

    ((_, blob),) = heads_of("signal", table, 0).values()
    assert blob[0] == 1


# Repeats that are told.


def repeats(count: int, first: int, step: int = 5) -> list[FakeRecord]:
    return records_of("signal", [(step, None)] * count, first=first)


def test_ten_duplicates_in_a_row_are_told_once_of_a_stream_and_counted_each_time() -> None:
    running = engine("signal", stream_rules())
    running.run(records_of("signal", [(5, None)]))

    results = [
        running.run(records)
        for records in (
            repeats(9, first=1),
            repeats(1, first=10),
            repeats(30, first=11),
            records_of("signal", [(6, None)], first=50),
            repeats(9, first=51),
            repeats(1, first=60),
        )
    ]

    assert [result.counts.repeating for result in results] == [0, 1, 0, 0, 0, 1]
    assert [result.repeating for result in results] == [[], [(b"a", 0, 10)], [], [], [], []]


@pytest.mark.parametrize("plain", [True, False])
def test_a_sample_in_between_begins_the_count_again(plain: bool) -> None:
    running = engine("signal", stream_rules())
    fields: dict[str, Any] = {} if plain else {"surplus": [1]}  # read by the compiled way, or by the other
    steps = itertools.chain.from_iterable([step] + [0] * 9 for step in range(1, 20))

    result = running.run([signal(i, sequence="A", step=step, **fields) for i, step in enumerate([0, *steps])])

    assert result.counts.duplicates["step"] == 9 * 19
    assert (result.counts.repeating, result.repeating) == (0, [])


@KINDS
def test_an_audit_finds_the_states_of_such_streams_in_order(kind: str) -> None:
    records = records_of(kind, timed(5, 6, 0, 1, 2, 5, 4, 2))
    for stop in range(1, len(records) + 1):
        table, running = MemoryTable(), engine(kind, stream_rules())
        running.run(records[:stop])
        table.apply(take_changed(running, [0]))
        states = {key: offset for key, (offset, _) in heads_of(kind, table, 0).items()}
        audit = audit_of(kind, records, Scope(committed=stop, states=states))

        assert problems_of(kind, audit, table, 0) == {b"a": []}
