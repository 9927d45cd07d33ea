"""What the demo says of a machine that cannot keep up."""

from __future__ import annotations

import pytest

from stream_app.demo.live_view import lag_words


@pytest.mark.parametrize(
    ("sent", "seen", "seconds", "said"),
    [
        (0, 0, 3.0, ""),
        (20_000, 19_000, 1.0, ""),
        (200_000, 165_000, 10.0, ""),
        (200_000, 120_000, 10.0, "; this machine is busy: predictions come 4 s late"),
    ],
)
def test_the_view_says_that_predictions_are_seconds_behind(sent: int, seen: int, seconds: float, said: str) -> None:
    assert lag_words(sent, seen, seconds) == said
