"""The worker's program with its metrics timed, or left out.

    python benchmarks/metered_worker.py timed|without [OPTIONS OF THE WORKER PROCESS]

Timed, `SECONDS` among its metrics is what observing and counting have taken, scrapes included. Left out, none of that
is done. The time of commits is observed in both. All else is the worker as it is.
"""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from prometheus_client import Gauge

from stream_app.flow.metrics import Metrics

SECONDS = "bench_metrics_seconds"
OBSERVING = ("observe_stages", "count", "count_outputs", "acked")


class Spent:
    """CPU seconds of this thread within the timed methods; those that one calls of the others count once."""

    seconds = 0.0
    within = False


def replace(name: str, method: Callable[..., Any]) -> None:
    """Raises AttributeError where `Metrics` has no such method any more: nothing would be measured."""
    getattr(Metrics, name)
    setattr(Metrics, name, method)


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
    for name in (*OBSERVING, "exposition"):
        replace(name, timed(getattr(Metrics, name)))
    made = Metrics.__init__

    def make(metrics: Metrics) -> None:
        made(metrics)
        Gauge(SECONDS, "Spent on metrics", registry=metrics.registry).set_function(lambda: Spent.seconds)

    Metrics.__init__ = make  # type: ignore[method-assign]


def leave_out() -> None:
    """Nothing is counted or observed in the path of a chunk. `Metrics.stage`, once per commit, stays in both."""
    for name in OBSERVING:
        replace(name, lambda *_: None)


def main() -> None:
    """Entry point; never returns."""
    {"timed": time_all, "without": leave_out}[sys.argv.pop(1)]()
    runpy.run_module("stream_app.worker.process", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
