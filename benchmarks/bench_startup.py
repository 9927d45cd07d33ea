"""Seconds until caststream answers: `caststream --help`, and a worker that is ready beside a running broker.

    python benchmarks/bench_startup.py [--quick] [--json]

Each is the median of five runs, with --quick of three. The time by the clock grows with whatever else the machine does;
the processor time beside it hardly does.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from harness import bench_broker
from reporting import Report, Row, Say, markdown, parser, run_script, where

from core.errors import RunError, StartupError
from stream_app.local.broker import free_port
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

RUNS, QUICK_RUNS = 5, 3
READY_S = 120.0
STOP_S = 30.0
POLL_S = 0.01
COMMAND = (sys.executable, "-m", "stream_app.cli.main")
HELPS = {"help": ("--help",), "worker_help": ("worker", "--help"), "replay_help": ("replay", "--help")}
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Start:
    """One start: seconds by the clock, and of processor time."""

    wall_s: float
    cpu_s: float


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON.

    Raises:
        StartupError: an option is out of its range, or the broker cannot be started.
        RunError: a command failed, or the worker did not become ready.
    """
    runs = (QUICK_RUNS if options.quick else RUNS) if options.runs is None else options.runs
    if runs < 1:
        raise StartupError("--runs must be 1 or more")
    starts = {name: _repeat(runs, lambda words=words: _command(*words)) for name, words in HELPS.items()}
    with bench_broker(say) as settings:
        create_topics(settings)
        say(f"starting {runs} workers, one after the other ...")
        starts["worker_ready"] = _repeat(runs, lambda: _worker(settings))
    return {
        "medians_s": {name: statistics.median(each.wall_s for each in all_) for name, all_ in starts.items()},
        "runs": {name: [vars(each) for each in all_] for name, all_ in starts.items()},
    }


def _repeat(runs: int, start: Callable[[], Start]) -> list[Start]:
    """One start more than is counted: the first reads everything from the disk."""
    start()
    return [start() for _ in range(runs)]


def _command(*words: str) -> Start:
    before, begun = _children_cpu_s(), time.perf_counter()
    done = subprocess.run([*COMMAND, *words], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    took = Start(time.perf_counter() - begun, _children_cpu_s() - before)
    if done.returncode:
        raise RunError(f"caststream {' '.join(words)} ended with status {done.returncode}")
    return took


def _children_cpu_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _worker(settings: Settings) -> Start:
    """From the command to the first `/readyz` that says yes."""
    port = free_port()
    environment = settings.replace(metrics_port=port).process_environment()
    begun = time.perf_counter()
    process = subprocess.Popen([*COMMAND, "worker"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait_until_ready(process, f"http://{settings.metrics_host}:{port}/readyz")
        took = Start(time.perf_counter() - begun, _tree_cpu_s(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)
    return took


def _wait_until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RunError(f"the worker ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(address, timeout=1.0):
                return  # another status than 200 is an error
        except OSError:
            time.sleep(POLL_S)
    raise RunError(f"the worker was not ready within {READY_S:g} s")


def _tree_cpu_s(pid: int) -> float:
    """Processor time of a process and its children so far."""
    supervisor = psutil.Process(pid)
    times = [process.cpu_times() for process in (supervisor, *supervisor.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def table(report: Report) -> str:
    """A row for each kind of start."""
    rows: list[Row] = []
    for name, runs in report["runs"].items():
        walls, cpu_s = ([each[key] for each in runs] for key in ("wall_s", "cpu_s"))
        rows.append((name, statistics.median(walls), min(walls), max(walls), statistics.median(cpu_s)))
    header = ("start, seconds", "median", "min", "max", "processor, median")
    return f"{markdown(header, rows)}\n\n{where(report)}"


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--runs", type=int, help=f"starts of each; default {RUNS}, with --quick {QUICK_RUNS}")
    return run_script(options.parse_args(), measure, table)


if __name__ == "__main__":
    sys.exit(main())
