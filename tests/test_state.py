"""A stream's metadata: the verdict on a record, row by row of the wire contract, and the stored form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chunk import StreamRules, WindowRules
from core.errors import StateError
from core.state import (
    DUPLICATE,
    JUMP,
    LATE,
    NEXT,
    VERSION,
    Decision,
    Fate,
    StreamState,
    begin,
    decide,
    pack_state,
    peek_offset,
    unpack_state,
)
from tests.strategies import relaxed

RULES = StreamRules(max_gap=3, max_step_jump=100, idle_timeout_ms=1_000)
MODEL = "0123456789ab"


def state(sequence: str = "A", step: int = 5, previous: str | None = "P", closed: bool = False) -> StreamState:
    made = StreamState()
    made.offset, made.append_ms, made.step = 10, 50_000, step
    made.sequence, made.previous, made.closed = sequence, previous, closed
    return made


def first(step: int, reset: str | None) -> Decision:
    return Decision(Fate.ADVANCE, step=step, gap=step, fresh=True, reset=reset)


@pytest.mark.parametrize(
    ("before", "sequence", "step", "after_ms", "expected"),
    [
        # no state
        (StreamState(), "A", None, 0, first(0, None)),
        (StreamState(), "A", 7, 0, first(7, None)),
        (StreamState(), "A", 1_000_000_000, 0, first(1_000_000_000, None)),
        # the pause decides before anything else does
        (state(), "A", 6, 1_000, NEXT),
        (state(), "A", 6, 1_001, first(6, "idle")),
        (state(), "P", 0, 1_001, first(0, "idle")),
        (state(closed=True), "A", 3, 1_001, first(3, "idle")),
        (state(step=500), "A", 501, 1_001, first(501, "idle")),
        (state(), "A", 6, -5_000, NEXT),
        # late
        (state(), "P", 6, 1, LATE),
        (state(), "P", 10_000, 1, LATE),
        (state(closed=True), "A", 6, 1, LATE),
        (state(closed=True), "A", None, 1, LATE),
        (state("", 5, closed=True), "", 0, 1, LATE),
        (state(closed=True), "A", 106, 1, JUMP),
        # another sequence
        (state(), "B", None, 1, first(0, "sequence")),
        (state(), "B", 4, 1, first(4, "sequence")),
        (state(), "B", 101, 1, first(101, "sequence")),
        (state(closed=True), "B", 0, 1, first(0, "sequence")),
        (state(previous=None), "", 0, 1, first(0, "sequence")),
        # the counter starts again where no sequence is named
        (state(""), "", 0, 1, first(0, "restart")),
        (state("", 0), "", 0, 1, DUPLICATE),
        (state("A"), "A", 0, 1, DUPLICATE),
        # steps
        (state(), "A", 5, 1, DUPLICATE),
        (state(), "A", 6, 1, NEXT),
        (state(), "A", None, 1, NEXT),
        (state(), "A", 105, 1, Decision(Fate.ADVANCE, step=105, gap=99)),
        (state(), "A", 106, 1, JUMP),
    ],
)
def test_each_row_of_the_table(
    before: StreamState, sequence: str, step: int | None, after_ms: int, expected: Decision
) -> None:
    assert expected == decide(before, sequence, step, before.append_ms + after_ms, RULES)


@pytest.mark.parametrize(
    ("policy", "step", "expected"),
    [
        ("step", 9, Decision(Fate.ADVANCE, step=9, gap=3)),
        ("hold", 9, Decision(Fate.ADVANCE, step=9, gap=3, held=3)),
        ("hold", 10, Decision(Fate.ADVANCE, step=10, gap=4, reset="gap")),
        ("reset", 7, Decision(Fate.ADVANCE, step=7, gap=1, reset="gap")),
    ],
)
def test_each_gap_policy(policy: str, step: int, expected: Decision) -> None:
    rules = StreamRules(gap_policy=policy, max_gap=3)  # type: ignore[arg-type]

    assert expected == decide(state(), "A", step, 50_001, rules)


@pytest.mark.parametrize(("reset", "previous"), [("sequence", "A"), ("restart", "P"), ("idle", None), (None, None)])
def test_only_a_named_successor_makes_the_sequence_before_it_late(reset: str | None, previous: str | None) -> None:
    entered = state(closed=True)

    begin(entered, "B", reset)

    assert ("B", previous, False) == (entered.sequence, entered.previous, entered.closed)


@pytest.mark.parametrize(
    "wrong", [{"gap_policy": "skip"}, {"max_gap": -1}, {"max_step_jump": 0}, {"idle_timeout_ms": 0}]
)
def test_wrong_stream_rules_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        StreamRules(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"window_min": 0}, {"window_min": 501}, {"hop": 0}, {"segment": 0}])
def test_wrong_window_rules_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="window_min"):
        WindowRules(**wrong)


FIELDS = ("offset", "append_ms", "timestamp_ms", "sequence", "previous", "step", "closed", "sample")
NUMBERS = st.floats(-1e6, 1e6, width=32)
INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def states(draw: st.DrawFn) -> StreamState:
    made = StreamState()
    made.offset = draw(st.integers(0, 2**63 - 1))
    made.append_ms, made.timestamp_ms, made.step = draw(INT64), draw(INT64), draw(st.integers(0, 2**53))
    made.sequence, made.previous = draw(st.text(max_size=63)), draw(st.none() | st.text(max_size=63))
    made.closed = draw(st.booleans())
    made.sample = draw(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS))
    return made


def fields(of: StreamState) -> list[object]:
    return [getattr(of, name) for name in FIELDS]


@relaxed
@given(before=states(), body=st.binary(max_size=64))
def test_a_stored_state_comes_back(before: StreamState, body: bytes) -> None:
    blob = pack_state(before, MODEL, body)
    after = StreamState()

    assert (MODEL, body) == unpack_state(blob, after)
    assert fields(before) == fields(after)
    assert before.offset == peek_offset(blob)


def test_any_damaged_byte_and_any_cut_is_found() -> None:
    blob = pack_state(state(), MODEL, bytes(8))
    damaged = [blob[:i] + bytes([blob[i] ^ 1]) + blob[i + 1 :] for i in range(len(blob))]

    for bad in [*damaged, *(blob[:i] for i in range(len(blob))), blob + b"x"]:
        untouched = StreamState()
        with pytest.raises(StateError) as caught:
            unpack_state(bad, untouched)
        assert caught.value.reason == "corrupt_state"
        assert fields(StreamState()) == fields(untouched)


def test_a_state_of_another_version_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = pack_state(state(), MODEL)
    unpack_state(blob, StreamState())
    monkeypatch.setattr("core.state.VERSION", VERSION + 1)

    with pytest.raises(StateError, match="version 1"):
        unpack_state(blob, StreamState())
    assert peek_offset(blob) is None
    assert peek_offset(b"") is None


def test_a_state_record_of_the_shipped_model_takes_about_a_kibibyte() -> None:
    hidden = np.zeros((2, 2, 64), np.float32)

    assert len(pack_state(state("x" * 20), MODEL, hidden.tobytes())) < 1_200
