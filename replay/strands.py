"""Streams that play sequences of different lengths side by side: each keeps its own place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.arrays import Float32s, Int64s
from replay.blocks import Block, Piece, Source

# Steps read at once for one stream, at most.
STRAND_STEPS = 4096


@dataclass(slots=True)
class _Strand:
    """The place of one stream: which of its rows it plays, the step after those read, and the samples not given out."""

    stream: int
    index: int
    row: int
    start: int
    length: int
    step: int = 0
    values: Float32s | None = None
    times_ms: Int64s | None = None

    @property
    def held(self) -> int:
        return 0 if self.values is None else len(self.values)


class StrandSource(Source):
    """A source of rows of any lengths."""

    _block_samples: int

    def read(self, first: int, end: int) -> tuple[Float32s, Int64s | None]:
        """Return the samples ``[first, end)`` of the file, (T, numbers), and their times where it has some."""
        raise NotImplementedError

    def _place(self, rows: Sequence[Sequence[int]], starts: Any, lengths: Any) -> None:
        """Say which rows each stream plays, and where each row lies."""
        self._rows, self._starts, self._lengths = rows, starts, lengths
        self.totals = [sum(int(lengths[row]) for row in own) for own in rows]

    def blocks(self, first: int) -> Iterator[Block]:
        strands = [strand for stream in range(self.streams) if (strand := self._seek(stream, first)) is not None]
        numbers = int(self.form.lengths.clip(1).sum())
        position, most = first, max(1, min(STRAND_STEPS, self._block_samples // (numbers * max(1, len(strands)))))
        while strands:
            for strand in strands:
                self._load(strand, most)
            steps = min(strand.held for strand in strands)
            begins = any(strand.step == 0 for strand in strands)
            yield Block(position, steps, [_take(strand, steps) for strand in strands], begins)
            position += steps
            strands = [moved for strand in strands if (moved := self._next(strand)) is not None]

    def _seek(self, stream: int, position: int) -> _Strand | None:
        """The strand at ``position`` of its pass; None when it has ended before."""
        strand = self._open(stream, 0)
        while strand is not None and position >= strand.length:
            position -= strand.length
            strand = self._open(stream, strand.index + 1)
        if strand is not None:
            strand.step = position
        return strand

    def _open(self, stream: int, index: int) -> _Strand | None:
        if index >= len(self._rows[stream]):
            return None
        row = int(self._rows[stream][index])
        return _Strand(stream, index, row, int(self._starts[row]), int(self._lengths[row]))

    def _next(self, strand: _Strand) -> _Strand | None:
        ended = strand.step == strand.length
        return self._open(strand.stream, strand.index + 1) if ended else strand

    def _load(self, strand: _Strand, most: int) -> None:
        if strand.held == 0:
            first = strand.start + strand.step
            strand.values, strand.times_ms = self.read(first, min(first + most, strand.start + strand.length))


def _take(strand: _Strand, steps: int) -> Piece:
    values, times_ms, end = strand.values, strand.times_ms, strand.step + steps
    assert values is not None, "it was loaded"
    now, strand.values = values[:steps], values[steps:]
    times_now = None if times_ms is None else times_ms[:steps]
    strand.times_ms = None if times_ms is None else times_ms[steps:]
    piece = Piece(strand.stream, strand.row, strand.step, now, end == strand.length, times_ms=times_now)
    strand.step = end
    return piece
