"""Targets: whole engines. Signals both ways, compiled and one by one; and engines restored from hostile tables."""

from __future__ import annotations

import functools
import math
from array import array
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec

from core.engines.results import ChunkResult, StreamRules
from core.engines.scorer import CastScorer
from core.engines.state import StreamState, pack_state, seal, unpack_state
from core.engines.stepper import SignalStepper
from core.engines.table_keys import HEAD, segment_key
from core.models.fingerprint import fingerprint
from core.wire.records import stream_id
from stream_app.flow.tables import PartitionedStore
from tests.both_ways import CastsOneByOne, OneByOne, assert_same_engines
from tests.changes import Change, evict_all, take_changed
from tests.changes import plain as lists
from tests.fuzz.codecs import cast_value, headers_of, signal_value
from tests.fuzz.mutation import Mutator
from tests.fuzz.states import FLOATS, RULES, good_segments, state, window, with_counters
from tests.strategies import FakeRecord, casting_value, defect_model, signal_model
from tests.strategies import signal_value as signal_json
from tests.window_blobs import pack_body, pack_segment

__all__ = ["cast_value", "check_casts", "check_signals", "check_tables", "signal_value", "stored"]

KEYS = (b"a", b"a", b"a", b"b", b"", b"\xff", b"x" * 256, "ä".encode(), None)
TIMES = (0, 1, 999, 10**12, 2**63 - 1, -(2**63), -1)
IDLE_MS = 1_000
SAMPLE = (0.5, 1.0, 0.0, 0.0, 0.0)


def rules(random: Random) -> StreamRules:
    """Of any policy."""
    return StreamRules(random.choice(("step", "hold", "reset")), 5, 40, IDLE_MS)


# Both ways.


def check_signals(values: list[bytes], random: Random) -> None:
    """Outputs to the last bit, dead letters, counts and states are the same, whatever comes."""
    judged, output_format = rules(random), random.choice(("json", "msgpack"))
    slow, fast = (kind(signal_model(), judged, PartitionedStore(), output_format) for kind in (OneByOne, SignalStepper))
    assert_same_engines(slow, fast, _chunks(signal_json(SAMPLE), values, random))


def check_casts(values: list[bytes], random: Random) -> None:
    """The same of casts."""
    judged = rules(random)
    slow, fast = (kind(defect_model(), judged, RULES, PartitionedStore()) for kind in (CastsOneByOne, CastScorer))
    assert_same_engines(slow, fast, _chunks(casting_value(SAMPLE), values, random))


def _chunks(first: bytes, values: list[bytes], random: Random) -> Iterator[list[FakeRecord]]:
    now_ms, chunk = random.choice(TIMES), [FakeRecord(0, 0, 0, b"a", first)]
    for offset, value in enumerate(values, 1):
        now_ms = random.choice(TIMES) if random.random() < 0.05 else min(now_ms + 1, 2**63 - 1)
        headers = headers_of(value, random) if random.random() < 0.95 else (("content-type", b"text/csv"),)
        chunk.append(FakeRecord(0, offset, now_ms, random.choice(KEYS), value, headers))
        if random.random() < 0.2:
            yield chunk
            chunk = []
    yield chunk


# Restored.


@functools.cache
def _good() -> tuple[Mutator, Mutator, Mutator]:
    """Heads of signals, heads of casts, segments; without their checksums."""
    hidden, (signals, casts) = array("f", [0.25] * 16).tobytes(), map(fingerprint, (signal_model(), defect_model()))
    held = [state(), state("", None), state("ä" * 127, "x" * 255, closed=True), with_counters(state())]
    return (
        Mutator([pack_state(one, signals, hidden)[:-4] for one in held], FLOATS),
        Mutator(
            [
                pack_state(state(), casts, pack_body(window()))[:-4],
                pack_state(held[2], casts, pack_body(window(0)))[:-4],
                pack_state(held[3], casts, pack_body(window()))[:-4],
            ],
            FLOATS,
        ),
        Mutator(good_segments(), FLOATS),
    )


def stored(random: Random) -> tuple[int, bytes]:
    """A table value and its kind: a place in `_good`. Nearly all have a checksum that fits."""
    kind = random.choice((0, 0, 1, 2))
    payload = _good()[kind].input(random)
    return kind, seal(payload) if random.random() < 0.95 else payload


