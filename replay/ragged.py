"""Streams that play sequences of different lengths side by side: each keeps its own place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.arrays import Float32s, Int64s
from replay.blocks import Block, Piece, Source

# Steps read at once for one stream, at most.
MOST_STEPS = 4096


@dataclass(slots=True)
class _Place:
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


class RaggedSource(Source):
    """A source of rows of any lengths."""

    _block_samples: int

    def read(self, first: int, end: int) -> tuple[Float32s, Int64s | None]:
        """Return the samples ``[first, end)`` of the file, (T, numbers), and their times where it has some."""
        raise NotImplementedError

    def _lay_out(self, rows: Sequence[Sequence[int]], starts: Any, lengths: Any) -> None:
        """Say which rows each stream plays, and where each row lies."""
        self._rows, self._starts, self._lengths = rows, starts, lengths
        self.totals = [sum(int(lengths[row]) for row in own) for own in rows]

    def blocks(self, first: int) -> Iterator[Block]:
        places = [place for stream in range(self.streams) if (place := self._seek(stream, first)) is not None]
        numbers = int(self.form.lengths.clip(1).sum())
        position, most = first, max(1, min(MOST_STEPS, self._block_samples // (numbers * max(1, len(places)))))
        while places:
            for place in places:
                self._load(place, most)
            steps = min(place.held for place in places)
            begins = any(place.step == 0 for place in places)
            yield Block(position, steps, [_take(place, steps) for place in places], begins)
            position += steps
            places = [moved for place in places if (moved := self._next(place)) is not None]

    def _seek(self, stream: int, position: int) -> _Place | None:
        """The place at ``position`` of its pass; None when it has ended before."""
        place = self._open(stream, 0)
        while place is not None and position >= place.length:
            position -= place.length
            place = self._open(stream, place.index + 1)
        if place is not None:
            place.step = position
        return place

    def _open(self, stream: int, index: int) -> _Place | None:
        if index >= len(self._rows[stream]):
            return None
        row = int(self._rows[stream][index])
        return _Place(stream, index, row, int(self._starts[row]), int(self._lengths[row]))

    def _next(self, place: _Place) -> _Place | None:
        ended = place.step == place.length
        return self._open(place.stream, place.index + 1) if ended else place

    def _load(self, place: _Place, most: int) -> None:
        if place.held == 0:
            first = place.start + place.step
            place.values, place.times_ms = self.read(first, min(first + most, place.start + place.length))


def _take(place: _Place, steps: int) -> Piece:
    values, times_ms, end = place.values, place.times_ms, place.step + steps
    assert values is not None, "it was loaded"
    now, place.values = values[:steps], values[steps:]
    times_now = None if times_ms is None else times_ms[:steps]
    place.times_ms = None if times_ms is None else times_ms[steps:]
    piece = Piece(place.stream, place.row, place.step, now, end == place.length, times_ms=times_now)
    place.step = end
    return piece
