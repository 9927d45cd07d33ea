"""A sink of a replay without a broker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from core.errors import RunError
from replay.sink import Pair


class MemorySink:
    """Keeps the records in a list; acknowledges at once. ``fails_after`` records it behaves as a lost broker."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.records: list[Pair] = []
        self.acked: defaultdict[bytes, int] = defaultdict(int)
        self.flushes = 0
        self._fails_after = fails_after

    def send(self, records: Iterable[Pair]) -> None:
        for record in records:
            if len(self.records) == self._fails_after:
                raise RunError("the sink takes no more records")
            self.records.append(record)
            self.acked[record[0]] += 1

    def poll(self) -> None:
        return

    def flush(self) -> None:
        self.flushes += 1

    def close(self, wait_s: float) -> None:
        return
