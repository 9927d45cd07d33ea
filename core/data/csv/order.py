"""The order of a file's lines: by steps, by times, or as they stand."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.arrays import Int64s
from core.errors import RecordError

# Places where a line does not follow on the one before; 40 bytes are kept of each.
MAX_RUNS = 20_000_000
By = Literal["step", "time", "line"]


@dataclass(frozen=True)
class Sorted:
    """Rows in order, sequence by sequence.

    ``places`` are the rows in that order, None where they stand so already; ``sequences`` the sequences in the order of
    their first samples, with ``lengths``. ``gaps`` counts the steps that are missing inside sequences. ``repeats`` are
    the lines (with sequence and key) at which steps come a second time, whose rows are left out; or, by time, at which
    times go backwards so that no order is certain. ``turned``: the file was newest first.
    """

    places: Int64s | None
    sequences: Int64s
    lengths: Int64s
    gaps: int
    repeats: tuple[tuple[int, int, int], ...]  # line, sequence, key
    turned: bool = False

    def blocks(self, rows: int) -> Iterator[tuple[int, int, Int64s | slice]]:
        """Give, ``rows`` rows at a time, where they go (first, end) and where they come from."""
        total = int(self.lengths.sum())
        for first in range(0, total, rows):
            end = min(total, first + rows)
            yield first, end, self.taken(first, end)

    def taken(self, first: int, end: int) -> Int64s | slice:
        """The places from which the rows ``first`` to ``end`` of the result come."""
        return slice(first, end) if self.places is None else self.places[first:end]


class Order:
    """The order of the lines, as runs: neighbouring lines of one sequence that follow on each other."""

    def __init__(self, by: By) -> None:
        self.by = by
        self._sequence, self._first, self._last = array("q"), array("q"), array("q")
        self._line, self._row = array("q"), array("q")
        self._rows = 0
        self._latest: dict[int, int] = {}
        self._later = self._earlier = 0

    def add(self, sequence: int, key: int, line: int) -> None:
        """The next line belongs to ``sequence``, at the step or time ``key``; raises RecordError: too much disorder."""
        if self.by == "time":
            latest = self._latest.get(sequence, key)
            self._later += key > latest
            self._earlier += key < latest
            self._latest[sequence] = key
        if not self._follows(sequence, key):
            self._begin(sequence, key, line)
        self._last[-1] = key
        self._rows += 1

    def _follows(self, sequence: int, key: int) -> bool:
        if not self._row or self._sequence[-1] != sequence:
            return False
        return key == self._last[-1] + 1 if self.by == "step" else key >= self._last[-1]

    def _begin(self, sequence: int, key: int, line: int) -> None:
        if len(self._row) == MAX_RUNS:
            raise RecordError("wrong_type", f"more than {MAX_RUNS:,} lines out of order: sort the file by sequence")
        for values, value in (
            (self._sequence, sequence),
            (self._first, key),
            (self._last, key),
            (self._line, line),
            (self._row, self._rows),
        ):
            values.append(value)

    def sort(self) -> Sorted:
        """The order of all rows."""
        if self._earlier and not self._later:
            return self._turn_round()
        sequence, first, row = (np.array(each) for each in (self._sequence, self._first, self._row))
        rows = np.diff(np.append(row, self._rows))
        order = np.lexsort((first, sequence))  # stable: of equal steps the earlier line comes first
        inside = np.diff(sequence[order]) == 0
        wrong = order[1:][inside & self._wrong(order)]
        gaps = 0
        if self.by == "step":
            missing = first[order][1:] - (first + rows)[order][:-1]
            gaps = int(missing[inside].sum())
        repeats = tuple(sorted((self._line[run], self._sequence[run], self._first[run]) for run in wrong.tolist()))
        if repeats and self.by == "step":
            return self._without_repeats(sequence, first, row, rows, repeats)
        places = _places(row[order], rows[order]) if (np.diff(order) < 0).any() else None
        return _sorted(places, sequence, rows, gaps, repeats)

    def _wrong(self, order: Int64s) -> NDArray[np.bool_]:
        """Find the runs that begin before the one before them has ended."""
        first, last = np.array(self._first)[order][1:], np.array(self._last)[order][:-1]
        if self.by == "line":
            return np.zeros(len(first), bool)
        # In a file whose times never go backwards, equal ones stand in their order.
        return np.asarray(first < last if self.by == "time" and not self._earlier else first <= last)

    def _without_repeats(
        self,
        sequence: Int64s,
        first: Int64s,
        row: Int64s,
        rows: Int64s,
        repeats: tuple[tuple[int, int, int], ...],
    ) -> Sorted:
        """Keep the first line of equal steps."""
        steps = np.repeat(first - row, rows) + np.arange(self._rows)
        which = np.repeat(sequence, rows)
        order = np.lexsort((steps, which))
        again = np.append(False, (np.diff(steps[order]) == 0) & (np.diff(which[order]) == 0))
        kept = order[~again]
        missing = np.diff(steps[kept])[np.diff(which[kept]) == 0] - 1
        return _sorted(kept, which[kept], np.ones(len(kept), np.int64), int(missing.sum()), repeats)

    def _turn_round(self) -> Sorted:
        """The whole file is newest first: the last line is the first sample."""
        sequence, row = np.array(self._sequence)[::-1], np.array(self._row)
        rows = np.diff(np.append(row, self._rows))[::-1]
        names, begins = np.unique(sequence, return_index=True)
        rank = np.empty(int(names[-1]) + 1, np.int64)
        rank[names[np.argsort(begins)]] = np.arange(len(names))
        order = np.lexsort((np.arange(len(sequence)), rank[sequence]))
        ends = (row[::-1] + rows)[order]  # a run's rows go from here down
        counts = rows[order]
        steps = np.arange(self._rows) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.repeat(ends - 1, counts) - steps
        lengths = np.bincount(rank[sequence], weights=rows).astype(np.int64)
        return Sorted(places, names[np.argsort(begins)], lengths, 0, (), turned=True)


def _sorted(
    places: Int64s | None,
    sequence: Int64s,
    rows: Int64s,
    gaps: int,
    repeats: tuple[tuple[int, int, int], ...] = (),
) -> Sorted:
    lengths = np.bincount(sequence, weights=rows).astype(np.int64)
    sequences = np.flatnonzero(lengths)
    return Sorted(places, sequences, lengths[sequences], gaps, repeats)


def _places(first: Int64s, rows: Int64s) -> Int64s:
    """The places of all rows of runs, one run after the other."""
    ends = np.cumsum(rows)
    places: Int64s = np.repeat(first - (ends - rows), rows) + np.arange(ends[-1])
    return places
