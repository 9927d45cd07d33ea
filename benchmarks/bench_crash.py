"""The cost of a crash by peer: wrong, lost and repeated outputs after `kill -9`, against an offline run.

    .venv/bin/python benchmarks/bench_crash.py [--quick] [--json] [--peers NAMES]

Samples come at a steady pace. Each peer is killed three times, every time while it publishes, and started again at once
in the same folder, with its states where they were. When all samples have been sent and no more outputs come, every
output is compared. Wrong are those that differ from the offline run by more than the peer's tolerance; lost are samples
without any output; repeated are outputs beyond the first of a sample. A name that ends with ``_exactly_once`` is the
peer with that guarantee, read as committed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_low_load import expected
from harness import Running, bench_broker, scratch
from loads import Sending, load_of, send
from numpy.typing import NDArray
from paced_sender import Load
from peers import PEERS, without_jdk
from reporting import Report, Row, Say, markdown, parser, run_script
from workload import UNKNOWN, Outputs, read_outputs

from core.errors import CaststreamError, RunError, StartupError
from stream_app.clients.admin import Cluster
from stream_app.routes import SIGNAL_SAMPLES
from stream_app.settings import Settings
from stream_app.topics.plans import STREAM_CONFIG

DEFAULT_PEERS = (
    "caststream_1",
    "kafka_streams_1",
    "kafka_streams_1_exactly_once",
    "kafka_streams_gathered",
    "kafka_streams_gathered_exactly_once",
)
EXACTLY_ONCE = "_exactly_once"
STREAMS, KILLS = 1000, 3
RATE, SECONDS, QUICK_SECONDS = 4000, 60.0, 30.0
BEFORE_KILL_S = (3.0, 6.0)  # from the first new output on, at random: not always in one phase of a commit
ENDED_S = 45.0  # without a new output: longer than a group waits for a member that is gone
POLL_S = 0.25


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON: ``peers`` by name, and ``failures`` in words.

    Raises:
        StartupError: an option is out of its range, or the broker cannot be started.
        RunError: nothing could be measured.
    """
    names = _names(options, say)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    say(f"about {len(names) * (seconds + ENDED_S + 15) / 60:.0f} minutes: {', '.join(names)}")
    found: dict[str, Any] = {}
    failures: list[str] = []
    with bench_broker(say) as settings:
        for name in names:
            try:
                found[name] = _Crashes(settings, name, options.rate, seconds, options.seed, say).measure()
                say(f"{name}: {found[name]}")
            except CaststreamError as error:
                failures.append(f"{name}: {error}")
                say(f"{name} FAILED: {error}")
    if not found:
        raise RunError("; ".join(failures))
    return {
        "streams": STREAMS,
        "rate": options.rate,
        "seconds": seconds,
        "seed": options.seed,
        "peers": found,
        "failures": failures,
    }


def _names(options: argparse.Namespace, say: Say) -> Sequence[str]:
    chosen = options.peers.split(",") if options.peers else list(DEFAULT_PEERS)
    if unknown := [name for name in chosen if name.removesuffix(EXACTLY_ONCE) not in PEERS and name not in PEERS]:
        raise StartupError(f"--peers {', '.join(unknown)}: no such peer, there are {', '.join(PEERS)}")
    left_out = [] if options.peers else without_jdk(chosen)
    if left_out:
        say(f"left out: {', '.join(left_out)}: no JDK (javac) was found")
    return [name for name in chosen if name not in left_out]


