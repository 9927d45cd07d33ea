"""Samples of a file, read in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.arrays import Float32s
from core.data.task_file import TaskFile

_GAP = 64  # samples between two pieces that are read with them


def read_pieces(file: TaskFile, pieces: Sequence[tuple[int, int]]) -> Iterator[Float32s]:
    """Read pieces (start, count) of a file; those that follow on each other are read together."""
    first = 0
    while first < len(pieces):
        start, count = pieces[first]
        end, after = start + count, first + 1
        while after < len(pieces) and 0 <= pieces[after][0] - end <= _GAP:
            end, after = pieces[after][0] + pieces[after][1], after + 1
        block = file.values(start, end - start)
        for at, size in pieces[first:after]:
            yield block[at - start : at - start + size]
        first = after
