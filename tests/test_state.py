"""A stream's metadata: the verdict on a record, row by row of the wire contract, and the stored form."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.results import StreamRules, WindowRules
from core.engines.state import (
    DUPLICATE,
    JUMP,
    LATE,
    NEXT,
    SKIPPED,
    STEP_BACK,
    Decision,
    Fate,
    StreamState,
    begin,
    decide,
    enter,
    pack_state,
    seal,
    step_back,
    unpack_state,
)
from core.errors import StateError
from core.native.states import PLAIN_VERSION, pack_head, peek_offset
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
    assert expected == decide(before, sequence, step, before.append_ms + after_ms, None, RULES)


def after_gap(first: int, end: int, step: int = 5) -> StreamState:
    made = state(step=step)
    made.gap_first, made.gap_end, made.timestamp_ms = first, end, 700
    return made


def went_back(step: int, event_ms: int) -> StreamState:
    made = after_gap(2, 4)
    step_back(made, step, event_ms, 12)
    return made


@pytest.mark.parametrize(
    ("before", "step", "event_ms", "expected"),
    [
        # a step of the last gap, and those beside it
        (after_gap(2, 4), 1, None, DUPLICATE),
        (after_gap(2, 4), 2, None, SKIPPED),
        (after_gap(2, 4), 3, 700, SKIPPED),
        (after_gap(2, 4), 4, 699, DUPLICATE),
        # a time that is not later says nothing new, whatever went back before
        (went_back(0, 701), 1, 700, DUPLICATE),
        (went_back(2, 701), 3, None, SKIPPED),
        # a later one does, also where the step lies in the gap
        (after_gap(2, 4), 5, 701, STEP_BACK),
        (after_gap(2, 4), 3, 701, STEP_BACK),
        (after_gap(2, 4), 0, 701, STEP_BACK),
        # two that follow on each other
        (went_back(0, 701), 1, 702, first(1, "step_back")),
        (went_back(2, 701), 3, 702, first(3, "step_back")),
        (went_back(4, 701), 5, 702, first(5, "step_back")),
        # and two that do not
        (went_back(0, 701), 0, 701, STEP_BACK),
        (went_back(0, 701), 2, 702, STEP_BACK),
        (went_back(0, 702), 1, 702, STEP_BACK),
        (went_back(3, 701), 2, 702, STEP_BACK),
        # the counter was right after all
        (went_back(5, 701), 6, 702, NEXT),
        (went_back(5, 701), 8, 702, Decision(Fate.ADVANCE, step=8, gap=2)),
    ],
)
def test_steps_that_are_not_above_the_last(
    before: StreamState, step: int, event_ms: int | None, expected: Decision
) -> None:
    assert expected == decide(before, "A", step, before.append_ms + 1, event_ms, RULES)


@pytest.mark.parametrize(
    ("decision", "gap"),
    [
        (Decision(Fate.ADVANCE, step=9, gap=3), (6, 9)),
        (Decision(Fate.ADVANCE, step=9, gap=3, held=3), (6, 9)),
        (Decision(Fate.ADVANCE, step=9, gap=3, reset="gap"), (6, 9)),
        (first(3, "sequence"), (0, 3)),
        (first(0, "sequence"), (0, 0)),
    ],
)
def test_the_bounds_of_the_last_gap_are_kept(decision: Decision, gap: tuple[int, int]) -> None:
    entered = after_gap(2, 4)

    enter(entered, decision)

    assert (entered.gap_first, entered.gap_end, entered.step) == (*gap, decision.step)


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

    assert expected == decide(state(), "A", step, 50_001, None, rules)


@pytest.mark.parametrize(
    ("reset", "previous"), [("sequence", "A"), ("restart", "P"), ("step_back", "P"), ("idle", None), (None, None)]
)
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
FIELDS += ("gap_first", "gap_end", "back_step", "back_ms", "included")
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
    if made.step > 0 and draw(st.booleans()):
        made.gap_end = draw(st.integers(1, made.step))
        made.gap_first = draw(st.integers(0, made.gap_end - 1))
    if made.offset < 2**63 - 1 and draw(st.booleans()):
        step_back(made, draw(st.integers(0, made.step)), draw(INT64), draw(st.integers(made.offset + 1, 2**63 - 1)))
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
    assert before.included == peek_offset(blob)


V1_BLOB = bytes.fromhex(
    "01020101"  # version, flags, bytes of the two names
    "0a00000000000000" "50c3000000000000" "0500000000000000" "bc02000000000000"  # offset, append time, step, event time
    "303132333435363738396162" "0000803f" "00000000" "00000000" "00000000" "0000003f"  # model, sample
    "4150" "7879"  # names, body
    "d729d259"
)  # fmt: skip
"""A state as version 0.1 has written it."""


def test_a_state_of_version_0_1_is_read_and_written_to_the_byte() -> None:
    read = StreamState()

    assert unpack_state(V1_BLOB, read) == (MODEL, b"xy")
    assert pack_state(read, MODEL, b"xy") == V1_BLOB
    assert (read.offset, read.append_ms, read.step, read.timestamp_ms) == (10, 50_000, 5, 700)
    assert (read.sequence, read.previous, read.closed, read.sample) == ("A", "P", False, (1, 0, 0, 0, 0.5))
    assert (read.gap_first, read.gap_end, read.back_step, read.included) == (0, 0, -1, 10)
    assert peek_offset(V1_BLOB) == 10


def test_a_version_1_state_takes_the_place_of_a_step_back() -> None:
    read = went_back(0, 701)

    unpack_state(V1_BLOB, read)

    assert (read.gap_first, read.gap_end, read.back_step, read.included) == (0, 0, -1, 10)


@pytest.mark.parametrize("make", [lambda: after_gap(2, 4), lambda: went_back(0, 701)], ids=["gap", "step-back"])
def test_a_gap_and_a_step_back_make_it_version_2(make: Callable[[], StreamState]) -> None:
    assert pack_state(make(), MODEL)[0] == 2
    assert pack_state(state(), MODEL)[0] == 1


@pytest.mark.parametrize(
    ("at", "wrong"),
    [
        ((68, 76), (-1, 3)),
        ((68, 76), (3, 3)),
        ((68, 76), (2, 6)),
        ((84,), (6,)),
        ((84,), (-2,)),
        ((84,), (-1,)),
        ((100,), (12,)),
        ((100,), (-1,)),
    ],
)
def test_counters_that_no_record_gives_are_refused(at: tuple[int, ...], wrong: tuple[int, ...]) -> None:
    payload = bytearray(pack_state(went_back(0, 701), MODEL)[:-4])
    for place, number in zip(at, wrong, strict=True):
        payload[place : place + 8] = number.to_bytes(8, "little", signed=True)

    with pytest.raises(StateError, match="step back to"):
        unpack_state(seal(bytes(payload)), StreamState())


WIDE_BLOB = bytes.fromhex(
    "03020101"  # version, flags, bytes of the two names
    "0a00000000000000" "50c3000000000000" "0500000000000000" "0000000000000000"  # offset, append time, step, event time
    "303132333435363738396162" "02000000" "0000803f" "0000003f"  # model, numbers of the sample, sample
    "4150" "7879"  # names, body
)  # fmt: skip
"""A state of version 3, without its checksum."""


def wide(*sample: float, of: StreamState | None = None) -> StreamState:
    made = of or state()
    made.sample = sample
    return made


def test_a_state_whose_sample_has_another_width_is_of_version_3() -> None:
    assert pack_state(wide(1.0, 0.5), MODEL, b"xy") == seal(WIDE_BLOB)


@relaxed
@given(before=states(), sample=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40))
def test_a_stored_state_of_any_width_comes_back(before: StreamState, sample: list[float]) -> None:
    before.sample = sample
    after = StreamState()

    blob = pack_state(before, MODEL, b"body")

    assert unpack_state(blob, after) == (MODEL, b"body")
    assert fields(before) == fields(after)
    assert before.included == peek_offset(blob)
    assert blob[0] == (3 if len(sample) != 5 or max(map(abs, sample)) > 1e6 else 2 if has_extension(before) else 1)


def has_extension(of: StreamState) -> bool:
    return of.gap_end > 0 or of.back_step >= 0


def test_a_state_without_a_sample_is_kept_as_one() -> None:
    whole, without, after = wide(*map(float, range(576))), wide(), StreamState()

    head = pack_head(without, MODEL.encode())

    unpack_state(seal(head + b"body"), after)
    assert (len(head), after.sample, after.width) == (48 + 4 + 2, (), 0)
    assert len(pack_head(whole, MODEL.encode())) == len(head) + 4 * 576


@pytest.mark.parametrize("numbers", [3, 0xFFFFFFFF])
def test_a_sample_that_claims_more_numbers_than_there_are_is_refused(numbers: int) -> None:
    payload = bytearray(WIDE_BLOB)
    payload[48:52] = numbers.to_bytes(4, "little")

    with pytest.raises(StateError):
        unpack_state(seal(bytes(payload[:60])), StreamState())


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_no_record_gives_is_refused_in_a_wide_sample(number: float) -> None:
    payload = bytearray(WIDE_BLOB)
    payload[52:56] = struct.pack("<f", number)

    with pytest.raises(StateError, match="cannot be"):
        unpack_state(seal(bytes(payload)), StreamState())


@pytest.mark.parametrize("make", [lambda: went_back(0, 701), lambda: wide(1.0, 2.0, of=went_back(0, 701))])
def test_any_damaged_byte_and_any_cut_is_found(make: Callable[[], StreamState]) -> None:
    blob = pack_state(make(), MODEL, bytes(8))
    damaged = [blob[:i] + bytes([blob[i] ^ 1]) + blob[i + 1 :] for i in range(len(blob))]

    for bad in [*damaged, *(blob[:i] for i in range(len(blob))), blob + b"x"]:
        untouched = StreamState()
        with pytest.raises(StateError) as caught:
            unpack_state(bad, untouched)
        assert caught.value.reason == "corrupt_state"
        assert fields(StreamState()) == fields(untouched)


def test_a_state_of_another_version_is_not_read() -> None:
    payload = pack_state(state(), MODEL)[:-4]
    assert payload[0] == PLAIN_VERSION
    blob = seal(b"\x04" + payload[1:])

    with pytest.raises(StateError, match="version 4"):
        unpack_state(blob, StreamState())
    assert peek_offset(blob) is None
    assert peek_offset(b"") is None


def test_a_state_record_of_the_shipped_model_takes_about_a_kibibyte() -> None:
    hidden = np.zeros((2, 2, 64), np.float32)

    assert len(pack_state(state("x" * 20), MODEL, hidden.tobytes())) < 1_200
