"""The price of a worker at low load: processor, latency, memory and start, beside peers, in one run on one broker.

    .venv/bin/python benchmarks/bench_low_load.py [--quick] [--json] [--peers NAMES] [--against CHECKOUT]

100 streams. In every run each peer starts with some samples waiting, works them off, is left alone for a while (idle),
gets 10, 100 and 1,000 samples/s, and is stopped. Processor time is that of all its processes, caststream's supervisor
included, and of the broker beside it, as shares of one core. Latencies are from the broker's append times. Every output
is compared with an offline run. With --against the worker of another checkout takes turns with ours.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import psutil
from checkouts import Checkout
from harness import Running, bench_broker, running, scratch
from live_worker import Meter, broker_pid, rss_mib
from loads import WARM_UP_S, Latencies, Times, ends, load_of, match, read_times, send, send_measured, summary
from low_load import BEFORE, IDLE, OURS, load_name, of_runs, percent, remarks, table, targets
from numpy.typing import NDArray
from paced_sender import Load, records
from peers import PEERS, Peer, caststream_command, without_jdk
from reporting import Report, Say, parser, run_script
from workload import Sample, check, offline, read_outputs

from core.errors import CaststreamError, RunError, StartupError
from core.models.factory import load_model
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM
from stream_app.clients.admin import Cluster
from stream_app.routes import SIGNAL_SAMPLES
from stream_app.settings import Settings
from stream_app.topics.plans import STREAM_CONFIG

STREAMS = 100
LOADS = (IDLE, 10, 100, 1000)
WAITING, QUICK_WAITING = 10_000, 2_000
"""Samples that wait when a peer starts: what compiles itself as it runs has done so before it is measured."""
AROUND_S = 25.0
"""Estimated seconds of one peer's run beside its loads: topics, start, the samples that wait, stop, checks."""
DEFAULT_PEERS = (OURS, *(name for name in PEERS if not name.startswith("caststream")))


@dataclass(frozen=True)
class Plan:
    """The amount that is measured: ``runs`` of every peer, each load for ``seconds``, after ``waiting`` samples."""

    peers: Sequence[str]
    loads: Sequence[int]
    runs: int
    seconds: float
    waiting: int
    seed: int
    against: Checkout | None = None

    @property
    def minutes(self) -> float:
        """An estimate of how long it takes."""
        of_peer = len(self.loads) * (self.seconds + WARM_UP_S) + AROUND_S
        return self.runs * (len(self.peers) * of_peer + self.seconds) / 60

    def make(self, name: str, settings: Settings, run: str) -> Peer:
        """A peer, its topics beside the source that the settings name."""
        if name == OURS:
            return caststream_command(settings, run)
        if name == BEFORE:
            return replace(caststream_command(settings, run, self.against), name=BEFORE)
        return PEERS[name](settings, run)


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON: ``peers`` by name, ``targets``, and ``failures`` in words.

    Raises:
        StartupError: an option is out of its range, or the broker cannot be started.
        RunError: nothing could be measured.
    """
    plan = plan_of(options)
    if not options.peers and (left_out := without_jdk(plan.peers)):
        say(f"left out: {', '.join(left_out)}: no JDK (javac) was found")
        plan = replace(plan, peers=[name for name in plan.peers if name not in left_out])
    say(f"about {plan.minutes:.0f} minutes: {plan.runs} runs of {', '.join(plan.peers)}")
    with bench_broker(say) as settings:
        bench = _Bench(settings, plan, broker_pid(), say)
        bench.run_all()
    if not bench.runs:
        raise RunError("; ".join(bench.failures))
    peers = {name: of_runs(bench.runs[name]) for name in plan.peers if name in bench.runs}
    return {
        "streams": STREAMS,
        "loads": list(plan.loads),
        "rounds": plan.runs,
        "seconds": plan.seconds,
        "seed": plan.seed,
        "waiting": plan.waiting,
        "broker_alone_cores": statistics.median(bench.alone),
        "peers": peers,
        "targets": targets(peers),
        "failures": bench.failures,
    }


@dataclass
class _Bench:
    settings: Settings
    plan: Plan
    broker: int
    say: Say
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    alone: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def run_all(self) -> None:
        """Round by round, every second one backwards. A failure or an interruption keeps what was measured before."""
        done = 0
        try:
            for number in range(self.plan.runs):
                self._leave_alone()
                for name in list(self.plan.peers)[:: -1 if number % 2 else 1]:
                    self._run(name, number + 1)
                    done += 1
        except KeyboardInterrupt:
            self.failures.append(f"interrupted after {done} of {self.plan.runs * len(self.plan.peers)} runs")

    def _leave_alone(self) -> None:
        """The broker's share where no peer runs."""
        meter = Meter(broker=self.broker)
        time.sleep(self.plan.seconds)
        self.alone.append(meter.cores()["broker"])

    def _run(self, name: str, number: int) -> None:
        which = f"run {number} of {self.plan.runs}, {name}"
        app_id = f"{self.settings.app_id}-{name}-{number}"
        own = self.settings.replace(topic_prefix=f"{name}-{number}-", app_id=app_id)
        source = own.topic(SIGNAL_SAMPLES)
        cluster = Cluster(own)
        cluster.create({source: own.partitions}, own.replication_factor, {source: STREAM_CONFIG})
        try:
            peer = self.plan.make(name, own, str(number))
            found = _Run(own, self.plan, peer, cluster, self.broker).measure()
            cluster.delete([source, *peer.topics])
        except (CaststreamError, psutil.Error) as error:
            self.failures.append(f"{which}: {error}")
            self.say(f"{which} FAILED: {error}")
        else:
            self.runs.setdefault(name, []).append(found)
            self.say(f"{which}: {_brief(found)}")


