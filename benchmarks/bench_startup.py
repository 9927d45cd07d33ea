"""Seconds until caststream answers, and its memory: `caststream --help`, and a worker beside a running broker.

    python benchmarks/bench_startup.py [--quick] [--json] [--against CHECKOUT]

Each is the median of five runs, with --quick of three. The time by the clock grows with whatever else the machine does;
the processor time beside it hardly does. Memory is that of a worker of both tasks which has taken the samples of 1,000
signal streams and 1,000 strands and scored a window of each. With --against another checkout takes turns with ours.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from checkouts import Checkout
from harness import bench_broker, scratch
from live_worker import LiveWorker, peak_mib, rss_mib, tree
from loads import Watch, load_of, send
from reporting import Report, Row, Say, markdown, parser, run_script, where

from core.errors import RunError, StartupError
from stream_app.local.broker import free_port
from stream_app.settings import Settings, foreign_environment
from stream_app.topics.administration import create_topics

RUNS, QUICK_RUNS = 5, 3
READY_S = 120.0
STOP_S = 30.0
POLL_S = 0.01
COMMAND = (sys.executable, "-m", "stream_app.cli.main")
WORKER = (*COMMAND, "worker")
STREAMS, SIGNAL_STEPS = 1000, 20
HELPS = {"help": ("--help",), "worker_help": ("worker", "--help"), "replay_help": ("replay", "--help")}
ROOT = Path(__file__).resolve().parent.parent
BEFORE = "_before"


@dataclass(frozen=True)
class Start:
    """One start: seconds by the clock, and of processor time."""

    wall_s: float
    cpu_s: float


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON; what the other checkout gave has names that end with `BEFORE`.

    Raises:
        StartupError: an option is out of its range, or the broker cannot be started.
        RunError: a command failed, or the worker did not become ready.
    """
    runs = (QUICK_RUNS if options.quick else RUNS) if options.runs is None else options.runs
    if runs < 1:
        raise StartupError("--runs must be 1 or more")
    codes: dict[str, Checkout] = {"": Checkout(ROOT)} | ({BEFORE: Checkout(options.against)} if options.against else {})
    with bench_broker(say) as settings, scratch("startup") as directory:
        create_topics(settings)
        starts: dict[str, Callable[[], Start]] = {}
        for suffix, code in codes.items():
            starts |= {name + suffix: partial(_command, code, words) for name, words in HELPS.items()}
            starts["worker_ready" + suffix] = partial(_worker, code, settings)
        say(f"{runs} starts of {', '.join(starts)} ...")
        found = _in_turns(starts, runs)
        memory = {f"worker{suffix}": _memory(code, settings, suffix, directory) for suffix, code in codes.items()}
    return {
        "medians_s": {name: statistics.median(each.wall_s for each in all_) for name, all_ in found.items()},
        "runs": {name: [vars(each) for each in all_] for name, all_ in found.items()},
        "streams": STREAMS,
        "memory": memory,
    }


def _in_turns(starts: Mapping[str, Callable[[], Start]], runs: int) -> dict[str, list[Start]]:
    """One start of each more than is counted: the first reads everything from the disk."""
    found: dict[str, list[Start]] = {name: [] for name in starts}
    for _ in range(runs + 1):
        for name, start in starts.items():
            found[name].append(start())
    return {name: all_[1:] for name, all_ in found.items()}


def _command(code: Checkout, words: Sequence[str]) -> Start:
    environment = foreign_environment() | code.environment({})
    before, begun = _children_cpu_s(), time.perf_counter()
    done = subprocess.run([*COMMAND, *words], cwd=code.root, env=environment, stdout=subprocess.DEVNULL, check=False)
    took = Start(time.perf_counter() - begun, _children_cpu_s() - before)
    if done.returncode:
        raise RunError(f"caststream {' '.join(words)} ended with status {done.returncode}")
    return took


def _children_cpu_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _worker(code: Checkout, settings: Settings) -> Start:
    """From the command to the first `/readyz` that says yes."""
    port = free_port()
    environment = code.process_environment(settings.replace(metrics_port=port))
    begun = time.perf_counter()
    process = subprocess.Popen(WORKER, cwd=code.root, env=environment, stderr=subprocess.DEVNULL)
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


def _memory(code: Checkout, settings: Settings, suffix: str, directory: Path) -> dict[str, float]:
    """Resident memory in MiB of all processes, of the largest now and at most, when all samples have their outputs."""
    own = settings.replace(app_id=f"memory{suffix}", topic_prefix=f"memory{suffix}-")
    create_topics(own)
    watches = {kind: Watch(own, kind) for kind in ("signal", "casting")}
    what: dict[str, Any] = {"streams": STREAMS, "rate": 0, "sequence": "memory"}
    send(load_of(own, "signal", samples=STREAMS * SIGNAL_STEPS, **what))
    send(load_of(own, "casting", samples=STREAMS * own.window_min, **what))
    with LiveWorker(own, directory, WORKER, code) as worker:
        worker.start()
        watches["signal"].wait(STREAMS * SIGNAL_STEPS, worker.require_running)
        watches["casting"].wait(STREAMS, worker.require_running)  # each strand's first window
        pids = tree(worker.pid)
        return {
            "rss_mib": rss_mib(pids),
            "largest_mib": max(rss_mib([pid]) for pid in pids),
            "peak_mib": max(peak_mib(pid) for pid in pids),
        }


def table(report: Report) -> str:
    """A row for each kind of start, and for the memory of each worker."""
    rows: list[Row] = []
    for name, runs in report["runs"].items():
        walls, cpu_s = ([each[key] for each in runs] for key in ("wall_s", "cpu_s"))
        rows.append((name, statistics.median(walls), min(walls), max(walls), statistics.median(cpu_s)))
    header = ("start, seconds", "median", "min", "max", "processor, median")
    memory: list[Row] = [
        (name, *(found[key] for key in ("rss_mib", "largest_mib", "peak_mib")))
        for name, found in report["memory"].items()
    ]
    of = f"{report['streams']:,} signal streams and strands, MiB"
    memory_header = (of, "all processes", "the worker process", "at most")
    return "\n\n".join((markdown(header, rows), markdown(memory_header, memory), where(report)))


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--runs", type=int, help=f"starts of each; default {RUNS}, with --quick {QUICK_RUNS}")
    options.add_argument("--against", type=Path, help="a checkout, compiled, whose commands take turns with ours")
    return run_script(options.parse_args(), measure, table)


if __name__ == "__main__":
    sys.exit(main())
