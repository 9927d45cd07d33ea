"""The pause before a fetch: at low load, chunks and produce requests gather in it.

Each turn of fetch, chunk and produce request costs a worker and the broker about the same, for one record or a hundred.
A worker that fetches at once takes record by record. One that waits some milliseconds takes what came meanwhile. Where
records come so rarely that none would, it does not wait.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


def pause_after(records: int, full: int, behind: bool, max_delay: float, passed: float) -> float:
    """Return how long after an answer the next fetch begins, in seconds.

    A chunk that is half full is followed by half of the pause, a full one by none: it has gathered already. Nor is one
    after which, at its rate, no other record would come in the pause.

    Args:
        records: that the answer brought.
        full: records of the largest chunk.
        behind: True if the log holds more: then nothing is waited for.
        max_delay: seconds that a record may wait for others at most.
        passed: seconds since the answer before, in which they came.
    """
    return 0.0 if behind or records * max_delay <= passed else max_delay * max(0.0, 1 - records / full)


@dataclass
class Pause:
    """Says when the next fetches begin. One time for all brokers and topics, so that their chunks gather in one turn.

    Args:
        max_delay: see `pause_after`.
        full: see `pause_after`.
    """

    max_delay: float
    full: int
    due: float = field(default=-math.inf, init=False)
    """Time before which no fetch begins."""
    _open: bool = field(default=True, init=False)
    _last: float = field(default=-math.inf, init=False)

    def answered(self, now: float, records: int, behind: bool) -> None:
        """A fetch was answered. The first answer since fetches began sets the time, a later one can only advance it."""
        passed, self._last = now - self._last, now
        due = now + pause_after(records, self.full, behind, self.max_delay, passed)
        self.due = due if self._open else min(self.due, due)
        self._open = False

    def began(self) -> None:
        """Fetches have begun."""
        self._open = True
