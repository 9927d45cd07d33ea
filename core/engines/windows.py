"""Stored windows of casts: in segments, so that a commit writes what changed and not the whole window."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from core.engines.results import WindowRules
from core.engines.state import MAX_STORED_STEP, unseal
from core.errors import StateError
from core.native.streams import SHIPPED_WIDTH
from core.native.windows import CastWindow as CastWindow
from core.native.windows import Segment as Segment
from core.wire.records import MAX_VALUE

_SEGMENT_START = struct.Struct("<BxxxI")  # version, samples
_BODY = struct.Struct("<qI")  # samples of the cast so far, segments
_VERSION = 1


def unpack_segment(
    number: int, blob: bytes, last_step: int, width: int = SHIPPED_WIDTH, largest: float = MAX_VALUE
) -> Segment:
    """Read a segment as far as ``last_step``: what lies past its head's step is not applied yet.

    ``width``: numbers of a sample. ``largest``: the largest of them that a record may give.

    Raises:
        StateError: ``corrupt_state``.
    """
    payload = unseal(blob)
    version, count = _SEGMENT_START.unpack_from(payload) if len(payload) >= _SEGMENT_START.size else (0, 0)
    body = _SEGMENT_START.size
    if version != _VERSION or len(payload) != body + count * (8 + 4 * width):
        raise StateError("corrupt_state", f"segment {number}: {len(payload)} bytes of version {version} do not fit")
    steps = np.frombuffer(payload, "<i8", count, body)
    samples = np.frombuffer(payload, "<f4", count * width, body + 8 * count)
    if not (np.abs(samples) <= largest).all() or (steps[:1] < 0).any() or (steps[1:] <= steps[:-1]).any():
        raise StateError("corrupt_state", f"segment {number} holds samples or steps that no record gives")
    keep = int(np.searchsorted(steps, last_step, side="right"))
    segment = Segment(number, width)
    segment.extend(steps[:keep].astype(np.int64), samples[: keep * width].astype(np.float32))
    segment.changed = False
    return segment


def pack_numbers(count: int, numbers: Sequence[int]) -> bytes:
    """Pack the part of a head about its window from a count of samples and the numbers of segments."""
    return _BODY.pack(count, len(numbers)) + struct.pack(f"<{len(numbers)}q", *numbers)


def unpack_numbers(body: bytes) -> tuple[int, tuple[int, ...]]:
    """The count of samples, and the numbers of the segments, of a head's body.

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
    body: bytes,
    last_step: int,
    rules: WindowRules,
    segment_blob: Callable[[int], bytes | None],
    width: int = SHIPPED_WIDTH,
    largest: float = MAX_VALUE,
) -> CastWindow:
    """The window that a head describes.

    Args:
        body: the part of a head about its window.
        last_step: the head's step.
        rules: those of now; the window is trimmed to them.
        segment_blob: the stored segment of a number, None if there is none.
        width: numbers of a sample.
        largest: the largest of them that a record may give.

    Raises:
        StateError: ``corrupt_state``: the body, or a segment that it needs, is damaged or missing, or they do not fit.
    """
    count, numbers = unpack_numbers(body)
    window = CastWindow(rules, width)
    if any(second <= first for first, second in pairwise(numbers)):  # one named twice would be held twice, or any times
        raise StateError("corrupt_state", "the segments of a head are not in order")
    for number in numbers:
        blob = segment_blob(number)
        if blob is None:
            raise StateError("corrupt_state", f"segment {number} is missing")
        window.segments.append(unpack_segment(number, blob, last_step, width, largest))
    if numbers and (not len(window.segments[-1]) or window.segments[-1].steps[-1] != last_step):
        raise StateError("corrupt_state", f"the segments do not reach step {last_step}")
    if not sum(map(len, window.segments)) <= count <= MAX_STORED_STEP:
        raise StateError("corrupt_state", f"a count of {count} does not fit the segments")
    window.count = count
    window.trim()  # only shorter rules than the writer's find anything: the table still has those, as orphans
    return window
