"""Stored states damaged at every byte, and made-up ones: a counted reset, never a wrong state, never a crash."""

from __future__ import annotations

import functools
import math
import struct
from array import array
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
import pytest

from core.engines.base import Engine
from core.engines.results import WindowRules
from core.engines.state import MAX_STORED_STEP, StreamState, pack_state, seal
from core.engines.table_keys import HEAD, segment_key
from core.engines.windows import CastWindow
from core.models.fingerprint import fingerprint
from stream_app.flow.tables import PartitionedStore
from tests import test_scorer, test_stepper
from tests.changes import evict_all, take_changed
from tests.changes import plain as lists
from tests.strategies import FakeRecord, casting_value, defect_model, signal_model, signal_value
from tests.window_blobs import pack_body, pack_segment

Rows = dict[bytes, bytes]
SAMPLE = (0.5, 1.0, 0.0, 0.0, 0.0)
OFFSET, STEP, NOW_MS = 10, 6, 50_000
OFFSET_AT, APPEND_AT, STEP_AT, TIME_AT, MODEL_AT, SAMPLE_AT, NAMES_AT = 4, 12, 20, 28, 36, 48, 68
"""Places in a stored state, as the wire contract has it."""
BODY_AT = NAMES_AT + 1  # the sequence is "A"
RULES = WindowRules(window_length=9, window_min=4, hop=3, segment=2)


def kind_of(casts: bool) -> Any:
    return test_scorer if casts else test_stepper


def restored(casts: bool, rows: Rows) -> Engine[Any]:
    """An engine with these rows in its table."""
    store = PartitionedStore()
    store.fill(0, {key: (value, OFFSET) for key, value in rows.items()})
    engine: Engine[Any] = kind_of(casts).make(store)
    return engine


def next_records(casts: bool, keys: Iterable[bytes], first_offset: int = OFFSET + 1) -> list[FakeRecord]:
    """The next step of every stream."""
    value = (casting_value if casts else signal_value)(SAMPLE, sequence="A", step=STEP + 1)
    return [FakeRecord(0, first_offset + number, NOW_MS, key, value) for number, key in enumerate(keys)]


def head(body: bytes, model: str) -> bytes:
    state = StreamState()
    state.offset, state.append_ms, state.timestamp_ms, state.step, state.sequence = OFFSET, NOW_MS, NOW_MS, STEP, "A"
    state.sample = SAMPLE
    return pack_state(state, model, body)


@functools.cache
def signal_state() -> bytes:
    return head(array("f", [0.25] * 16).tobytes(), fingerprint(signal_model()))


@functools.cache
def cast_rows(key: bytes = b"a") -> Rows:
    """A cast of seven samples, in segments of two."""
    window = CastWindow(RULES)
    for step in range(STEP + 1):
        window.open(step)
        window.add(step, SAMPLE)
    rows = {segment_key(key, segment.number): pack_segment(segment) for segment in window.segments}
    return {HEAD + key: head(pack_body(window), fingerprint(defect_model()))} | rows


# Damaged at every byte.


def damaged(blob: bytes) -> list[bytes]:
    """Every byte changed in three ways, and every cut."""
    changed = [
        blob[:at] + bytes([new]) + blob[at + 1 :]
        for at, old in enumerate(blob)
        for new in {old ^ 1, old ^ 0x80, 0, 0xFF} - {old}
    ]
    return changed + [blob[:size] for size in range(len(blob))]


@functools.cache
def damaged_tables(casts: bool) -> tuple[Rows, int]:
    """A table with a stream for every damage, and how many there are."""
    if not casts:
        rows = {b"%d" % number: blob for number, blob in enumerate(damaged(signal_state()))}
        return rows, len(rows)
    rows, streams = {}, 0
    for place, sound in cast_rows().items():
        for blob in damaged(sound):
            key, streams = b"%d" % streams, streams + 1
            rows |= {_renamed(at, key): other for at, other in cast_rows().items()}
            rows[_renamed(place, key)] = blob
    return rows, streams


def _renamed(table_key: bytes, key: bytes) -> bytes:
    return table_key[:-1] + key  # the stream's key stands last, and is b"a"


@pytest.mark.parametrize("casts", [False, True])
def test_a_damaged_state_is_counted_and_its_stream_begins_anew(casts: bool) -> None:
    rows, streams = damaged_tables(casts)
    keys = [b"%d" % number for number in range(streams)]

    result = restored(casts, rows).run(next_records(casts, keys))
    fresh = restored(casts, {}).run(next_records(casts, keys))

    assert streams > 500
    assert result.counts.resets == {"corrupt_state": streams}
    assert lists(fresh) == lists(result)
    assert (fresh.counts.processed, fresh.counts.gaps) == (result.counts.processed, result.counts.gaps)


