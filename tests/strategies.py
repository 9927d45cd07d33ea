"""Feeds for property tests: records with their meaning beside them, a table in memory, and small models."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any

import msgspec
import torch
from hypothesis import settings
from hypothesis import strategies as st

from core.models.defect_lstm import SteelDefectLSTM
from core.models.signal_lstm import SignalExtractionLSTM
from stream_app.flow.tables import PartitionedStore
from tests.changes import Change

# `make fuzz` tries many times as many.
EFFORT = float(os.environ.get("EFFORT", "1"))


def examples(count: int) -> settings:
    """The settings of a property test with that many examples."""
    return settings(max_examples=round(count * EFFORT))


relaxed = examples(40)

MSGPACK = [("content-type", b"application/msgpack")]
SENSORS = ("casting_speed", "mold_temperature", "mold_level", "cooling_water_flow", "superheat")
IDLE_TIMEOUT_MS = 1_000
MAX_STEP_JUMP = 40
TIME_MS = 1_700_000_000_000
"""A time that a record may carry."""


@dataclass(frozen=True)
class FakeRecord:
    """What a fetch delivers."""

    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Event:
    """A record and what it says; ``sample`` is None where the record cannot be read."""

    record: FakeRecord
    sequence: str = ""
    step: int | None = None
    timestamp_ms: int = 0
    sample: tuple[float, ...] | None = None
    end: bool = False
    own_time: bool = False
    """Whether the record itself says its time."""

    @property
    def stream(self) -> tuple[int, bytes]:
        assert self.record.key is not None
        return self.record.partition, self.record.key


class MemoryTable:
    """A table as the changelog rebuilds it: per key the record of the highest source offset, ties to the later."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[bytes, tuple[int, bytes | None]]] = {}

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            rows = self.rows.setdefault(change.partition, {})
            for key, blob in change.records:
                assert change.source_offset >= rows.get(key, (-1, None))[0], "a state went backwards"
                rows[key] = (change.source_offset, blob)

    def get(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get(partition, {}).get(key, (-1, None))[1]

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        for key, (_, blob) in self.rows.get(partition, {}).items():
            if blob is not None:
                yield key, blob

    def recovered(self) -> PartitionedStore:
        """What a worker reads from it, for an engine to take from."""
        store = PartitionedStore()
        self.fill(store)
        return store

    def fill(self, store: PartitionedStore) -> None:
        """A recovery into the store of a worker that had one before."""
        store.drop()
        for partition, rows in self.rows.items():
            store.fill(partition, {key: (blob, source_offset) for key, (source_offset, blob) in rows.items()})


def signal_value(sample: tuple[float, ...], **fields: Any) -> bytes:
    """The JSON value of a signal sample."""
    return json.dumps({"signal": sample[0], "condition_vector": sample[1:], **fields}).encode()


def casting_value(sample: tuple[float, ...], **fields: Any) -> bytes:
    """The JSON value of a casting sample."""
    return json.dumps({**dict(zip(SENSORS, sample, strict=True)), **fields}).encode()


@functools.cache
def signal_model(seed: int = 0) -> SignalExtractionLSTM:
    """A small model; its weights are large enough for a wrong state to show."""
    torch.manual_seed(seed)
    return SignalExtractionLSTM(hidden_size=4, num_layers=2).eval()


@functools.cache
def defect_model(seed: int = 0) -> SteelDefectLSTM:
    """A small model without input norm: untrained running statistics would flatten everything."""
    torch.manual_seed(seed)
    return SteelDefectLSTM(
        {
            "architecture": {"hidden_size": 4, "num_layers": 1, "readout": "attention"},
            "classifier": {"hidden_dims": [4]},
            "normalization": {"batch_norm": False, "input_norm": False},
        }
    ).eval()


@dataclass
class EventFeed:
    """Draws one record after the other; keeps for each stream where it stands, so that moves mean something."""

    draw: Any
    casts: bool
    now_ms: int = TIME_MS + 1_000_000
    offsets: dict[int, int] = field(default_factory=dict)
    places: dict[tuple[int, bytes], tuple[str, int]] = field(default_factory=dict)
    backs: dict[tuple[int, bytes], int] = field(default_factory=dict)
    """The step that a stream's counter went back to, last."""

    def event(self) -> Event:
        partition, key, offsets = self.draw(_WHERE)
        self.now_ms += self.draw(_PAUSE_MS)
        self.offsets[partition] = self.offsets.get(partition, -1) + offsets
        move = self.draw(_MOVE)
        if (partition, key) in self.backs and move == "next" and self.draw(st.booleans()):
            move = "onward"
        place = self.places.get((partition, key), ("", -1))
        if move == "bad":
            return Event(self._record(partition, *_bad_records(key, self.casts)[self.draw(_BAD)]))
        sequence, step = self._position(move, *place, self.backs.pop((partition, key), 0))
        self.places[partition, key] = (sequence, place[1] + 1 if step is None else max(step, place[1]))
        if move in ("new", "zero"):
            self.places[partition, key] = (sequence, step or 0)
        if move in ("back", "onward"):
            self.backs[partition, key] = step or 0
        if move == "onward":
            self.places[partition, key] = (sequence, step or 0)
        end, counts_anew = self.casts and move == "end", move in ("back", "onward")
        return self._good(partition, key, sequence, step, end, counts_anew)

    def _position(self, move: str, sequence: str, last: int, back: int) -> tuple[str, int | None]:
        if move == "new":
            return self.draw(st.sampled_from(("", "A", "B", "ä" * 127))), self.draw(st.sampled_from((None, 0, 0, 3)))
        steps: dict[str, int | None] = {"none": None, "zero": 0, "repeat": max(last, 0), "gap": last + 3}
        steps |= {"wide": last + 12, "jump": last + MAX_STEP_JUMP + 1, "next": last + 1, "end": last + 1}
        steps["onward"] = back + 1
        if move == "skipped":
            return sequence, max(last - self.draw(st.integers(1, 12)), 0)
        if move == "back":
            return sequence, self.draw(st.sampled_from((0, 1, max(last - 1, 0), max(last - 5, 0), back)))
        return sequence, steps[move]

    def _good(self, partition: int, key: bytes, sequence: str, step: int | None, end: bool, counts_anew: bool) -> Event:
        own_time, tail, has_step, has_surplus, is_msgpack = self.draw(_FORM_ANEW if counts_anew else _FORM)
        sample = (self.draw(_EIGHTHS) / 8, *tail)
        fields: dict[str, Any] = {"sequence": sequence}
        if step is not None or has_step:
            fields["step"] = step
        if has_surplus:
            fields["surplus"] = [1]  # nested: not for the compiled way of plain records
        timestamp_ms = self.now_ms
        if own_time:
            timestamp_ms = TIME_MS + 10 * (self.now_ms - TIME_MS)
            if not counts_anew:  # by another clock, or of a sample that was taken before
                timestamp_ms = (timestamp_ms, timestamp_ms, timestamp_ms - 50, self.now_ms)[self.draw(_CLOCK)]
            fields["timestamp_ms"] = timestamp_ms
        if end:
            fields["end"] = True
        value = casting_value(sample, **fields) if self.casts else signal_value(sample, **fields)
        headers = ()
        if is_msgpack:
            value, headers = msgspec.msgpack.encode(json.loads(value)), tuple(MSGPACK)
        record = self._record(partition, key, value, headers)
        return Event(record, sequence, step, timestamp_ms, sample, end, own_time)

    def _record(self, partition: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> FakeRecord:
        return FakeRecord(partition, self.offsets[partition], self.now_ms, key, value, tuple(headers))


_MOVES = (
    ("next",) * 14
    + ("none",) * 4
    + ("gap", "wide", "repeat", "new", "new", "zero", "jump", "bad", "end")
    + ("back", "back", "onward", "onward", "onward", "skipped", "skipped")
)

# What a record is made of is drawn at once: hypothesis takes as long for a choice as the engine for a record.
_MOVE = st.sampled_from(_MOVES)
_WHERE = st.sampled_from([*product((0, 0, 0, 1), (b"a", b"a", b"a", b"b"), (1, 1, 1, 3))])
"""Partition, key, and how far the offset is from the one before."""
_PAUSE_MS = st.sampled_from((1,) * 22 + (IDLE_TIMEOUT_MS // 2, IDLE_TIMEOUT_MS + 1))
_BAD = st.integers(0, 4)
_CLOCK = st.integers(0, 3)
_EIGHTHS = st.integers(-20, 20)
_REST = (((1.0, 0.0, 0.0, 0.0), (0.0, 0.5, 0.0, 2.0)), (False, True), (False, False, False, True), (False, True))
_FORM = st.sampled_from([*product((True, False), *_REST)])
"""Whether it has a time of its own, the sample's other numbers, a step, a surplus field; whether it is MessagePack."""
_FORM_ANEW = st.sampled_from([*product((True, True, True, False), *_REST)])


def _bad_records(key: bytes, casts: bool) -> list[tuple[Any, ...]]:
    sample = (1.0, 2.0, 3.0, 4.0, 5.0)
    good = casting_value(sample) if casts else signal_value(sample)
    return [(key, b"{"), (None, good), (key, None), (b"\xff", good), (key, good, (("content-type", b"text/csv"),))]


@st.composite
def feeds(draw: st.DrawFn, casts: bool = False, max_size: int = 50) -> list[Event]:
    """Records of a topic in the order of arrival: some streams in two partitions, most samples plain, some not."""
    feed = EventFeed(draw, casts)
    return [feed.event() for _ in range(draw(st.integers(1, max_size)))]


@st.composite
def cuts(draw: st.DrawFn, events: list[Event]) -> list[list[Event]]:
    """The same records in chunks."""
    places = sorted(draw(st.sets(st.integers(0, len(events)), max_size=8)) | {0, len(events)})
    return [events[start:end] for start, end in pairwise(places)]
