"""Streams whose beginning cannot be read: their possible states, and from where on they are certain.

Retention, or a time range, cuts a log somewhere. A stream met behind the cut has an unknown state, so its records
cannot be judged until one of them certainly starts the stream again, whatever the state was: after a pause, or by a
name that no possible state has as its sequence (the record would then be a step or a duplicate) or as its previous one
(it would be late). A stream that starts again has no gap and no step back behind it, so these need no doubt of their
own; a counter that starts again changes no names.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from core.engines.results import StreamRules


class _Unseen(Enum):
    """A name that none of the records seen so far had."""

    NAME = "unseen"


UNSEEN = _Unseen.NAME
Name = str | _Unseen | None  # None: there is none
Names = tuple[Name, Name]
"""A stream's sequence and the one before it. They are never equal."""


class Doubt:
    """The possible states of a stream, as far as names go.

    Args:
        last_ms: no good record of the stream can have been appended later; infinite if that is not known.
        names: what they are possible to be.
    """

    __slots__ = ("_last_ms", "_names")

    def __init__(self, last_ms: float, names: Iterable[Names] = ((UNSEEN, UNSEEN),)) -> None:
        self._last_ms = last_ms
        self._names = set(names)

    def settled_by(self, sequence: str, append_ms: int, rules: StreamRules) -> frozenset[Name] | None:
        """Return the possible previous sequences if this record starts again in any case; else take the record into
        account, and return None.
        """
        if append_ms - self._last_ms > rules.idle_timeout_ms:
            return frozenset((None,))
        outcomes = [_after(names, sequence) for names in self._names]
        if all(starts for _, starts in outcomes):
            return frozenset(previous for found, _ in outcomes for _, previous in found) | {None}
        # Or, in any state, the pause before this record was long enough: who knows which record was the last good one.
        self._names = {names for found, _ in outcomes for names in found} | {(sequence, None)}
        self._last_ms = max(self._last_ms, append_ms)
        return None

    def passed_by(self, sequence: str, append_ms: int) -> None:
        """Take a record into account that cannot begin a sequence: it is a step of the one at hand, or is refused."""
        for current, previous in list(self._names):
            if sequence not in (current, previous):
                self._names |= {(sequence, previous)} if current is UNSEEN else set()
                self._names |= {(current, sequence)} if previous is UNSEEN else set()
        self._last_ms = max(self._last_ms, append_ms)


def _after(names: Names, sequence: str) -> tuple[set[Names], bool]:
    """Return the names that may hold after a record of a sequence, and True if it begins that sequence for certain."""
    current, previous = names
    if sequence in names:
        return {names}, False
    found: set[Names] = {(sequence, current)}
    if current is UNSEEN:
        found.add((sequence, previous))  # the stream was in it already
    if previous is UNSEEN:
        found.add((current, sequence))  # it was the previous one
    return found, UNSEEN not in names
