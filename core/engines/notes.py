"""Lines of the log that are written at the first time of an event only."""

from __future__ import annotations

from collections.abc import Callable

from core.models.ranges import Outside


def outside_note(found: Outside, place_of: Callable[[int], tuple[str, int]]) -> str:
    """The line about the first value of a field that is far outside."""
    stream, step = place_of(found.place)
    outside = "outside its normal range" if found.normal else "far outside what the model was trained on"
    return (
        f"{found.field} of stream {stream!r} at step {step} is {found.seen}, {outside} ({found.expected}): look at its "
        "unit and its sensor; from here on such values are only counted"
    )


def not_finite_note(what: str, stream: str, step: int) -> str:
    """The line about the first output without a number."""
    return (
        f"the {what} of stream {stream!r} at step {step} is not finite and is published as null: the model overflows "
        "on such values, or cannot be run with them; from here on such outputs are only counted"
    )
