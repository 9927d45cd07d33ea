"""How many records have come into a source and out of its output topic, once a second: rates, and what waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

import numpy as np
from background import Background
from latencies import Ends, ends
from numpy.typing import NDArray

from core.errors import RunError
from stream_app.clients.admin import Cluster
from stream_app.settings import Settings

EVERY_S = 1.0
QUIET_S = 60.0
MOST = 400


class Flow(Background):
    """Counts records in a thread of its own while the context is open; every record in gives one out.

    Shapes: N looks.
    """

    def __init__(self, settings: Settings, source: str, output: str) -> None:
        super().__init__()
        self._settings = settings
        self._topics = (settings.topic(source), settings.topic(output))
        self._cluster = Cluster(settings)
        self._began = tuple(ends(settings, topic) for topic in self._topics)
        self._started = time.monotonic()
        self._looks: list[tuple[float, int, int]] = []

    def now_s(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._started

    def waiting(self) -> int:
        """Records in less records out, now."""
        _, came, went = self._look()
        return came - went

    def wait_until_done(self, check: Callable[[], None]) -> None:
        """Until nothing waits, and the looks know it.

        Raises:
            RunError: nothing new comes out; or what ``check`` raises.
        """
        went, since = -1, time.monotonic()
        while self._looks[-1][1] > self._looks[-1][2] or not self._looks[-1][1]:
            check()
            if self._looks[-1][2] > went:
                went, since = self._looks[-1][2], time.monotonic()
            if time.monotonic() - since > QUIET_S:
                raise RunError(f"{self._topics[1]}: nothing new for {QUIET_S:g} s, {self.waiting():,} records wait")
            time.sleep(0.2)

    def left_by_partition(self) -> list[int]:
        """Records in less records out; all 0 when each has one output."""
        came, went = (self._since(topic, began) for topic, began in zip(self._topics, self._began, strict=True))
        return [a - b for a, b in zip(came, went, strict=True)]

    def _since(self, topic: str, began: Ends) -> list[int]:
        return [end - begin for end, begin in zip(ends(self._settings, topic), began, strict=True)]

    def rate_out(self, begin_s: float, end_s: float) -> float:
        """Records per second that came out between two times."""
        at_s, _, went = self._columns()
        first, last = np.interp((begin_s, end_s), at_s, went)
        return float(last - first) / (end_s - begin_s)

    def rate_while_waiting(self) -> float:
        """Records per second that came out from when the most waited until a tenth of that did."""
        at_s, came, went = self._columns()
        waiting = came - went
        first = int(np.argmax(waiting))
        last = first + int(np.argmax(waiting[first:] <= 0.1 * waiting[first]))
        if last - first < 2:
            raise RunError("all records were done at once: too few to be timed")
        return float((went[last] - went[first]) / (at_s[last] - at_s[first]))

    def most_waiting(self) -> int:
        """Records in less records out, at its most."""
        _, came, went = self._columns()
        return int((came - went).max())

    def done_s(self) -> float:
        """When nothing waited any more."""
        at_s, came, went = self._columns()
        done = np.flatnonzero(went >= came[-1])
        return float(at_s[done[0]])

    def rates(self) -> dict[str, list[float]]:
        """``at_s``, ``in_per_s``, ``out_per_s``, ``waiting``, for JSON."""
        at_s, came, went = (column[:: max(1, -(-len(self._looks) // MOST))] for column in self._columns())
        spans = np.maximum(np.diff(at_s), 1e-9)
        columns = {
            "at_s": at_s[1:],
            "in_per_s": np.diff(came) / spans,
            "out_per_s": np.diff(went) / spans,
            "waiting": (came - went)[1:],
        }
        return {name: values.round(1).tolist() for name, values in columns.items()}

    def _columns(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        looks = np.array(self._looks, float)
        return looks[:, 0], looks[:, 1], looks[:, 2]

    def _look(self) -> tuple[float, int, int]:
        at_s = self.now_s()
        there = self._cluster.offsets(dict.fromkeys(self._topics, self._settings.partitions))
        came, went = (there[topic] - sum(began) for topic, began in zip(self._topics, self._began, strict=True))
        return at_s, came, went

    def work(self) -> None:
        """Count."""
        while not self.over.wait(max(0.0, EVERY_S - self.now_s() % EVERY_S)):
            self._looks.append(self._look())

    def __enter__(self) -> Self:
        self._looks.append(self._look())
        return super().__enter__()
