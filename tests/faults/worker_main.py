"""A worker process that can fail from inside: `python -m tests.faults.worker_main`."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

from tests.faults import points, sabotage
from tests.faults.orders import ENVIRONMENT_DIRECTORY, ENVIRONMENT_SABOTAGE


def falsify_clock(obedience: points.Obedience) -> None:
    """Have the wall clock show what the orders say. Clocks that count durations are right, as on a real machine."""
    true_time, true_time_ns = time.time, time.time_ns
    time.time = lambda: true_time() + obedience.orders.clock_s
    time.time_ns = lambda: true_time_ns() + int(obedience.orders.clock_s * 1e9)


def main() -> int:
    """Install what can go wrong, then be a worker."""
    obedience = points.Obedience(Path(os.environ[ENVIRONMENT_DIRECTORY]))
    falsify_clock(obedience)  # before anything has taken the clock for itself
    points.install(obedience.reach)
    if mode := os.environ.get(ENVIRONMENT_SABOTAGE):
        sabotage.install(mode)

    from stream_app.worker import process

    return process.main()


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)  # as `stream_app.worker.process` does
