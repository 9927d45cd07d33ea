"""Whether anything holds a worker's event loop: asked from outside, again and again, how long it takes to answer."""

from __future__ import annotations

import http.client
import time

import numpy as np
from background import Background
from latencies import near_commits
from live_worker import LiveWorker
from numpy.typing import NDArray

from core.errors import RunError

PING_S = 0.01


class Pings(Background):
    """Requests to a worker's /healthz, one after the other with a pause, while the context is open."""

    def __init__(self, worker: LiveWorker) -> None:
        super().__init__()
        self.asked_ms: list[int] = []
        self.took_ms: list[float] = []
        self._worker = worker

    def summary(self, commits: NDArray[np.int64]) -> dict[str, float | int | None]:
        """The longest answers (ms) to what was asked around commits (`latencies.commit_spans`) and else, and the p99.

        Raises:
            RunError: nothing was answered.
        """
        took_ms = np.array(self.took_ms)
        if not len(took_ms):
            raise RunError("the worker has answered no request")
        near = near_commits(np.array(self.asked_ms), commits)
        return {
            "longest_ms": float(took_ms.max()),
            "longest_near_commits_ms": float(took_ms[near].max()) if near.any() else None,
            "longest_else_ms": float(took_ms[~near].max()) if (~near).any() else None,
            "p99_ms": float(np.percentile(took_ms, 99)),
            "asked": len(took_ms),
        }

    def work(self) -> None:
        """Ask."""
        settings = self._worker.settings
        connection = http.client.HTTPConnection(settings.metrics_host, settings.metrics_port, timeout=60)
        while not self.over.wait(PING_S):
            asked_ms, started = time.time_ns() // 1_000_000, time.perf_counter()
            try:
                connection.request("GET", "/healthz")
                connection.getresponse().read()
            except OSError:
                return  # it has ended: told by whoever waits for its outputs
            self.asked_ms.append(asked_ms)
            self.took_ms.append(1000 * (time.perf_counter() - started))
        connection.close()
