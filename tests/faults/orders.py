"""How the suite tells a running worker process what is to befall it from inside: a file that the process looks at.

The product has no hooks for tests. `faults.worker_main` puts its own around the worker's methods, and obeys.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ENVIRONMENT_DIRECTORY = "FAULTS_DIRECTORY"
ENVIRONMENT_SABOTAGE = "FAULTS_SABOTAGE"
ORDERS, FIRED = "orders.json", "fired.jsonl"

KILL, STOP = "kill", "stop"
SIGNALS = {KILL: signal.SIGKILL, STOP: signal.SIGSTOP}

COMMIT_POINTS = (
    "chunk applied",  # outputs are queued, nothing else has happened
    "cut taken",  # before (1) completes
    "outputs acked",  # between (1) and (2)
    "states queued",  # inside (2), a batch may or may not arrive
    "states of a partition acked",  # inside (2)
    "before offsets",  # between (2) and (3)
    "offsets committed",  # after (3)
)
ASSIGNMENT_POINTS = (
    "before restore",
    "in restore",
    "restored",
    "outputs looked for",
    "started",
)
HAND_OVER_POINTS = ("handing over", "handed over")
EVICTION_POINTS = ("evicting",)
POINTS = (*COMMIT_POINTS, *ASSIGNMENT_POINTS, *HAND_OVER_POINTS, *EVICTION_POINTS)
"""Where a worker can be killed or stopped: `faults.points` knows the methods."""


@dataclass(frozen=True)
class Orders:
    """What holds for a process from now on.

    ``count``: the point is let pass so many times before. ``clock_s``: how far its clock is wrong.
    """

    number: int = 0
    point: str = ""
    count: int = 0
    action: str = KILL
    clock_s: float = 0.0


@dataclass(frozen=True)
class Fired:
    """An order that was carried out."""

    number: int
    point: str
    action: str
    at_s: float


def write(directory: Path, orders: Orders) -> None:
    """Give new orders; those before are void."""
    written = directory / f"{ORDERS}.new"
    written.write_text(json.dumps(asdict(orders)))
    written.replace(directory / ORDERS)


def read(directory: Path) -> Orders:
    """The orders of now."""
    try:
        return Orders(**json.loads((directory / ORDERS).read_text()))
    except FileNotFoundError:
        return Orders()


def carry_out(directory: Path, orders: Orders) -> None:
    """In the worker: end, or stand still until somebody sends SIGCONT."""
    fired = Fired(orders.number, orders.point, orders.action, time.clock_gettime(time.CLOCK_REALTIME))
    with (directory / FIRED).open("a") as written:
        written.write(json.dumps(asdict(fired)) + "\n")
    os.kill(os.getpid(), SIGNALS[orders.action])


def fired(directory: Path) -> list[Fired]:
    """What was carried out so far, in order."""
    try:
        lines = (directory / FIRED).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [Fired(**json.loads(line)) for line in lines]
