"""Stored windows of streams, as a worker packs them."""

from __future__ import annotations

from core.engines.state import seal
from core.engines.windows import CastWindow, Segment
from core.native.window_states import segment_payload, window_body


def pack_segment(segment: Segment) -> bytes:
    """The table value of a segment: steps int64, samples float32, little-endian, CRC-32."""
    return seal(segment_payload(segment))


def pack_body(window: CastWindow) -> bytes:
    """The part of a head about its window: the count, and the numbers of the segments that it needs."""
    return window_body(window)
