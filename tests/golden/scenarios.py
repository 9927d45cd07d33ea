"""A scenario: records in stages, with what came of them; and the files that hold scenarios."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import msgspec

FOLDER = Path(__file__).resolve().parent
FILES = {"signal": FOLDER / "signal.msgpack.xz", "casting": FOLDER / "casting.msgpack.xz"}

Headers = list[tuple[str, bytes]]


class SourceRecord(msgspec.Struct, frozen=True, array_like=True):
    """A record of a source topic, as a fetch delivers it."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = []


class Written(msgspec.Struct, frozen=True, array_like=True):
    """A record that the worker wrote: an output, a dead letter, a state."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Found(msgspec.Struct, frozen=True):
    """All that came of a stage, up to the end of its commit."""

    outputs: list[Written]
    letters: list[Written]
    states: list[Written]
    counts: dict[str, int]


class Stage(msgspec.Struct, frozen=True):
    """Records up to a commit; then the streams of partition 0 that have nothing at or behind ``evict`` are evicted."""

    records: list[SourceRecord]
    evict: int | None = None
    found: Found | None = None


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A table record that is there before a scenario begins."""

    partition: int
    key: bytes
    value: bytes
    source_offset: int


class Scenario(msgspec.Struct, frozen=True):
    """Streams of one task under certain rules."""

    name: str
    task: str
    stages: list[Stage]
    rules: dict[str, Any] = {}
    windows: dict[str, int] = {}
    output_format: str = "json"
    overflows: bool = False
    """The output layer of the model is one whose sums have no float32."""
    table: list[Row] = []
    start: int = 0
    """Offset of the first record to read, in every partition."""


class Golden(msgspec.Struct, frozen=True):
    """A file: scenarios, and the version and commit that they were recorded from."""

    recorded_from: str
    scenarios: list[Scenario]


def read_golden(task: str) -> Golden:
    """The scenarios of a task, as they were recorded."""
    return msgspec.msgpack.decode(lzma.decompress(FILES[task].read_bytes()), type=Golden)


def write_golden(task: str, golden: Golden) -> None:
    """Write a file; the same scenarios give the same bytes."""
    FILES[task].write_bytes(lzma.compress(msgspec.msgpack.encode(golden), preset=9))
