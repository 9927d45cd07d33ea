"""The worker's program with a look from inside: its tasks are counted, or its metrics timed or left out.

    python benchmarks/instrumented_worker.py tasks FILE [OPTIONS OF THE WORKER PROCESS]
    python benchmarks/instrumented_worker.py timed|without [OPTIONS OF THE WORKER PROCESS]

tasks: a thread writes the number of asyncio's tasks into FILE once a second. Memory, file descriptors and threads are
seen from outside. timed: `SECONDS` among the metrics is what observing and counting have taken, scrapes included.
without: none of that is done; the time of commits is observed all the same. All else is the worker as it is.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import IO, Any

from prometheus_client import Gauge

from stream_app.flow.metrics import Metrics
from stream_app.flow.task_metrics import TaskMetrics

EVERY_S = 1.0
WIDTH = 12
SECONDS = "bench_metrics_seconds"
# The methods in the path of a chunk, and what is timed beside them.
OBSERVING = (
    (TaskMetrics, "observe_stages"),
    (TaskMetrics, "count"),
    (TaskMetrics, "count_outputs"),
    (Metrics, "acked"),
)
TIMED = (*OBSERVING, (Metrics, "exposition"))


def count_tasks(loop: Any, file: IO[bytes]) -> None:
    """Write their number again and again. The file stays open: it costs one descriptor, always the same."""
    while True:
        time.sleep(EVERY_S)
        try:
            count = len(asyncio.all_tasks(loop))
        except RuntimeError:  # tasks came and went at each try: the next look will do
            continue
        file.seek(0)
        file.write(f"{count:>{WIDTH}}\n".encode())


class Spent:
    """CPU seconds of this thread within the timed methods; those that one calls of the others count once."""

    seconds = 0.0
    within = False


def replace(owner: type[Any], name: str, method: Callable[..., Any]) -> None:
    """Raises AttributeError where there is no such method any more: nothing would be measured."""
    getattr(owner, name)
    setattr(owner, name, method)


def timed(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same, its time added up."""

    @wraps(method)
    def run(*arguments: Any) -> Any:
        if Spent.within:
            return method(*arguments)
        Spent.within, started = True, time.thread_time()
        try:
            return method(*arguments)
        finally:
            Spent.within, Spent.seconds = False, Spent.seconds + time.thread_time() - started

    return run


def time_all() -> None:
    """All of it is called in the thread of the event loop."""
    for owner, name in TIMED:
        replace(owner, name, timed(getattr(owner, name)))
    made = Metrics.__init__

    def make(metrics: Metrics) -> None:
        made(metrics)
        Gauge(SECONDS, "Spent on metrics", registry=metrics.registry).set_function(lambda: Spent.seconds)

    Metrics.__init__ = make  # type: ignore[method-assign]


def leave_out() -> None:
    """Nothing is counted or observed in the path of a chunk. `Metrics.stage`, once per commit, stays in both."""
    for owner, name in OBSERVING:
        replace(owner, name, lambda *_: None)


def count() -> None:
    """Count tasks beside the worker. The file is open for as long as the process lives."""
    file = open(sys.argv.pop(1), "wb", buffering=0)  # noqa: SIM115
    made = asyncio.new_event_loop

    def watched() -> Any:
        loop = made()
        threading.Thread(target=count_tasks, args=(loop, file), name="tasks", daemon=True).start()
        return loop

    asyncio.new_event_loop = watched


def main() -> None:
    """Entry point; never returns."""
    {"tasks": count, "timed": time_all, "without": leave_out}[sys.argv.pop(1)]()
    runpy.run_module("stream_app.worker.process", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
