"""Looks at a worker, every few seconds over a long run: memory, file descriptors, threads, tasks, CPU, lag, latency."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil
from background import Background
from flatness import quantile
from live_worker import LiveWorker, Scrape
from numpy.typing import NDArray

from stream_app.routes import SIGNAL_PREDICTIONS
from stream_app.settings import Settings

PROGRAM = str(Path(__file__).resolve().parent / "watched_worker.py")
LATENCY = "caststream_latency_seconds_bucket"
OUTCOMES = ("processed", "duplicate", "late", "dead_letter")


def watched(settings: Settings, directory: Path) -> LiveWorker:
    """A worker, not started yet, that tells how many asyncio tasks it has; the directory is its own."""
    directory.mkdir(parents=True, exist_ok=True)
    return LiveWorker(settings, directory, (sys.executable, PROGRAM, str(tasks_file(directory))))


def tasks_file(directory: Path) -> Path:
    """Where such a worker writes its number of tasks."""
    return directory / "tasks"


class Looks(Background):
    """Looks at one worker in a thread of their own while the context is open; the worker runs.

    ``columns`` holds, by name, a value for each look; ``at_s`` are seconds since the first. A worker that has ended
    ends the looks: `LiveWorker.require_running` tells it.
    """

    def __init__(self, worker: LiveWorker, directory: Path, every_s: float, broker_data: Path | None = None) -> None:
        super().__init__()
        self.columns: dict[str, list[float]] = {}
        self.latencies: list[tuple[float, NDArray[np.float64]]] = []
        self._worker = worker
        self._tasks = tasks_file(directory)
        self._every_s = every_s
        self._broker_data = broker_data
        self._process: psutil.Process | None = None
        self._bounds: tuple[float, ...] = ()

    def latency_ms(self, share: float, begin_s: float = 0.0, end_s: float = math.inf) -> float | None:
        """A quantile of the signal outputs between two times, as far as looks tell; None where there are none."""
        until = [counts for at_s, counts in self.latencies if at_s <= end_s]
        if not until:
            return None
        before = [counts for at_s, counts in self.latencies if at_s <= begin_s]
        found = quantile(self._bounds, until[-1] - (before[-1] if before else 0), share)
        return None if found is None else 1000 * found

    def by_minute(self, length_s: float = 60.0) -> dict[str, list[float]]:
        """``at_s`` (the end), ``p50_ms`` and ``p99_ms`` of each minute that had outputs."""
        found: dict[str, list[float]] = {"at_s": [], "p50_ms": [], "p99_ms": []}
        last_s = self.latencies[-1][0] if self.latencies else 0.0
        for begin_s in np.arange(0.0, last_s - length_s / 2, length_s):
            p50, p99 = (self.latency_ms(share, begin_s, begin_s + length_s) for share in (0.5, 0.99))
            if p50 is not None and p99 is not None:
                for name, value in (("at_s", begin_s + length_s), ("p50_ms", p50), ("p99_ms", p99)):
                    found[name].append(float(value))
        return found

    def last(self, name: str) -> float:
        """The newest value of a column; NaN before the first look."""
        return self.columns.get(name, [math.nan])[-1]

    def work(self) -> None:
        """Look."""
        started = time.monotonic()
        self._process = psutil.Process(self._worker.pid)
        while True:
            try:
                seen = self._from_outside() | self._from_metrics(time.monotonic() - started)
            except psutil.Error:
                return
            except OSError:  # one answer that does not come is no end of an hour's looks
                if not self._worker.running:
                    return
            else:
                for name, value in seen.items():
                    self.columns.setdefault(name, []).append(value)
            if self.over.wait(max(0.0, self._every_s - (time.monotonic() - started) % self._every_s)):
                return

    def _from_outside(self) -> dict[str, float]:
        """Before the metrics are asked for: that needs a connection, which is a file descriptor."""
        assert self._process is not None
        with self._process.oneshot():
            spent = self._process.cpu_times()
            seen = {
                "rss_bytes": float(self._process.memory_info().rss),
                "fds": float(self._process.num_fds()),
                "threads": float(self._process.num_threads()),
                "cpu_s": spent.user + spent.system,
            }
        seen["tasks"] = read_count(self._tasks)
        if self._broker_data is not None:
            seen |= {f"{name}_disk_bytes": float(size) for name, size in disk_bytes(self._broker_data).items()}
        return seen

    def _from_metrics(self, at_s: float) -> dict[str, float]:
        scrape = self._worker.scrape()
        bounds, counts = buckets(scrape, self._worker.settings.topic(SIGNAL_PREDICTIONS))
        if bounds:  # there is no histogram before the first output
            self._bounds = bounds
            self.latencies.append((at_s, counts))
        return {"at_s": at_s} | from_metrics(scrape)


def from_metrics(scrape: Scrape) -> dict[str, float]:
    """What a run is watched for."""
    records = {outcome: scrape.get("caststream_records_total", outcome=outcome) for outcome in OUTCOMES}
    return {
        "lag": scrape.get("caststream_consumer_lag_records"),
        "active_streams": scrape.get("caststream_active_streams"),
        "commit_age_s": scrape.get("caststream_commit_age_seconds"),
        "scores": scrape.get("caststream_scores_total"),
        **records,
    }


def buckets(scrape: Scrape, topic: str) -> tuple[tuple[float, ...], NDArray[np.float64]]:
    """Upper bounds (s, ascending) and counts of the latency histogram of an output topic; empty where it has none."""
    sums = {
        float(dict(labels)["le"]): value
        for (name, labels), value in scrape.samples.items()
        if name == LATENCY and dict(labels).get("topic") == topic
    }
    bounds = tuple(sorted(sums))
    return bounds, np.diff([0.0, *(sums[bound] for bound in bounds)])


def disk_bytes(data: Path) -> dict[str, int]:
    """Bytes of the broker's topics on disk: ``changelogs`` and all others, ``topics``."""
    found = {"changelogs": 0, "topics": 0}
    for path in data.glob("*-[0-9]*/*"):
        try:
            found["changelogs" if "-changelog-" in path.parent.name else "topics"] += path.stat().st_blocks * 512
        except OSError:
            continue  # deleted since it was listed
    return found


def read_count(path: Path) -> float:
    """What `watched_worker.py` has written; NaN where it has not yet."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return math.nan


def thinned(columns: Mapping[str, Sequence[float]], most: int = 400) -> dict[str, list[float]]:
    """Every n-th look, so that results stay small."""
    count = len(columns.get("at_s", ()))
    every = max(1, -(-count // most))
    return {name: [round(float(value), 4) for value in values[:count:every]] for name, values in columns.items()}


def cores(columns: Mapping[str, Sequence[float]]) -> float:
    """CPU seconds per second over all looks."""
    spent, times = columns["cpu_s"], columns["at_s"]
    return (spent[len(times) - 1] - spent[0]) / (times[-1] - times[0])
