"""A file of any task, in the one layout, as its streams play it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.arrays import Float32s, Int64s
from core.callbacks import OnNote, OnProgress
from core.data.naming import stream_name
from core.data.runs import default_streams
from core.data.task_file import TaskFile
from core.data.task_rows import own_streams
from core.errors import StartupError
from core.tasks.declaration import Declaration
from replay.form import form_of
from replay.ragged import RaggedSource

# Samples at the beginning of the longest sequence, whose times tell the pace of a file that tells no rate.
_PACE_SAMPLES = 1000


class TaskSource(RaggedSource):
    """The sequences of a file, in its order.

    Where the file names streams, each plays its own sequences. Else row i is of stream i % streams.

    Args:
        path: the file.
        task: its samples' task.
        streams: how many play side by side, where the file does not name them; None: the task's default.
        block_samples: numbers read at once, about.
        on_check: told the values checked so far and their total.

    Raises:
        DataError: the file cannot be used.
        StartupError: ``streams`` does not go with the names in the file.
    """

    def __init__(
        self, path: Path, task: Declaration, streams: int | None, block_samples: int, on_check: OnProgress
    ) -> None:
        self._notes: list[str] = []
        self._file = file = TaskFile(path, task, self._notes.append, on_check)
        self.kind, self.form, self.path, self.files = task.name, form_of(task), file.path, file.files
        sequences = file.sequences
        self.names = [each.name for each in sequences] if file.is_named else None
        try:
            own = own_streams(file, streams)
        except StartupError:
            file.close()
            raise
        self.streams = len(own) or streams or default_streams(task.name, len(sequences))
        self._own_names = own
        self.period_ms = self._period_ms()
        self._block_samples = block_samples
        self._lay_out(self._rows_of_streams(), [each.start for each in sequences], [each.count for each in sequences])

    def _rows_of_streams(self) -> list[list[int]]:
        place = {name: stream for stream, name in enumerate(self._own_names)}
        rows: list[list[int]] = [[] for _ in range(self.streams)]
        for row, sequence in enumerate(self._file.sequences):
            rows[place[sequence.stream] if place else row % self.streams].append(row)
        return rows

    def _period_ms(self) -> float:
        """The time between two samples: by the file's rate, else by its times."""
        file = self._file
        longest = max(file.sequences, key=lambda each: each.count)
        times = file.times(longest.start, min(longest.count, _PACE_SAMPLES)) if file.rate_hz is None else None
        if times is None or len(times) < 2:
            return file.period_ms
        period_ms = float(np.median(np.diff(times)))
        if period_ms <= 0:
            return file.period_ms
        self._notes.append(f"{self.path}: tells no sampling rate: its times say {1000 / period_ms:g} Hz")
        return period_ms

    def stream_name(self, stream: int) -> str:
        return self._own_names[stream] if self._own_names else stream_name(self.kind, stream, self.streams)

    def read(self, first: int, end: int) -> tuple[Float32s, Int64s | None]:
        return self._file.values(first, end - first), self._file.times(first, end - first)

    def tell(self, on_note: OnNote) -> None:
        for note in self._notes:
            on_note(note)

    def close(self) -> None:
        self._file.close()
