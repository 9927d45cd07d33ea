"""HDF5 file -> blocks of samples, in the order in which the streams play them, in bounded memory.

Row i of the file belongs to stream i % streams. Each stream plays its rows one after the other, all streams side by
side: position k of every stream is due at the same time, whatever row it lies in. A pass over the file ends when its
longest stream ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.arrays import Float32s, Int64s
from core.callbacks import OnNote, OnProgress, unheard
from core.data.layout import open_checked
from core.data.recording import Recording
from core.data.runs import default_streams
from core.errors import StartupError
from replay.blocks import Block, Piece, Source
from replay.form import CASTINGS, SIGNALS
from replay.ragged import RaggedSource

# Samples read at once: 8 MiB of float32 signals. At a pace nothing is sent while a block is read, so it is small: 1 ms.
BLOCK_SAMPLES = 1 << 21
PACED_BLOCK_SAMPLES = 1 << 18


class RecordingSource(Source):
    """A file in the layout of signals or of castings."""

    def __init__(self, file: Recording, rows: int, streams: int, block_samples: int) -> None:
        self.recording, self.rows, self.streams = file, rows, streams
        self.kind, self.path, self.files, self.names = file.kind, Path(file.filename), file.files, file.names
        self.period_ms = 1000.0 / file.rate_hz
        self._block_samples = block_samples

    def tell(self, on_note: OnNote) -> None:
        self.recording.tell(on_note)

    def close(self) -> None:
        self.recording.close()


def open_source(
    path: str | Path, streams: int | None = None, on_check: OnProgress = unheard, block_samples: int | None = None
) -> Source:
    """Open a file of signals or castings and check all its values.

    Args:
        path: the file.
        streams: how many streams play it side by side, 1 or more; None for the kind's default.
        on_check: told the values checked so far and their total.
        block_samples: read at once, about; None for as many as are read fastest.

    Raises:
        DataError: the file cannot be used; names the dataset.
        StartupError: ``streams`` is below 1.
    """
    check_streams(streams)
    file, kind = open_checked(path, on_check)
    rows = len(file["mixed_signals" if kind == "signal" else "cast_start"])
    streams = streams or default_streams(kind, rows)
    block_samples = block_samples or BLOCK_SAMPLES
    return (SignalSource if kind == "signal" else CastSource)(file, rows, streams, block_samples)


def check_streams(streams: int | None) -> None:
    """Raise StartupError where there would be no stream."""
    if streams is not None and streams < 1:
        raise StartupError(f"streams is {streams}: must be 1 or more")


class SignalSource(RecordingSource):
    """Signals: rows of equal length, so the streams play rounds of one row each."""

    form = SIGNALS

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


class CastSource(RecordingSource, RaggedSource):
    """Casts: rows of different lengths."""

    form = CASTINGS

    def __init__(self, file: Recording, rows: int, streams: int, block_samples: int) -> None:
        super().__init__(file, rows, streams, block_samples)
        # 16 bytes of a cast whose samples are some 6,000 in the file.
        self._lay_out(
            [range(stream, rows, streams) for stream in range(streams)], file["cast_start"], file["cast_length"]
        )

    def read(self, first: int, end: int) -> tuple[Float32s, Int64s | None]:
        return self.recording.sensors(first, end), None