@pytest.mark.parametrize("casts", [False, True])
def test_what_is_written_after_damage_is_sound(casts: bool) -> None:
    rows, streams = damaged_tables(casts)
    keys = [b"%d" % number for number in range(streams)]
    engine = restored(casts, rows)
    engine.run(next_records(casts, keys))

    written = {key: value for change in take_changed(engine, [0]) for key, value in change.records}
    again = restored(casts, rows | {key: value for key, value in written.items() if value is not None})
    result = again.run(next_records(casts, keys, first_offset=OFFSET + 1 + streams))

    assert result.counts.resets == {}
    assert result.counts.duplicates["step"] == streams


@pytest.mark.parametrize("casts", [False, True])
def test_an_eviction_lets_no_damaged_state_go_and_hides_none(casts: bool) -> None:
    """It looks at offset and time before the checksum: what it finds by them may be anything."""
    rows, streams = damaged_tables(casts)
    sound = cast_rows(b"sound") if casts else {b"sound": signal_state()}
    engine = restored(casts, rows | sound)

    gone = evict_all(engine, 0, 10**18)
    result = engine.run(next_records(casts, [b"%d" % number for number in range(streams)]))

    assert {key for change in gone.tombstones for key, _ in change.records} == sound.keys()
    assert sum(map(len, gone.outputs.values())) == casts  # the final score of the sound one
    assert result.counts.resets == {"corrupt_state": streams}
    assert evict_all(engine, 0, 0).tombstones == []


# Made up, with a checksum that fits.


def put(blob: bytes, at: int, layout: str, *numbers: float) -> bytes:
    """A stored record with other numbers at a place; negative places count from the end."""
    raw = bytearray(blob[:-4])
    struct.pack_into("<" + layout, raw, at % len(raw), *numbers)
    return seal(bytes(raw))


def longer(blob: bytes, more: bytes) -> bytes:
    return seal(blob[:-4] + more)


def shorter(blob: bytes, less: int) -> bytes:
    return seal(blob[: -4 - less])


class Made(NamedTuple):
    """A state that nobody has written."""

    name: str
    change: Callable[[bytes], bytes]


HEADS = [
    *(Made(f"offset {offset}", lambda blob, n=offset: put(blob, OFFSET_AT, "q", n)) for offset in (-1, -(2**63))),
    *(
        Made(f"step {step}", lambda blob, n=step: put(blob, STEP_AT, "q", n))
        for step in (-1, -(2**63), MAX_STORED_STEP + 1, 2**63 - 1)
    ),
    *(
        Made(f"sample {value}", lambda blob, n=value: put(blob, SAMPLE_AT + 8, "f", n))
        for value in (math.nan, math.inf, -math.inf, 1_000_001.0)
    ),
    *(Made(f"version {version}", lambda blob, n=version: put(blob, 0, "B", n)) for version in (0, 2, 255)),
    *(Made(f"a sequence of {size} bytes", lambda blob, n=size: put(blob, 2, "B", n)) for size in (200, 255)),
    Made("a sequence that is not UTF-8", lambda blob: put(blob, NAMES_AT, "B", 0xFF)),
    Made("a model that is not ASCII", lambda blob: put(blob, MODEL_AT, "B", 0xC3)),
    Made("nothing", lambda blob: seal(b"")),
    Made("a head without its end", lambda blob: seal(blob[: NAMES_AT - 1])),
]
SIGNALS = [
    *HEADS,
    *(
        Made(f"hidden {value}", lambda blob, n=value: put(blob, BODY_AT + 8, "f", n))
        for value in (math.nan, math.inf, -math.inf)
    ),
    Made("hidden states too short", lambda blob: shorter(blob, 4)),
    Made("hidden states too long", lambda blob: longer(blob, bytes(4))),
    Made("hidden states of an odd size", lambda blob: longer(blob, b"x")),
    Made("no hidden states", lambda blob: shorter(blob, 64)),
]
CASTS = [
    *HEADS,
    *(
        Made(f"a count of {count}", lambda blob, n=count: put(blob, BODY_AT, "q", n))
        for count in (-1, 0, STEP, MAX_STORED_STEP + 1, 2**63 - 1)
    ),
    *(
        Made(f"{count} segments", lambda blob, n=count: put(blob, BODY_AT + 8, "I", n))
        for count in (0, 3, 5, 2**31, 2**32 - 1)
    ),
    Made("a segment twice", lambda blob: put(blob, BODY_AT + 20, "q", 0)),
    Made("segments in another order", lambda blob: put(blob, BODY_AT + 12, "qqqq", 2, 0, 4, 6)),
    Made("a segment that is not there", lambda blob: put(blob, -8, "q", 7)),
    Made("no segments, and not ended", lambda blob: put(shorter(blob, 32), BODY_AT, "qI", 0, 0)),
]
SEGMENTS = [
    *(Made(f"{count} samples", lambda blob, n=count: put(blob, 4, "I", n)) for count in (0, 1, 3, 2**31, 2**32 - 1)),
    *(Made(f"step {step}", lambda blob, n=step: put(blob, 8, "q", n)) for step in (-1, -(2**63), 5, 2**63 - 1)),
    *(
        Made(f"sample {value}", lambda blob, n=value: put(blob, -4, "f", n))
        for value in (math.nan, math.inf, -math.inf, 1_000_001.0)
    ),
    Made("another version", lambda blob: put(blob, 0, "B", 2)),
    Made("nothing", lambda blob: seal(b"")),
]


