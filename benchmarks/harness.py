"""Runs peers, one at a time, each in processes of its own, and measures what arrives at the broker.

While a peer runs, the harness does nothing but ask the broker four times a second how long the output topic is:
reading the outputs would take the processor time that is being measured.
"""

from __future__ import annotations

import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from live_worker import tree
from numpy.typing import NDArray
from peers import MakePeer, Peer
from reporting import Say
from workload import Timing, Workload, check, read_outputs, timing

from core.callbacks import OnNote
from core.errors import RunError
from stream_app.clients.admin import Cluster
from stream_app.local.broker import LocalBroker
from stream_app.local.child import Child
from stream_app.settings import Settings, foreign_environment, load_settings
from stream_app.verify import verify

POLL_S = 0.25
QUIET_S = 90.0  # without one new output, from the start of the process on: it hangs
STOP_S = 60.0  # a commit of 100,000 states on a busy machine takes a while
LOG_LINES = 15


@dataclass(frozen=True)
class Job:
    """One peer on one workload, once in each of the first ``rounds`` rounds.

    Args:
        needed: outputs that it is measured over.
        expected: (S, T), the predictions of the offline run, NaN where there is no sample.
    """

    make: MakePeer
    needed: int
    rounds: int
    settings: Settings
    workload: Workload
    expected: NDArray[np.float32]


@dataclass(frozen=True)
class Run:
    """One peer in one round."""

    peer: Peer
    appended_ms: NDArray[np.int64]  # of the outputs that were waited for, ascending
    repeated: int
    max_abs_diff: float
    state_records: int

    @property
    def timing(self) -> Timing:
        """Raises RunError where there is too little to be timed."""
        return timing(self.appended_ms, self.peer.warm_up)


@dataclass(frozen=True)
class Result:
    """One job over all its rounds."""

    runs: list[Run]

    @property
    def rates(self) -> list[float]:
        """Samples per second, by round."""
        return [run.timing.rate for run in self.runs]

    @property
    def median(self) -> float:
        """Samples per second."""
        return statistics.median(self.rates)


@contextmanager
def bench_broker(on_progress: OnNote) -> Iterator[Settings]:
    """A broker of the benchmark's own, and the default settings on it, whatever the environment and files say.

    Only where Kafka's jars lie is taken from the caller's settings.
    """
    defaults = {name: field.default for name, field in Settings.model_fields.items() if name != "data_dir"}
    jars_dir = load_settings(**defaults).data_dir
    with ExitStack() as stack:
        directory = stack.enter_context(scratch("bench"))
        broker = stack.enter_context(LocalBroker(directory, jars_dir=jars_dir, on_progress=on_progress))
        own = {
            "broker": broker.address,
            "app_id": "bench",
            "data_dir": directory,
            "idle_timeout": 86_400.0,  # the records wait for later rounds; no stream of them ends by that
        }
        yield load_settings(**defaults | own)


def measure_rounds(jobs: Mapping[str, Job], on_progress: OnNote) -> dict[str, Result]:
    """Measure every job in turn, round by round. Every second round goes backwards, so that no peer always comes first.

    Raises:
        RunError: a peer failed, or its outputs are not right.
    """
    results: dict[str, Result] = {name: Result([]) for name in jobs}
    rounds = max(job.rounds for job in jobs.values())
    for number in range(rounds):
        for name in list(jobs)[:: -1 if number % 2 else 1]:
            job = jobs[name]
            if number >= job.rounds:
                continue
            run = measure(job.make(job.settings, str(number + 1)), job.needed, job.settings, job.workload, job.expected)
            results[name].runs.append(run)
            took = run.timing
            on_progress(f"round {number + 1} of {rounds}: {name} {took.rate:,.0f}/s, timed for {took.seconds:.1f} s")
    return results


def measure(peer: Peer, needed: int, settings: Settings, workload: Workload, expected: NDArray[np.float32]) -> Run:
    """Run a peer until ``needed`` outputs are at the broker and it has written states; check them, delete its topics.

    Raises:
        RunError: the peer failed, or its outputs are not right.
    """
    cluster = Cluster(settings)
    state_records = run_until(peer, needed, cluster, settings)
    try:
        verdict = check(read_outputs(settings, peer.output, workload.names), expected, needed, peer.tolerance)
    except RunError as error:
        raise RunError(f"{peer.name}: {error}") from error
    cluster.delete(peer.topics)  # the disk need not hold all rounds
    return Run(peer, verdict.appended_ms[:needed], verdict.repeated, verdict.max_abs_diff, state_records)


