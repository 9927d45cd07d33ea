"""HDF5 file -> blocks of samples, in the order in which the streams play them, in bounded memory.

Row i of the file belongs to stream i % streams. Each stream plays its rows one after the other, all streams side by
side: position k of every stream is due at the same time, whatever row it lies in. A pass over the file ends when its
longest stream ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.arrays import Float32s
from core.callbacks import OnProgress, unheard
from core.data.layout import open_checked
from core.data.naming import stream_name
from core.data.recording import Recording
from core.data.runs import default_streams
from core.errors import StartupError
from core.wire.records import SENSORS

# Samples read at once: 8 MiB of float32 signals. At a pace nothing is sent while a block is read, so it is small: 1 ms.
BLOCK_SAMPLES = 1 << 21
PACED_BLOCK_SAMPLES = 1 << 18
CAST_STEPS = 4096

Condition = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive samples of one sequence of one stream.

    ``row`` is the row of the file, ``step`` the first sample's step in it. ``values`` are float32, (steps,) of a
    signal, (steps, 5) of a cast in the order of ``SENSORS``; ``condition`` are the four floats of a signal.
    ``ends``: the last sample is the last of the sequence.
    """

    stream: int
    row: int
    step: int
    values: Float32s
    ends: bool
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Positions ``first`` to ``first + steps`` of all streams that have samples there, one piece for each.

    ``begins`` says that a sequence begins at ``first``: it never does further on.
    """

    first: int
    steps: int
    pieces: list[Piece]
    begins: bool


class Source:
    """A file being replayed. ``totals`` has the samples of each stream in one pass."""

    totals: list[int]

    def __init__(self, file: Recording, rows: int, streams: int, block_samples: int) -> None:
        self.recording, self.rows, self.streams = file, rows, streams
        self.period_ms = 1000.0 / file.rate_hz
        self._block_samples = block_samples

    def stream_name(self, stream: int) -> str:
        """The stream's name on the wire."""
        return stream_name(self.recording.kind, stream, self.streams)

    def blocks(self, first: int) -> Iterator[Block]:
        """Make one pass over the file, from position ``first`` on."""
        raise NotImplementedError


def open_source(
    path: str | Path, streams: int | None = None, on_check: OnProgress = unheard, block_samples: int | None = None
) -> Source:
    """Open a file of either kind and check all its values.

    Args:
        path: the file.
        streams: how many streams play it side by side, 1 or more; None for the kind's default.
        on_check: told the values checked so far and their total.
        block_samples: read at once, about; None for as many as are read fastest.

    Raises:
        DataError: the file cannot be used; names the dataset.
        StartupError: ``streams`` is below 1.
    """
    if streams is not None and streams < 1:
        raise StartupError(f"streams is {streams}: must be 1 or more")
    file, kind = open_checked(path, on_check)
    rows = len(file["mixed_signals" if kind == "signal" else "cast_start"])
    streams = streams or default_streams(kind, rows)
    block_samples = block_samples or BLOCK_SAMPLES
    return (SignalSource if kind == "signal" else CastSource)(file, rows, streams, block_samples)


class SignalSource(Source):
    """Signals: rows of equal length, so the streams play rounds of one row each."""

    def __init__(self, file: Recording, rows: int, streams: int, block_samples: int) -> None:
        super().__init__(file, rows, streams, block_samples)
        self._signals = file.values("mixed_signals")
        self._conditions = file.values("condition_vectors")
        self._steps = self._signals.shape[1]
        self.totals = [len(range(stream, rows, streams)) * self._steps for stream in range(streams)]

    def blocks(self, first: int) -> Iterator[Block]:
        size = self._block_steps()
        for position in range(first // self._steps * self._steps, max(self.totals), self._steps):
            rows = range(position // self._steps * self.streams, self.rows)[: self.streams]
            conditions = [(c1, c2, c3, c4) for c1, c2, c3, c4 in self._conditions[rows.start : rows.stop].tolist()]
            skipped = max(0, first - position)
            for start in range(skipped // size * size, self._steps, size):
                begin, end = max(start, skipped), min(start + size, self._steps)
                values = self._signals[rows.start : rows.stop, begin:end].astype(np.float32)
                pieces = [
                    Piece(index, row, begin, values[index], end == self._steps, conditions[index])
                    for index, row in enumerate(rows)
                ]
                yield Block(position + begin, end - begin, pieces, begins=begin == 0)

    def _block_steps(self) -> int:
        """Steps read at once: whole chunks of the file where they fit."""
        chunk = self._signals.chunks[1] if self._signals.chunks else 1
        most = max(1, self._block_samples // min(self.streams, self.rows))
        return int(min(self._steps, most // chunk * chunk or most))


@dataclass(slots=True)
class _Strand:
    """The place of one strand: the row it plays, the step after those read, and the samples read but not given out."""

    stream: int
    row: int
    start: int
    length: int
    step: int = 0
    values: Float32s = field(default_factory=lambda: np.empty((0, len(SENSORS)), np.float32))


class CastSource(Source):
    """Casts: rows of different lengths, so each strand keeps its own place."""

    def __init__(self, file: Recording, rows: int, streams: int, block_samples: int) -> None:
        super().__init__(file, rows, streams, block_samples)
        # 16 bytes of a cast whose samples are some 6,000 in the file.
        self._starts, self._lengths = file["cast_start"], file["cast_length"]
        self.totals = [int(self._lengths[stream::streams].sum()) for stream in range(streams)]

    def blocks(self, first: int) -> Iterator[Block]:
        strands = [strand for stream in range(self.streams) if (strand := self._seek(stream, first)) is not None]
        position, most = first, max(1, min(CAST_STEPS, self._block_samples // (len(SENSORS) * max(1, len(strands)))))
        while strands:
            for strand in strands:
                self._load(strand, most)
            steps = min(len(strand.values) for strand in strands)
            begins = any(strand.step == 0 for strand in strands)
            yield Block(position, steps, [_take(strand, steps) for strand in strands], begins)
            position += steps
            strands = [moved for strand in strands if (moved := self._next(strand)) is not None]

    def _seek(self, stream: int, position: int) -> _Strand | None:
        """The strand at ``position`` of its pass; None when it has ended before."""
        strand = self._open(stream, stream)
        while strand is not None and position >= strand.length:
            position -= strand.length
            strand = self._open(stream, strand.row + self.streams)
        if strand is not None:
            strand.step = position
        return strand

    def _open(self, stream: int, row: int) -> _Strand | None:
        if row >= self.rows:
            return None
        return _Strand(stream, row, int(self._starts[row]), int(self._lengths[row]))

    def _next(self, strand: _Strand) -> _Strand | None:
        ended = strand.step == strand.length
        return self._open(strand.stream, strand.row + self.streams) if ended else strand

    def _load(self, strand: _Strand, most: int) -> None:
        if len(strand.values) == 0:
            first = strand.start + strand.step
            end = min(first + most, strand.start + strand.length)
            strand.values = self.recording.sensors(first, end)


def _take(strand: _Strand, steps: int) -> Piece:
    end = strand.step + steps
    piece = Piece(strand.stream, strand.row, strand.step, strand.values[:steps], end == strand.length)
    strand.values, strand.step = strand.values[steps:], end
    return piece
