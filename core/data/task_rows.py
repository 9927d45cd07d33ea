"""Names and times of a task file's sequences, as a replay with the same arguments gives them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from core.arrays import Int64s
from core.data.naming import SequenceNames, stream_name
from core.data.runs import default_streams, event_times_ms, run_start_ms
from core.data.task_file import TaskFile
from core.errors import StartupError

OFFLINE = "offline"


def own_streams(file: TaskFile, streams: int | None) -> list[str]:
    """The streams that a file names, in the order in which they come; none where it names none.

    Args:
        file: an open one.
        streams: how many somebody wants; None: as many as there are.

    Raises:
        StartupError: ``streams`` is below 1, or not what the file has.
    """
    if streams is not None and streams < 1:
        raise StartupError(f"streams is {streams}: must be 1 or more")
    named = list(dict.fromkeys(sequence.stream for sequence in file.sequences if sequence.stream))
    if named and streams not in (None, len(named)):
        raise StartupError(f"streams is {streams}: the file names {len(named)} streams, leave it out")
    return named


class TaskRows:
    """The rows of a file are its sequences, in their order.

    Args:
        file: an open one.
        run: first part of the sequences' names; None: none where the file names them, else ``offline``.
        streams: how many play side by side, where the file does not name them; None: the task's default.
        start_ms: event time of the first samples, where the file has no times; None: what ``run`` says, else 0.

    Raises:
        StartupError: ``streams`` is below 1, or not what the file has; a name becomes too long.
    """

    def __init__(self, file: TaskFile, run: str | None, streams: int | None, start_ms: int | None) -> None:
        own_streams(file, streams)
        self._file, self.count = file, len(file.sequences)
        own = [sequence.name for sequence in file.sequences] if file.is_named else None
        self.names = SequenceNames((OFFLINE if own is None else "") if run is None else run, own)
        self.start_ms = (run_start_ms(run or "") or 0) if start_ms is None else start_ms
        self._streams = streams or default_streams(file.declaration.name, self.count)
        self._positions = self._count_positions()

    def stream(self, row: int) -> str:
        """The stream that plays a row."""
        return self._file.sequences[row].stream or stream_name(self._file.declaration.name, row, self._streams)

    def sequence(self, row: int) -> str:
        """The name of the sequence that a row is."""
        return self.names.name(row)

    def times_ms(self, row: int, step: int, count: int) -> Int64s:
        """The event times of ``count`` steps of a row, from ``step`` on."""
        found = self._file.times(self._file.sequences[row].start + step, count)
        if found is None:
            position = self._positions[row] + step
            found = np.array(event_times_ms(self.start_ms, position, count, self._file.period_ms), np.int64)
        return found

    def _count_positions(self) -> list[int]:
        """The samples of each row's stream before that row."""
        played: dict[str, int] = defaultdict(int)
        found = []
        for row, sequence in enumerate(self._file.sequences):
            stream = self.stream(row)
            found.append(played[stream])
            played[stream] += sequence.count
        return found
