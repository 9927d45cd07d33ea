"""Things that are reported once: tell the first time from later ones."""

from __future__ import annotations

from collections.abc import Hashable


class Firsts:
    """Remembers what has happened, up to ``most`` different things; None: without a limit."""

    def __init__(self, most: int | None = None) -> None:
        self._met: set[Hashable] = set()
        self._most = most

    def take(self, what: Hashable) -> bool:
        """True if ``what`` happens for the first time; never again once the limit is reached."""
        if what in self._met or len(self._met) == self._most:
            return False
        self._met.add(what)
        return True
