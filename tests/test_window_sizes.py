"""The room that topics must have: no window that an engine keeps, and no output that it writes, may need more."""

from __future__ import annotations

import numpy as np
import pytest

from core.engines.results import WindowRules
from core.engines.windows import CastWindow
from core.native.outputs import NamedOutputs
from core.wire.outputs import PREDICTION, SCORE, OutputField
from stream_app.sizes import output_bytes, window_bytes
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


LONGEST = "\x1f" * 255  # JSON writes six bytes for each

LARGE = (
    OutputField("forecast", tuple(f"{number:099d}é" for number in range(60))),
    OutputField("y" * 64, length=3_000, kind="float64"),
    OutputField("label", kind="text", texts=("a", "ü" * 100)),
)


@pytest.mark.parametrize("outputs", [PREDICTION, SCORE, LARGE, *((output,) for output in LARGE)])
def test_an_output_needs_no_more_than_is_asked_of_its_topic(outputs: tuple[OutputField, ...]) -> None:
    writer = NamedOutputs(outputs, "json", "0123456789ab")
    numbers = np.full(writer.width, -2.2250738585072014e-308)
    numbers[-1] = 1 if outputs[-1].kind == "text" else numbers[-1]

    found = writer.of_window(LONGEST, LONGEST, 2**53, 2**53, 2**53, 2**53, numbers, False, b"x" * 31)

    assert len(LONGEST.encode()) + len(found) <= output_bytes(outputs)


@pytest.mark.parametrize(("length", "width", "filled"), [(1, 1, 0), (60, 400, 0), (500, 5, 50), (60, 40, 1_000)])
def test_a_window_needs_no_more_than_is_asked_of_the_changelog(length: int, width: int, filled: int) -> None:
    assert largest_of(length, width, filled) <= window_bytes(length, width, filled)