class Running:
    """The processes of a peer at work."""

    def __init__(self, peer: Peer, directory: Path) -> None:
        environment = foreign_environment() | dict(peer.environment)
        for command in peer.prepare:
            _run(peer, command, directory, environment)
        self.peer = peer
        self.directory = directory
        self._children: dict[Path, Child] = {}
        for number, command in enumerate(peer.commands):
            log = directory / f"{number}.log"
            self._children[log] = Child(command, output=log, directory=directory, environment=environment)

    @property
    def pids(self) -> list[int]:
        """Its processes, and those that they have started."""
        return [pid for child in self._children.values() for pid in tree(child.pid)]

    def require(self) -> None:
        """Raises RunError where a process has ended."""
        for log, child in self._children.items():
            if not child.running:
                raise RunError(f"{self.peer.name} ended with status {child.exit_status}:\n{_last_lines(log)}")

    def wait(self, count: Callable[[], int], needed: int, what: str) -> None:
        """Until ``count`` has reached ``needed``.

        Raises:
            RunError: a process ended, or nothing new came for a long time.
        """
        there, since = 0, time.monotonic()
        while there < needed:
            time.sleep(POLL_S)
            before, there = there, count()
            if there > before:
                since = time.monotonic()
            self.require()
            if time.monotonic() - since > QUIET_S:
                raise RunError(
                    f"{self.peer.name}: nothing new for {QUIET_S:g} s, {there:,} of {needed:,} {what} are there:\n"
                    f"{_last_lines(next(iter(self._children)))}"
                )

    def stop(self) -> None:
        """In order, all at once: none takes over the others' work.

        Raises:
            RunError: a process does not stop.
        """
        for child in self._children.values():
            child.send_signal(signal.SIGTERM)
        for log, child in self._children.items():
            child.stop(STOP_S)
            if child.exit_status == -signal.SIGKILL:  # its last outputs may have holes, which only a successor fills
                raise RunError(f"{self.peer.name} did not stop within {STOP_S:g} s:\n{_last_lines(log)}")

    def kill(self) -> None:
        """As a crash does."""
        for child in self._children.values():
            child.kill()


@contextmanager
def running(peer: Peer, directory: Path) -> Iterator[Running]:
    """A peer whose processes have been started in ``directory``; they are gone afterwards.

    Raises:
        RunError: it could not be prepared.
    """
    started = Running(peer, directory)
    try:
        yield started
    finally:
        started.kill()


def run_until(peer: Peer, needed: int, cluster: Cluster, settings: Settings) -> int:
    """Start the peer's processes, wait for their outputs and states, stop them; returns how many states it wrote.

    Raises:
        RunError: a process ended, hangs, or does not stop.
    """

    def outputs() -> int:
        return cluster.offsets({peer.output: settings.partitions})[peer.output]

    with scratch("peer") as directory, running(peer, directory) as processes:
        processes.wait(outputs, needed, "outputs")
        processes.wait(lambda: peer.states(cluster, directory), 1, "states")
        processes.stop()
        return peer.states(cluster, directory)


def _run(peer: Peer, command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> None:
    """Run a command to its end."""
    log = directory / "prepare.log"
    child = Child(command, output=log, directory=directory, environment=environment)
    if not child.wait(QUIET_S) or child.exit_status:
        child.kill()
        raise RunError(f"{peer.name} could not be prepared, status {child.exit_status}:\n{_last_lines(log)}")


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """A folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"caststream-{purpose}-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join(f"  {line}" for line in lines) or "  it said nothing"


def audit(settings: Settings, say: Say, streams: Collection[str] | None = None, since_ms: int | None = None) -> Any:
    """The checker's findings, ready for JSON: ``ok``, ``problems`` in words, its counts and first examples.

    Args:
        streams: these only; all by default.
        since_ms: append times from here on, where retention may have deleted what was before.
    """
    say(f"checking {'all streams' if streams is None else f'{len(streams)} streams'} against an offline run ...")
    tenths = 0

    def progress(done: int, total: int) -> None:
        nonlocal tenths
        if total and (now := 10 * done // total) > tenths:
            tenths = now
            say(f"checked: {10 * tenths} % of {total:,} offsets")

    report = verify(settings, streams=streams, since_ms=since_ms, on_progress=progress)
    say(f"checked: {report.records:,} records, {report.outputs:,} outputs: {report}")
    return report.as_dict() | {"problems": report.problems}