def _brief(found: dict[str, Any]) -> str:
    shares = [
        f"{load_name(rate)} {percent(load['worker_cores'])} (broker {percent(load['broker_cores'])})"
        for rate, load in found["loads"].items()
    ]
    return f"first output after {found['start_s']:.1f} s; {', '.join(shares)}"


class _Run:
    """One peer, from its start to its stop."""

    def __init__(self, settings: Settings, plan: Plan, peer: Peer, cluster: Cluster, broker: int) -> None:
        self.settings, self.plan, self.peer, self.cluster, self.broker = settings, plan, peer, cluster, broker
        self.sent = 0

    def measure(self) -> dict[str, Any]:
        """Seconds until the first output, and the loads by their rates.

        Raises:
            RunError: it failed, or an output is missing or wrong.
        """
        send(self._load(0, self.plan.waiting))
        with scratch("peer") as directory:
            started_ms = 1000 * time.time()
            with running(self.peer, directory) as processes:
                self._wait(processes)
                processes.wait(lambda: self.peer.states(self.cluster, directory), 1, "states")
                loads = {str(rate): self._under(processes, rate) for rate in self.plan.loads}
                processes.stop()
        found = read_outputs(self.settings, self.peer.output, [f"signal-{i:04d}" for i in range(STREAMS)])
        verdict = check(found, expected(self._whole), self.sent, self.peer.tolerance)
        return {
            "version": self.peer.version,
            "start_s": (int(verdict.appended_ms[0]) - started_ms) / 1000,
            "loads": loads,
            "outputs": self.sent,
            "repeated": verdict.repeated,
            "max_abs_diff": verdict.max_abs_diff,
        }

    def _under(self, processes: Running, rate: int) -> dict[str, Any]:
        """One load: shares of processors, latencies, memory at its end."""
        pids = processes.pids
        found = self._idle(pids) if rate == IDLE else self._loaded(processes, rate, pids)
        processes.require()
        return found | {"rss_mib": rss_mib(pids), "largest_mib": max(rss_mib([pid]) for pid in pids)}

    def _idle(self, pids: Sequence[int]) -> dict[str, Any]:
        time.sleep(WARM_UP_S)
        meter = Meter(worker=pids, broker=self.broker)
        time.sleep(self.plan.seconds)
        return _named(meter.cores())

    def _loaded(self, processes: Running, rate: int, pids: Sequence[int]) -> dict[str, Any]:
        source, output = self.settings.topic(SIGNAL_SAMPLES), self.peer.output
        before = {topic: ends(self.settings, topic) for topic in (source, output)}
        load = self._load(rate, round(rate * (self.plan.seconds + WARM_UP_S)))
        (sender,), cores = send_measured([load], worker=pids, broker=self.broker)
        self._wait(processes)
        samples, outputs = (
            read_times(self.settings, topic, start, source_of=identity) for topic, start in before.items()
        )
        found = latencies(samples, outputs)
        if found.unanswered:
            raise RunError(f"{self.peer.name}: {found.unanswered:,} samples at {rate}/s have no prediction")
        return _named(cores) | summary(found.after(WARM_UP_S).latency_ms) | {"late_p99_ms": sender["late_p99_ms"]}

    def _load(self, rate: int, samples: int) -> Load:
        """The next samples of all that this run sends."""
        load = replace(self._whole, rate=rate, skip=self.sent, samples=samples)
        self.sent += samples
        return load

    @property
    def _whole(self) -> Load:
        what = {"streams": STREAMS, "rate": 0, "samples": self.sent, "sequence": "low", "seed": self.plan.seed}
        return load_of(self.settings, "signal", **what)

    def _wait(self, processes: Running) -> None:
        def outputs() -> int:
            return self.cluster.offsets({self.peer.output: self.settings.partitions})[self.peer.output]

        processes.wait(outputs, self.sent, "outputs")


