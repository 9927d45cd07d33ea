"""Stored states in an audit: every difference is found, and nothing is said where nothing is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.audit.scope import Scope
from core.audit.stored import state_problems
from core.engines.state import pack_state, seal, unpack_state
from core.native.streams import StreamState
from tests.audits import (
    ALL,
    audit_of,
    cast,
    heads_of,
    problems_of,
    segments,
    signal,
    stored,
)
from tests.clock import START_MS

CHANGES = {
    "append_ms": 77,
    "timestamp_ms": 1_700_000_000_077,
    "sequence": "other",
    "previous": "other",
    "step": 77,
    "closed": True,
    "sample": (1.0, 2.0, 3.0, 4.0, 5.001),
}


def test_the_previous_name_of_a_state_is_not_compared_while_it_is_in_doubt() -> None:
    records = [signal(i, sequence=name) for i, name in enumerate("xabcd")]
    _, table = stored("signal", records)
    offset, blob = heads_of("signal", table, 0)[b"a"]

    audit = audit_of("signal", records, Scope(start=1, committed=ALL, states={b"a": offset}))

    assert state_problems(audit, b"a", offset, blob, segments(table)) == []
    assert state_problems(audit, b"a", offset, changed(blob, sequence="e"), segments(table)) != []


def changed(blob: bytes, **fields: Any) -> bytes:
    """The state with other fields, and a checksum that fits."""
    state = StreamState()
    model, body = unpack_state(blob, state)
    body = fields.pop("body", body)
    model = fields.pop("model", model)
    for name, value in fields.items():
        setattr(state, name, value)
    return pack_state(state, model, body)


@pytest.mark.parametrize("kind", ["signal", "casting"])
@pytest.mark.parametrize("field", CHANGES)
def test_a_state_that_differs_in_one_field_is_found(kind: str, field: str) -> None:
    make = signal if kind == "signal" else cast
    audit, table = stored(kind, [make(i, sequence="A", step=i) for i in range(5)])
    offset, blob = heads_of(kind, table, 0)[b"a"]

    problems = state_problems(audit, b"a", offset, changed(blob, **{field: CHANGES[field]}), segments(table))

    assert problems is not None
    assert any(problem.startswith(f"{field} is ") for problem in problems), problems


def counted(step: int, at_ms: int) -> dict[str, int]:
    return {"step": step, "timestamp_ms": START_MS + at_ms}


COUNTED = [counted(0, 10), counted(1, 20), counted(4, 30), counted(0, 40), counted(3, 25), counted(1, 35)]
"""A gap, a step back, one of the gap's steps, late; and a step back that does not follow on the one before."""


@pytest.mark.parametrize("kind", ["signal", "casting"])
@pytest.mark.parametrize(
    "fields",
    [
        {"gap_first": 1},
        {"gap_end": 3},
        {"back_step": 0},
        {"back_ms": START_MS + 36},
        {"back_step": -1, "offset": 5},
        {"offset": 1},
    ],
)
def test_a_state_with_another_gap_or_step_back_is_found(kind: str, fields: dict[str, int]) -> None:
    make = signal if kind == "signal" else cast
    records = [make(i, sequence="A", **said) for i, said in enumerate(COUNTED)]
    audit, table = stored(kind, records)
    offset, blob = heads_of(kind, table, 0)[b"a"]

    assert offset == 5, "the state includes the last step back"
    assert [(at, letter.reason) for at, letter in audit.letters.items()] == [
        (3, "step_back"),
        (4, "late"),
        (5, "step_back"),
    ]
    assert state_problems(audit, b"a", offset, blob, segments(table)) == []
    assert state_problems(audit, b"a", offset, changed(blob, **fields), segments(table))


def test_a_state_of_a_worker_that_kept_no_gaps_is_in_order() -> None:
    audit, table = stored("signal", [signal(i, sequence="A", step=step) for i, step in enumerate((3, 4, 7))])
    offset, blob = heads_of("signal", table, 0)[b"a"]

    as_before = changed(blob, gap_first=0, gap_end=0)

    assert (blob[0], as_before[0]) == (2, 1)
    assert state_problems(audit, b"a", offset, as_before, segments(table)) == []


def test_a_state_without_the_step_back_below_the_committed_offset_is_found() -> None:
    records = [signal(0, **counted(0, 10)), signal(1, **counted(1, 20)), signal(2, **counted(0, 30))]
    _, table = stored("signal", records[:2])
    offset, blob = heads_of("signal", table, 0)[b"a"]

    def problems(committed: int) -> Any:
        audit = audit_of("signal", records, Scope(committed=committed, states={b"a": offset}))
        return state_problems(audit, b"a", offset, blob, segments(table))

    assert problems(committed=2) == []
    assert problems(committed=3) == ["it is older than the stream's last record below the committed offset, 2"]


@pytest.mark.parametrize("difference", [1e-4, float("nan")])
def test_hidden_states_that_differ_are_found(difference: float) -> None:
    audit, table = stored("signal", [signal(i) for i in range(5)])
    offset, blob = heads_of("signal", table, 0)[b"a"]
    hidden = np.frombuffer(unpack_state(blob, StreamState())[1], "<f4").copy()
    hidden[3] += difference

    (problem,) = state_problems(audit, b"a", offset, changed(blob, body=hidden.tobytes()), segments(table)) or []

    assert problem.startswith(f"1 of {len(hidden)} numbers of its hidden state differ, at 3: ")
    assert state_problems(audit, b"a", offset, blob, segments(table)) == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_hidden_states_that_a_model_has_overflowed_to_are_right(number: float) -> None:
    audit, table = stored("signal", [signal(i) for i in range(5)])
    offset, blob = heads_of("signal", table, 0)[b"a"]
    audit.hidden[b"a"][3] = number
    hidden = audit.hidden[b"a"].copy()
    same = changed(blob, body=hidden.tobytes())
    hidden[3] = 0.5

    (problem,) = state_problems(audit, b"a", offset, changed(blob, body=hidden.tobytes()), segments(table)) or []

    assert problem.startswith(f"1 of {len(hidden)} numbers of its hidden state differ, at 3: 0.5")
    assert state_problems(audit, b"a", offset, same, segments(table)) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "0123456789ab"}, "it was written by model 0123456789ab"),
        ({"body": b"1234"}, "its hidden state has 4 bytes"),
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
    assert problems(committed=4) == ["it is older than the stream's last record below the committed offset, 3"]


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
    assert problems((13).to_bytes(8, "little") + body[8:]) == "it counts 13 samples of the sequence, expected 12"
    fewer = body[:8] + (4).to_bytes(4, "little") + body[20:]
    assert problems(fewer) == "its window has steps 4 to 11 (8), expected 3 to 11 (9)"
    assert problems(body[:-1]).startswith("a head's body of ")


def test_a_long_run_is_stepped_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [signal(i, key=b"ab"[i % 2 : i % 2 + 1], step=i // 2) for i in range(40)]
    whole, table = stored("signal", records)
    monkeypatch.setattr("core.audit.steps.BATCH_NUMBERS", 30)

    parts, _ = stored("signal", records)

    for row in range(len(whole)):
        assert whole.expected(row) == parts.expected(row)
    assert problems_of("signal", parts, table, 0) == {b"a": [], b"b": []}
