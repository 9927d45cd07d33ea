"""The room that a topic must have for a window: no window that an engine keeps may need more."""

from __future__ import annotations

import pytest

from core.engines.results import WindowRules
from core.engines.windows import CastWindow
from stream_app.sizes import window_bytes
from tests.window_blobs import pack_body, pack_segment


def largest_of(length: int, width: int, filled: int) -> int:
    """The most bytes of a window of many samples, one of which comes after a gap that is filled."""
    window, most, sample = CastWindow(WindowRules(length, 1, 1), width), 0, (0.5,) * width
    for number in range(2 * length + 120):
        window.open(number)
        repeats = filled if number == length + 49 else 0
        for step in range(number * (filled + 1) - repeats, number * (filled + 1) + 1):
            window.add(step, sample)
        window.trim()
        if number > length:
            most = max(most, len(pack_body(window)) + sum(len(pack_segment(segment)) for segment in window.segments))
    return most


@pytest.mark.parametrize(("length", "width", "filled"), [(1, 1, 0), (60, 400, 0), (500, 5, 50), (60, 40, 1_000)])
def test_a_window_needs_no_more_than_is_asked_of_the_changelog(length: int, width: int, filled: int) -> None:
    assert largest_of(length, width, filled) <= window_bytes(length, width, filled)
