"""Remember how far a worker had read each partition some time ago: nothing has come below that since.

No wall clock takes part, so a clock that jumps evicts no live stream: streams are judged by offsets, and time by a
monotonic clock. Notes begin again with each assignment of a partition: a worker knows nothing of the time before.
"""

from __future__ import annotations

from collections import deque

GRACE_S = 5.0  # a record on its way meets its stream before the eviction
NOTES = 64  # of a partition's positions that are kept; what is idle is found this part of the time too late


class PastPositions:
    """Positions of partitions, by time.

    Args:
        idle_s: the idle timeout; a record that comes this long after its stream's last one finds no state.
    """

    def __init__(self, idle_s: float) -> None:
        self._age_s = idle_s + GRACE_S
        self._notes: dict[int, deque[tuple[float, int]]] = {}

    def note(self, partition: int, position: int, now_s: float) -> None:
        """Note that all records before ``position`` have been applied by ``now_s``, in seconds of a monotonic clock."""
        notes = self._notes.setdefault(partition, deque())
        if not notes or now_s - notes[-1][0] >= self._age_s / NOTES:
            notes.append((now_s, position))

    def idle_before(self, partition: int, now_s: float) -> int:
        """The offset below which the idle timeout and the grace have passed for every record; 0 where none is known."""
        notes = self._notes.get(partition)
        if not notes:
            return 0
        while len(notes) > 1 and now_s - notes[1][0] >= self._age_s:
            notes.popleft()
        then_s, position = notes[0]
        return position if now_s - then_s >= self._age_s else 0

    def drop(self, partition: int) -> None:
        """Forget a partition that another worker has now."""
        self._notes.pop(partition, None)
