"""Threads that run beside a load: looks at a worker, requests to it, counts of a topic's records.

`Looks`: memory, file descriptors, threads, tasks, CPU, lag, latency every few seconds. `Pings`: how long a worker's
event loop is held, seen from outside. `Flow`: records into a source and out of its output topic, once a second.
"""

from __future__ import annotations

import http.client
import math
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import psutil
from flatness import quantile
from live_worker import LiveWorker, Scrape
from loads import Ends, ends, near_commits
from numpy.typing import NDArray

from core.errors import RunError
from stream_app.clients.admin import Cluster
from stream_app.routes import SIGNAL_PREDICTIONS
from stream_app.settings import Settings


class Background:
    """Runs `work` in a thread while the context is open; `over` is set when it is to end."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.work, daemon=True)

    def work(self) -> None:
        """The work of a subclass, until ``over``."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._thread.join()


PROGRAM = str(Path(__file__).resolve().parent / "instrumented_worker.py")
LATENCY = "caststream_latency_seconds_bucket"
OUTCOMES = ("processed", "duplicate", "late", "dead_letter")


def watched(settings: Settings, directory: Path) -> LiveWorker:
    """A worker, not started yet, that tells how many asyncio tasks it has; the directory is its own."""
    directory.mkdir(parents=True, exist_ok=True)
    return LiveWorker(settings, directory, (sys.executable, PROGRAM, "tasks", str(tasks_file(directory))))


def tasks_file(directory: Path) -> Path:
    """Return the file into which such a worker writes its number of tasks."""
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
    """Read the watched figures of a run from its metrics."""
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
    """The figures that `instrumented_worker.py` has written; NaN if it has not written yet."""
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


PING_S = 0.01


class Pings(Background):
    """Requests to a worker's /healthz, one after the other with a pause, while the context is open."""

    def __init__(self, worker: LiveWorker) -> None:
        super().__init__()
        self.asked_ms: list[int] = []
        self.took_ms: list[float] = []
        self._worker = worker

    def summary(self, commits: NDArray[np.int64]) -> dict[str, float | int | None]:
        """The longest answers (ms) to what was asked around commits (`loads.commit_spans`) and else, and the p99.

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
        """The time at which nothing waited any more."""
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