def names(made: list[Made]) -> list[str]:
    return [one.name for one in made]


def assert_reset(casts: bool, rows: Rows) -> None:
    """A stream with such a state begins anew, is written and goes, as if it had none."""
    engine, fresh = restored(casts, rows), restored(casts, {})

    result, expected = (each.run(next_records(casts, [b"a"])) for each in (engine, fresh))

    assert result.counts.resets == {"corrupt_state": 1}
    assert lists(expected) == lists(result)
    assert take_changed(engine, [0])
    assert evict_all(engine, 0, 10**9).tombstones
    evicted = evict_all(restored(casts, rows), 0, 2**62)
    assert (evicted.tombstones, evicted.outputs) == ([], {})


@pytest.mark.parametrize("made", SIGNALS, ids=names(SIGNALS))
def test_a_made_up_state_of_a_signal_is_a_counted_reset(made: Made) -> None:
    assert_reset(False, {b"a": made.change(signal_state())})


@pytest.mark.parametrize("made", CASTS, ids=names(CASTS))
def test_a_made_up_head_of_a_cast_is_a_counted_reset(made: Made) -> None:
    assert_reset(True, cast_rows() | {HEAD + b"a": made.change(cast_rows()[HEAD + b"a"])})


@pytest.mark.parametrize("made", SEGMENTS, ids=names(SEGMENTS))
def test_a_made_up_segment_of_a_cast_is_a_counted_reset(made: Made) -> None:
    place = segment_key(b"a", 4)
    assert_reset(True, cast_rows() | {place: made.change(cast_rows()[place])})


HARMLESS = [
    *(Made(f"append time {ms}", lambda blob, n=ms: put(blob, APPEND_AT, "q", n)) for ms in (-(2**63), 0, 2**63 - 1)),
    *(Made(f"event time {ms}", lambda blob, n=ms: put(blob, TIME_AT, "q", n)) for ms in (-(2**63), 2**63 - 1)),
    Made("the highest step", lambda blob: put(blob, STEP_AT, "q", MAX_STORED_STEP)),
    Made("the highest offset", lambda blob: put(blob, OFFSET_AT, "q", 2**63 - 1)),
    Made("all flags", lambda blob: put(blob, 1, "B", 0xFF)),
]


@pytest.mark.parametrize("made", HARMLESS, ids=names(HARMLESS))
@pytest.mark.parametrize("policy", ["step", "hold", "reset"])
@pytest.mark.parametrize("casts", [False, True])
def test_a_made_up_state_within_the_limits_does_no_harm(casts: bool, policy: str, made: Made) -> None:
    rows = dict(cast_rows()) if casts else {b"a": signal_state()}
    place = HEAD + b"a" if casts else b"a"
    rows[place] = made.change(rows[place])
    store = PartitionedStore()
    store.fill(0, {key: (value, OFFSET) for key, value in rows.items()})
    engine = kind_of(casts).make(store, kind_of(casts).stream_rules(policy))

    value = casting_value if casts else signal_value
    for offset in range(OFFSET + 1, OFFSET + 9):
        outputs = lists(engine.run([FakeRecord(0, offset, NOW_MS, b"a", value(SAMPLE, sequence="A"))]))
        for _, output, _, _ in outputs.get(0, []):
            msgspec.json.decode(output)
    take_changed(engine, [0])
    evict_all(engine, 0, 2**62)


def test_a_key_that_no_record_may_have_does_not_end_the_worker() -> None:
    """Such a state is met by no record; an eviction meets it, and a cast's final score would need its name."""
    for key in (b"", b"\xff", b"x" * 256):
        engine = restored(True, cast_rows(key) | cast_rows(b"a"))

        gone = evict_all(engine, 0, 10**9)

        assert {at for change in gone.tombstones for at, _ in change.records} == cast_rows(b"a").keys()


@pytest.mark.parametrize("offset", [OFFSET, 2**62])
def test_a_pause_that_is_no_int64_is_a_pause(offset: int) -> None:
    """Producers may write any times; the compiled way must not find that less than nothing has passed."""
    engine = restored(False, {b"a": put(signal_state(), APPEND_AT, "q", -(2**63))})
    result = engine.run([FakeRecord(0, offset + n, 2**62 + n, b"a", signal_value(SAMPLE)) for n in (1, 2)])

    assert result.counts.resets == {"idle": 1}
    assert engine.run([FakeRecord(0, offset + 3, -(2**63), b"a", signal_value(SAMPLE))]).counts.resets == {}
    assert engine.run([FakeRecord(0, offset + 4, 2**63 - 1, b"a", signal_value(SAMPLE))]).counts.resets == {"idle": 1}