def _named(cores: dict[str, float]) -> dict[str, Any]:
    return {f"{name}_cores": used for name, used in cores.items()}


class _Step(msgspec.Struct):
    step: int


_step = msgspec.json.Decoder(_Step).decode


def identity(message: Any) -> int:
    """A number that a sample and its output share, of the stream and the step: not every peer names its source."""
    return int((message.key() or b"").rpartition(b"-")[2]) << 32 | _step(message.value() or b"").step


def latencies(samples: Times, outputs: Times) -> Latencies:
    """Match samples and outputs that were read with `identity`, whichever partitions they are in."""
    return match(*(replace(each, partitions=0 * each.partitions, offsets=each.sources) for each in (samples, outputs)))


def expected(load: Load) -> NDArray[np.float32]:
    """(S, T): what the model makes of a load offline, each stream as one whole sequence; NaN past its end."""
    model = cast(SignalExtractionLSTM, load_model(checkpoint_path("signal"), "signal"))
    steps = -(-load.samples // load.streams)
    inputs = np.zeros((load.streams, steps, 5), np.float32)
    there = np.zeros((load.streams, steps), bool)
    decode = msgspec.json.Decoder(Sample).decode
    for _, key, value in records(load):
        stream, sample = int(key[-4:]), decode(value)
        inputs[stream, sample.step] = (sample.signal, *sample.condition_vector)
        there[stream, sample.step] = True
    return np.where(there, offline(model, inputs), np.float32(np.nan))


def plan_of(options: argparse.Namespace) -> Plan:
    """Raises StartupError where an option is out of its range."""
    known = {OURS, *PEERS}
    peers = list(options.peers.split(",") if options.peers else DEFAULT_PEERS)
    if unknown := set(peers) - known:
        raise StartupError(f"--peers {', '.join(sorted(unknown))}: no such peer, there are {', '.join(sorted(known))}")
    seconds = options.seconds or (10.0 if options.quick else 30.0)
    runs = options.runs or (1 if options.quick else 5)
    loads = LOADS if options.loads is None else options.loads
    if runs < 1 or seconds <= 0 or any(rate < 0 for rate in loads):
        raise StartupError("--runs must be 1 or more, --seconds above 0, --loads 0 (idle) or more")
    against = Checkout(options.against) if options.against else None
    return Plan(
        peers=[*peers, BEFORE] if against else peers,
        loads=loads,
        runs=runs,
        seconds=seconds,
        waiting=QUICK_WAITING if options.quick else WAITING,
        seed=options.seed,
        against=against,
    )


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--peers", help=f"separated by commas; default {','.join(DEFAULT_PEERS)}")
    options.add_argument("--loads", type=int, nargs="+", help="samples per second, 0 is idle; default 0 10 100 1000")
    options.add_argument("--runs", type=int, help="of every peer; default 5, with --quick 1")
    options.add_argument("--seconds", type=float, help="per load, after 3 s that do not count; default 30, quick 10")
    options.add_argument("--seed", type=int, default=1, help="of the samples; default 1")
    options.add_argument("--against", type=Path, help="a checkout, compiled, whose worker takes turns with ours")
    return run_script(options.parse_args(), measure, lambda report: f"{table(report)}\n\n{remarks(report)}")


if __name__ == "__main__":
    sys.exit(main())
