"""A cast's window: the last samples, when a score is due, and the segments in which the window is stored.

Steps and samples go to the table in segments, so that a commit writes what changed and not the whole window.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from core.arrays import Float32s, Int64s
from core.engines.results import WindowRules
from core.engines.state import MAX_STORED_STEP, seal, unseal
from core.errors import StateError
from core.wire.records import FEATURES, MAX_VALUE, SampleValues

_SEGMENT_START = struct.Struct("<BxxxI")  # version, samples
_BODY = struct.Struct("<qI")  # samples of the cast so far, segments
_VERSION = 1


class WindowSamples(NamedTuple):
    """The samples that one score sees; T from 1 to ``window_length``."""

    samples: Float32s  # (T, F)
    steps: Int64s  # (T,), ascending; not without holes where steps are missing


class Segment:
    """A run of samples of one cast, stored under a number of its own: the source offset of its first record.

    That offset belongs to one record for ever, so a number never stands for other samples, also when records are
    processed again after a crash.
    """

    __slots__ = ("changed", "number", "samples", "steps")

    def __init__(self, number: int) -> None:
        self.number = number
        self.steps = array("q")
        self.samples = array("f")  # FEATURES per step
        self.changed = True

    def __len__(self) -> int:
        return len(self.steps)


class CastWindow:
    """The last ``window_length`` samples of a cast."""

    __slots__ = ("count", "rules", "segments")

    def __init__(self, rules: WindowRules) -> None:
        self.rules = rules
        self.count = 0  # samples of the cast so far, those that have left the window included
        self.segments: list[Segment] = []

    def open(self, number: int) -> None:
        """Begin a record's samples. Only here does a segment end: one record's samples are never split."""
        if not self.segments or len(self.segments[-1]) >= self.rules.segment:
            self.segments.append(Segment(number))

    def add(self, step: int, sample: SampleValues) -> None:
        """Take one sample in, after ``open``."""
        last = self.segments[-1]
        last.steps.append(step)
        last.samples.extend(sample)
        last.changed = True
        self.count += 1

    def trim(self) -> list[int]:
        """Drop the segments that lie before the window; return their numbers."""
        spare = sum(map(len, self.segments)) - self.rules.window_length
        dropped = []
        while self.segments and spare >= len(self.segments[0]):
            spare -= len(self.segments[0])
            dropped.append(self.segments.pop(0).number)
        return dropped

    def clear(self) -> list[int]:
        """Empty the window and forget the count; the numbers of its segments."""
        dropped = [segment.number for segment in self.segments]
        self.segments = []
        self.count = 0
        return dropped

    @property
    def due(self) -> bool:
        """True if a score is due at the sample just added: at ``window_min`` samples, then every ``hop``."""
        past = self.count - self.rules.window_min
        return past >= 0 and past % self.rules.hop == 0

    def view(self) -> WindowSamples:
        """The window as it is now, copied."""
        length = self.rules.window_length
        steps = np.concatenate([np.frombuffer(segment.steps, np.int64) for segment in self.segments])
        samples = np.concatenate([np.frombuffer(segment.samples, np.float32) for segment in self.segments])
        return WindowSamples(samples.reshape(-1, FEATURES)[-length:], steps[-length:])


def pack_segment(segment: Segment) -> bytes:
    """The table value of a segment: steps int64, samples float32, little-endian, CRC-32."""
    steps = np.frombuffer(segment.steps, np.int64).astype("<i8", copy=False)
    samples = np.frombuffer(segment.samples, np.float32).astype("<f4", copy=False)
    return seal(_SEGMENT_START.pack(_VERSION, len(segment)) + steps.tobytes() + samples.tobytes())


def unpack_segment(number: int, blob: bytes, last_step: int) -> Segment:
    """Read a segment as far as ``last_step``: what lies past its head's step is not applied yet.

    Raises:
        StateError: ``corrupt_state``.
    """
    payload = unseal(blob)
    version, count = _SEGMENT_START.unpack_from(payload) if len(payload) >= _SEGMENT_START.size else (0, 0)
    body = _SEGMENT_START.size
    if version != _VERSION or len(payload) != body + count * (8 + 4 * FEATURES):
        raise StateError("corrupt_state", f"segment {number}: {len(payload)} bytes of version {version} do not fit")
    steps = np.frombuffer(payload, "<i8", count, body)
    samples = np.frombuffer(payload, "<f4", count * FEATURES, body + 8 * count)
    if not (np.abs(samples) <= MAX_VALUE).all() or (steps[:1] < 0).any() or (steps[1:] <= steps[:-1]).any():
        raise StateError("corrupt_state", f"segment {number} holds samples or steps that no record gives")
    keep = int(np.searchsorted(steps, last_step, side="right"))
    segment = Segment(number)
    segment.steps.frombytes(steps[:keep].astype(np.int64).tobytes())
    segment.samples.frombytes(samples[: keep * FEATURES].astype(np.float32).tobytes())
    segment.changed = False
    return segment


def pack_body(window: CastWindow) -> bytes:
    """The part of a head about its window: the count, and the numbers of the segments that it needs."""
    return pack_numbers(window.count, [segment.number for segment in window.segments])


def pack_numbers(count: int, numbers: Sequence[int]) -> bytes:
    """Pack the part of a head about its window from a count of samples and the numbers of segments."""
    return _BODY.pack(count, len(numbers)) + struct.pack(f"<{len(numbers)}q", *numbers)


def unpack_numbers(body: bytes) -> tuple[int, tuple[int, ...]]:
    """The count of samples, and the numbers of the segments, of what ``pack_body`` gave.

    Raises:
        StateError: ``corrupt_state``.
    """
    if len(body) < _BODY.size:
        raise StateError("corrupt_state", f"a head's body of {len(body)} bytes is too short")
    count, segments = _BODY.unpack_from(body)
    if len(body) != _BODY.size + 8 * segments:
        raise StateError("corrupt_state", f"a head's body of {len(body)} bytes does not hold {segments} segments")
    return count, struct.unpack_from(f"<{segments}q", body, _BODY.size)


def unpack_body(
    body: bytes, last_step: int, rules: WindowRules, segment_blob: Callable[[int], bytes | None]
) -> CastWindow:
    """The window that a head describes.

    Args:
        body: what ``pack_body`` gave.
        last_step: the head's step.
        rules: those of now; the window is trimmed to them.
        segment_blob: the stored segment of a number, None if there is none.

    Raises:
        StateError: ``corrupt_state``: the body, or a segment that it needs, is damaged or missing, or they do not fit.
    """
    count, numbers = unpack_numbers(body)
    window = CastWindow(rules)
    window.count = count
    if any(second <= first for first, second in pairwise(numbers)):  # one named twice would be held twice, or any times
        raise StateError("corrupt_state", "the segments of a head are not in order")
    for number in numbers:
        blob = segment_blob(number)
        if blob is None:
            raise StateError("corrupt_state", f"segment {number} is missing")
        window.segments.append(unpack_segment(number, blob, last_step))
    if numbers and (not window.segments[-1].steps or window.segments[-1].steps[-1] != last_step):
        raise StateError("corrupt_state", f"the segments do not reach step {last_step}")
    if not sum(map(len, window.segments)) <= count <= MAX_STORED_STEP:
        raise StateError("corrupt_state", f"a count of {count} does not fit the segments")
    window.trim()  # only shorter rules than the writer's find anything: the table still has those, as orphans
    return window
