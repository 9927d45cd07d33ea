"""Target: stored states and windows, damaged, or with a checksum that fits and contents that do not."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Sequence
from random import Random

from core.engines.results import WindowRules
from core.engines.state import MAX_STORED_STEP, StreamState, pack_state, seal, unpack_state
from core.engines.windows import CastWindow, unpack_body, unpack_segment
from core.errors import StateError
from core.native.fields import MAX_FLOAT32
from core.native.states import WIDE_VERSION, peek_offset
from core.tasks.reading import shipped
from core.wire.records import MAX_VALUE
from tests.fuzz.mutation import Mutator
from tests.window_blobs import pack_body, pack_segment

MODEL = "0123456789ab"
RULES = WindowRules(window_length=9, window_min=4, hop=3, segment=2)
FLOATS = tuple(
    struct.pack("<f", number)
    for number in (0.0, 1.0, 1e6, 1e7, -1e38, float("nan"), float("inf"), -float("inf"), 1e-45)
)


def state(sequence: str = "A", previous: str | None = "P", closed: bool = False, step: int = 7) -> StreamState:
    """One that has an offset."""
    made = StreamState()
    made.offset, made.append_ms, made.timestamp_ms, made.step = 10, 50_000, 60_000, step
    made.sequence, made.previous, made.closed, made.sample = sequence, previous, closed, (1.0, 2.0, 3.0, 4.0, 5.0)
    return made


def with_counters(made: StreamState) -> StreamState:
    """The state, with a gap behind it and a step back."""
    made.gap_first, made.gap_end = 2, 4
    made.back_step, made.back_ms, made.back_offset = 0, 60_001, 12
    return made


def window(samples: int = 8, rules: WindowRules = RULES) -> CastWindow:
    """Of a cast with so many samples, steps from 0; its segments have the numbers of their first steps."""
    made = CastWindow(rules)
    for step in range(samples):
        made.open(step)
        made.add(step, (float(step), 0.0, 1.0, 2.0, 3.0))
        made.trim()
    return made


def good_states() -> list[bytes]:
    """Heads of signals and casts, without their checksums."""
    hidden = array("f", [0.25] * 16).tobytes()
    whole = [
        pack_state(state(), MODEL, hidden),
        pack_state(state("", None), MODEL, hidden),
        pack_state(state("ä" * 127, "x" * 255, closed=True), MODEL),
        pack_state(state(step=7), MODEL, pack_body(window())),
        pack_state(with_counters(state()), MODEL, hidden),
        pack_state(with_counters(state(step=7)), MODEL, pack_body(window())),
    ]
    return [blob[:-4] for blob in whole]


def good_segments() -> list[bytes]:
    """Segments, without their checksums."""
    return [pack_segment(segment)[:-4] for segment in window().segments]


_STATES = Mutator(good_states(), FLOATS)
_SEGMENTS = Mutator(good_segments(), FLOATS)


def stored(random: Random) -> bytes:
    """A stored record; most have a checksum that fits, as somebody who may write to the changelog can make one."""
    payload = (_STATES if random.random() < 0.6 else _SEGMENTS).input(random)
    return seal(payload) if random.random() < 0.8 else payload


def check_states(blob: bytes, random: Random) -> None:
    """A state within its limits, or StateError with the state untouched."""
    offset, read, untouched = peek_offset(blob), StreamState(), StreamState()
    try:
        model, body = unpack_state(blob, read)
    except StateError:
        assert _fields(read) == _fields(untouched), "refused, but changed"
    else:
        assert read.included == offset
        assert (len(model), read.offset >= 0, 0 <= read.step <= MAX_STORED_STEP) == (12, True, True)
        _check_numbers(read.sample, MAX_FLOAT32 if blob[0] == WIDE_VERSION else MAX_VALUE)
        again = StreamState()
        assert unpack_state(pack_state(read, model, body), again) == (model, body)
        assert _fields(read) == _fields(again), "packed again, it reads otherwise"
        _check_body(body, read.step, random)
    _check_segment(blob, random.choice((0, 3, MAX_STORED_STEP)))


def _fields(of: StreamState) -> tuple[object, ...]:
    counters = of.gap_first, of.gap_end, of.back_step, of.back_ms, of.included
    return of.offset, of.append_ms, of.timestamp_ms, of.sequence, of.previous, of.step, of.closed, of.sample, counters


def _check_numbers(numbers: Sequence[float], largest: float = MAX_VALUE) -> None:
    assert all(math.isfinite(number) and abs(number) <= largest for number in numbers), numbers


def _check_body(body: bytes, step: int, random: Random) -> None:
    segments = {segment.number: pack_segment(segment) for segment in window().segments}
    if random.random() < 0.2:
        segments[random.choice(list(segments))] = seal(_SEGMENTS.input(random))
    try:
        read = unpack_body(body, step, RULES, segments.get)
    except StateError:
        return
    assert read.count >= sum(map(len, read.segments))
    pack_body(read)
    for segment in read.segments:
        pack_segment(segment)
        _check_numbers(segment.samples)
    if read.segments:
        assert read.view().samples.shape[1] == shipped("casting").width


def _check_segment(blob: bytes, last_step: int) -> None:
    try:
        segment = unpack_segment(3, blob, last_step)
    except StateError:
        return
    assert len(segment.samples) == shipped("casting").width * len(segment)
    _check_numbers(segment.samples)
    assert all(step <= last_step for step in segment.steps)