def check_tables(values: list[tuple[int, bytes]], random: Random) -> None:
    """Engines with such rows in their tables take records, commit and evict; what they write is sound."""
    rows: list[dict[bytes, bytes]] = [{}, {}]
    for number, (kind, value) in enumerate(values):
        key = random.choice((b"%d" % number, b"%d" % number, b"%d\xff" % number))
        if kind == 0:
            rows[0][key] = value
        else:
            rows[1] |= _cast_rows(key, value if kind == 1 else None, value if kind == 2 else None, random)
    for casts in (False, True):
        _check_restored(casts, rows[casts], random)


def _cast_rows(key: bytes, head: bytes | None, segment: bytes | None, random: Random) -> dict[bytes, bytes]:
    """A cast in the table with a damaged head, or with one damaged segment."""
    made = window()
    rows = {segment_key(key, one.number): pack_segment(one) for one in made.segments}
    rows[HEAD + key] = head or pack_state(state(), fingerprint(defect_model()), pack_body(made))
    if segment is not None:
        rows[segment_key(key, random.choice(made.segments).number)] = segment
    return rows


def _check_restored(casts: bool, rows: dict[bytes, bytes], random: Random) -> None:
    engine = _engine(casts, rows, rules(random))
    before = random.choice((0, 11, 2**62))
    changes: list[Change] = []
    untouched = rows
    for action in random.sample(("evict", "run", "commit", "run", "evict", "commit"), 6):
        if action == "evict":
            gone = evict_all(engine, 0, before, now_ms=52_000)
            _check_outputs(gone.outputs)
            _check_evicted(gone.tombstones, untouched, before, casts)
            changes += gone.tombstones
        elif action == "run":
            _check_outputs(engine.run(_next_records(casts, rows, random)))
            untouched = {}
        else:
            changes += take_changed(engine, [0], streams=3)
    _check_written(casts, rows, changes)


def _engine(casts: bool, rows: dict[bytes, bytes], judged: StreamRules) -> Any:
    store = PartitionedStore()
    store.fill(0, {key: (value, 10) for key, value in rows.items()})
    if casts:
        return CastScorer(defect_model(), judged, RULES, store)
    return SignalStepper(signal_model(), judged, store)


_BACK = ({"step": 0}, {"step": 0, "timestamp_ms": 1_700_000_060_100}, {"step": 1, "timestamp_ms": 1_700_000_060_200})


def _next_records(casts: bool, rows: dict[bytes, bytes], random: Random) -> list[FakeRecord]:
    value, offset = casting_value if casts else signal_json, random.choice((11, 2**40))
    keys = sorted({key[1:] if casts else key for key in rows if not casts or key[:1] == HEAD}) or [b"0"]
    steps = [random.choice(({}, {"step": 8}, {"step": 11}, {"step": 3}, *_BACK)) for _ in keys]
    return [
        FakeRecord(0, offset + number, random.choice((50_001, 60_000)), key, value(SAMPLE, **step, sequence="A"))
        for number, (key, step) in enumerate(zip(keys, steps, strict=True))
    ]


def _check_outputs(outputs: Any) -> None:
    for rows in (lists(outputs) if isinstance(outputs, ChunkResult) else outputs).values():
        for _, value, _, _ in rows:
            found = msgspec.json.decode(value)
            number = found.get("prediction", found.get("probability"))
            assert (number is None) == ("reason" in found), found
            assert number is None or math.isfinite(number), found


def _check_evicted(tombstones: list[Change], rows: dict[bytes, bytes], before: int, casts: bool) -> None:
    """Only sound states go, that are idle; of rows that are known."""
    for change in tombstones:
        for table_key, _ in change.records:
            if table_key not in rows or (casts and table_key[:1] != HEAD):
                continue
            found = StreamState()
            unpack_state(rows[table_key], found)
            assert stream_id(table_key[1:] if casts else table_key)
            assert found.included == change.source_offset < before


def _check_written(casts: bool, rows: dict[bytes, bytes], changes: list[Change]) -> None:
    """A worker that starts with what was written finds nothing to complain of."""
    written: dict[bytes, bytes | None] = {}
    for change in changes:
        written |= dict(change.records)
    kept = {key: value for key, value in (rows | written).items() if value is not None}
    heads = [key[1:] if casts else key for key in written.keys() & kept.keys() if not casts or key[:1] == HEAD]
    value = casting_value if casts else signal_json
    engine = _engine(casts, kept, StreamRules())
    result = engine.run([FakeRecord(0, 2**50 + n, 60_001, key, value(SAMPLE)) for n, key in enumerate(sorted(heads))])
    assert "corrupt_state" not in result.counts.resets, result.counts.resets
