"""A case: something that went wrong for somebody, played on this version and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.cases.room import Room

Play = Callable[[Room], str]


class CaseError(AssertionError):
    """The case is not right; the text says what happened."""


@dataclass(frozen=True)
class Case:
    """One case.

    ``number``: ``data-01`` or ``ops-03``. ``tried``: what a user did. ``before``: what happened in version 0.1.
    ``play``: does it again and returns what happens now; raises `CaseError`. ``slow``: needs a broker or whole
    processes for more than a few seconds, so it is played by ``make cases`` and not by the quick tests.
    """

    number: str
    tried: str
    before: str
    play: Play
    slow: bool = False


CASES: dict[str, Case] = {}


def case(number: str, *, tried: str, before: str, slow: bool = False) -> Callable[[Play], Play]:
    """Make a case of a function that plays it."""

    def register(play: Play) -> Play:
        if number in CASES:
            raise ValueError(f"case {number} is there twice")
        CASES[number] = Case(number, tried, before, play, slow)
        return play

    return register


def expect(right: object, happened: str) -> None:
    """Raise `CaseError`, with what happened, where it is not right."""
    if not right:
        raise CaseError(happened)
