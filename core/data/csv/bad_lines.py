"""The lines of an import that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

from core.data.csv.names import SHOWN
from core.errors import StartupError

NAMED = 5  # bad lines, and sequences with some, in a text


@dataclass(frozen=True)
class LeftOut:
    """Lines that were left out: their number, the first few in words, and the first few sequences that lack some."""

    lines: int = 0
    named: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()


NOTHING = LeftOut()


class BadLines:
    """Counts the lines that cannot be used; the first few are named. ``skip``: they are left out, not refused."""

    def __init__(self, skip: bool) -> None:
        self._skip = skip
        self._named: list[str] = []
        self._sequences: dict[str, None] = {}
        self.count = 0

    def add(self, number: int, why: str, sequence: str = "") -> None:
        """Line ``number`` cannot be used."""
        self.count += 1
        if self.count <= NAMED:
            self._named.append(f"line {number}: {why}")
        if sequence and len(self._sequences) < NAMED:
            self._sequences[sequence[:SHOWN]] = None

    def refuse(self) -> None:
        """Raises: StartupError: there are such lines, and they are not to be left out."""
        if self.count and not self._skip:
            more = f"; and {self.count - NAMED:,} more lines" if self.count > NAMED else ""
            raise StartupError(f"{'; '.join(self._named)}{more}; --skip-bad skips such lines")

    def left_out(self) -> LeftOut:
        """The lines that were left out."""
        return LeftOut(self.count, tuple(self._named), tuple(self._sequences))
