"""Lines that `send` cannot use: each kind is said once with its first line, and at the end how many more there were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

MOST_KINDS = 1000
"""The most kinds that are remembered: each line of a further kind is said, as the memory has an end."""


class FaultyLines:
    """Says what is wrong with lines, in the order of their numbers.

    Args:
        say: takes a line for a person.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._more: Counter[str] = Counter()
        self._last: dict[str, int] = {}

    def tell(self, number: int, why: str) -> None:
        """Say it, unless the same was said of an earlier line: then it is counted."""
        if why in self._last:
            self._more[why] += 1
            self._last[why] = number
            return
        if len(self._last) < MOST_KINDS:
            self._last[why] = number
        self._say(f"line {number}: {why}")

    def end(self) -> None:
        """Say how many lines were only counted."""
        for why, count in self._more.items():
            lines = (
                f"{count:,} more lines, the last of them line {self._last[why]}"
                if count > 1
                else f"line {self._last[why]} too"
            )
            self._say(f"{lines}: {why}")
