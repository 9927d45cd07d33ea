"""The lines of an import that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

from core.data.csv.names import SHOWN
from core.errors import StartupError

NAMED = 5  # bad lines, and sequences with some, in a text


@dataclass(frozen=True)
class LeftOut:
    """The skipped lines: their number, the first few in words, and the first few sequences that lack some.

    ``what`` one is called.
    """

    lines: int = 0
    named: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    what: str = "line"


NOTHING = LeftOut()


class BadLines:
    """Counts the lines that cannot be used, and names the first few. With ``skip`` they are skipped, not refused.

    ``what`` a line is called: a table has rows.
    """

    def __init__(self, skip: bool, what: str = "line") -> None:
        self._skip, self.what = skip, what
        self._named: list[str] = []
        self._sequences: dict[str, None] = {}
        self.count = 0

    def add(self, number: int, why: str, sequence: str = "") -> None:
        """Line ``number`` cannot be used."""
        self.count += 1
        if self.count <= NAMED:
            self._named.append(f"{self.what} {number}: {why}")
        if sequence and len(self._sequences) < NAMED:
            self._sequences[sequence[:SHOWN]] = None

    def refuse(self) -> None:
        """Raise StartupError if there are bad lines that must not be skipped."""
        if self.count and not self._skip:
            more = f"; and {self.count - NAMED:,} more {self.what}s" if self.count > NAMED else ""
            raise StartupError(f"{'; '.join(self._named)}{more}; --skip-bad skips such {self.what}s")

    def left_out(self) -> LeftOut:
        """Return the skipped lines."""
        return LeftOut(self.count, tuple(self._named), tuple(self._sequences), self.what)