class _Crashes:
    """One peer that is killed again and again."""

    def __init__(self, settings: Settings, name: str, rate: int, seconds: float, seed: int, say: Say) -> None:
        own = settings.replace(topic_prefix=f"{name}-", app_id=f"{settings.app_id}-{name}")
        self.cluster = Cluster(own)
        source = own.topic(SIGNAL_SAMPLES)
        self.cluster.create({source: own.partitions}, own.replication_factor, {source: STREAM_CONFIG})
        if name in PEERS:
            self.settings, self.peer = own, PEERS[name](own, "1")
        else:
            self.settings = own.replace(processing_guarantee="exactly_once")
            self.peer = replace(PEERS[name.removesuffix(EXACTLY_ONCE)](self.settings, "1"), name=name)
        self.rate, self.samples, self.seed = rate, STREAMS + round(rate * seconds), seed
        self.say, self.chance = say, random.Random(seed)

    def measure(self) -> dict[str, Any]:
        """Counts of outputs, see `counts`, and of kills.

        Raises:
            RunError: the peer ended by itself, or hangs.
        """
        send(self._load(skip=0, samples=STREAMS, rate=0))
        with scratch("crash") as directory:
            processes = Running(self.peer, directory)
            try:
                processes.wait(self._outputs, STREAMS, "outputs")
                sending = Sending(self._load(skip=STREAMS, samples=self.samples - STREAMS, rate=self.rate))
                processes, kills = self._killed_again_and_again(processes, directory)
                sending.finish()
                self._wait_for_the_end(processes)
                processes.stop()
            finally:
                processes.kill()
        outputs = read_outputs(self.settings, self.peer.output, [f"signal-{i:04d}" for i in range(STREAMS)])
        self.cluster.delete([self.settings.topic(SIGNAL_SAMPLES), *self.peer.topics])
        whole = expected(self._load(skip=0, samples=self.samples, rate=0))
        return {"kills": kills, **counts(outputs, whole, self.peer.tolerance)}

    def _killed_again_and_again(self, processes: Running, directory: Path) -> tuple[Running, int]:
        """Each time when it publishes; fewer times where it has published everything before."""
        for kill in range(KILLS):
            before = self._outputs()
            if before >= self.samples:
                return processes, kill
            processes.wait(self._outputs, before + 1, "outputs")
            time.sleep(self.chance.uniform(*BEFORE_KILL_S))
            processes.require()
            processes.kill()
            processes = Running(replace(self.peer, prepare=[]), directory)
            self.say(f"{self.peer.name}: kill -9, {self._outputs():,} outputs are there")
        return processes, KILLS

    def _wait_for_the_end(self, processes: Running) -> None:
        there, since = -1, time.monotonic()
        while time.monotonic() - since < ENDED_S:
            time.sleep(POLL_S)
            processes.require()
            before, there = there, self._outputs()
            if there != before:
                since = time.monotonic()

    def _outputs(self) -> int:
        return self.cluster.offsets({self.peer.output: self.settings.partitions})[self.peer.output]

    def _load(self, skip: int, samples: int, rate: int) -> Load:
        what: dict[str, Any] = {"streams": STREAMS, "sequence": "crash", "seed": self.seed}
        return load_of(self.settings, "signal", skip=skip, samples=samples, rate=rate, **what)


def counts(outputs: Outputs, whole: NDArray[np.float32], tolerance: float) -> dict[str, int]:
    """Count outputs against the offline run.

    Args:
        whole: (S, T) predictions, NaN where there is no sample.

    Returns:
        ``samples`` and ``outputs``; ``wrong`` outputs, ``lost`` samples, ``repeated`` outputs; ``streams_wrong`` that
        have a wrong output, and ``wrong_to_the_end`` whose last output is wrong.
    """
    streams, steps = outputs.streams.astype(np.int64), outputs.steps
    known = (streams != UNKNOWN) & (steps >= 0) & (steps < whole.shape[1])
    right = np.zeros(len(streams), bool)
    right[known] = np.abs(outputs.predictions[known] - whole[streams[known], steps[known]]) <= tolerance
    cells = np.unique(streams[known] * whole.shape[1] + steps[known])
    last_steps = (~np.isnan(whole)).sum(axis=1) - 1
    last = known & (steps == last_steps[streams])
    return {
        "samples": int((~np.isnan(whole)).sum()),
        "outputs": len(streams),
        "wrong": int((~right).sum()),
        "lost": int((~np.isnan(whole)).sum()) - len(cells),
        "repeated": int(known.sum()) - len(cells),
        "streams_wrong": len(np.unique(streams[~right])),
        "wrong_to_the_end": len(np.unique(streams[last & ~right])),
    }


def table(report: Report) -> str:
    """A row for each peer."""
    keys = ("kills", "samples", "wrong", "lost", "repeated", "streams_wrong", "wrong_to_the_end")
    rows: list[Row] = [(name, *(found[key] for key in keys)) for name, found in report["peers"].items()]
    header = (
        "",
        "kill -9",
        "samples",
        "wrong outputs",
        "lost",
        "repeated",
        "streams with wrong ones",
        "wrong to the end",
    )
    return markdown(header, rows)


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--peers", help=f"separated by commas; default {','.join(DEFAULT_PEERS)}")
    options.add_argument("--rate", type=int, default=RATE, help=f"samples per second; default {RATE}")
    options.add_argument("--seconds", type=float, help=f"of the load; default {SECONDS:g}, quick {QUICK_SECONDS:g}")
    options.add_argument("--seed", type=int, default=1, help="of the samples and of the times of kills; default 1")
    return run_script(options.parse_args(), measure, table)


if __name__ == "__main__":
    sys.exit(main())
