"""Latency from a sample to its prediction at paced loads, beside the floor: loops that only carry records over.

    .venv/bin/python benchmarks/bench_latency.py [--quick] [--json] [--half RATE]

One worker, 1,000 streams, both times from the broker (append times). First the source is filled before the worker
starts, which gives its highest rate here; half of that is one of the loads. Then come the paced loads, and after the
worker has stopped the same for two echo loops on the same topics.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import bench_broker
from live_worker import LiveWorker, Meter, broker_pid
from loads import WARM_UP_S, Watch, around_commits, ends, load_of, read_times, send, send_measured, summary
from reporting import Report, Row, Say, at, markdown, parser, run_script
from workload import timing

from core.errors import RunError
from stream_app.clients.admin import Cluster
from stream_app.local.child import Child
from stream_app.routes import SIGNAL_SAMPLES
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics
from stream_app.topics.plans import STREAM_CONFIG

STREAMS = 1000
A_BILLION_A_DAY = 11_574  # samples per second
LOADS = (20, 1000, 5000, A_BILLION_A_DAY, 20_000)
FLOOR_LOADS = (20, 1000, 5000, 20_000)
QUICK_FLOOR_LOADS, QUICK_FLOOR_S = (5000,), 5
ECHOES = ("confluent", "aiokafka")
STAGES = ("decode", "infer", "publish")


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON: a key per load, in samples per second, ``half``, ``floor`` and ``maximum``."""
    seconds = options.seconds or (10 if options.quick else 30)
    report: Report = {"streams": STREAMS, "seconds": seconds, "seed": options.seed}
    with bench_broker(say) as settings, TemporaryDirectory(prefix="caststream-latency-") as directory:
        create_topics(settings)
        bench = _Bench(settings, Path(directory), seconds, options.seed, say)
        with LiveWorker(settings, Path(directory)) as worker:
            report["maximum"] = bench.maximum(worker, 600_000 if options.quick else 2_000_000)
            half = options.half or round(report["maximum"]["rate"] / 2)
            for load in options.loads or LOADS:
                report[str(load)] = bench.paced(worker, load)
            report["half"] = bench.paced(worker, half)
        bench.seconds = min(seconds, QUICK_FLOOR_S) if options.quick else seconds
        report["floor"] = {
            kind: {str(load): bench.echoed(kind, load) for load in _floor_loads(options)} for kind in ECHOES
        }
    return report


def _floor_loads(options: argparse.Namespace) -> Sequence[int]:
    return options.loads or (QUICK_FLOOR_LOADS if options.quick else FLOOR_LOADS)


class _Bench:
    def __init__(self, settings: Settings, directory: Path, seconds: float, seed: int, say: Say) -> None:
        self.settings = settings
        self.directory = directory
        self.seconds = seconds
        self.seed = seed
        self.say = say
        self.runs = 0

    def maximum(self, worker: LiveWorker, samples: int) -> dict[str, Any]:
        """The rate with all input waiting, and where its time went, in µs per sample; starts the worker."""
        self.say(f"sending {samples:,} samples ahead ...")
        watch = Watch(self.settings, "signal")
        send(self._load(0, samples))
        worker.start()
        meter = Meter(worker=worker.pid, broker=broker_pid())
        watch.wait(samples, worker.require_running)
        spent = {f"{name}_cpu_us": 1e6 * cpu_s / samples for name, cpu_s in meter.cpu_s().items()}
        scrape = worker.scrape()
        stages = {
            f"{stage}_us": 1e6 * scrape.get("caststream_stage_seconds_sum", stage=stage) / samples
            for stage in (*STAGES, "commit")
        }
        times = read_times(self.settings, watch.output, watch.output_ends).times_ms
        times.sort()
        rate = timing(times).rate
        self.say(f"maximum: {rate:,.0f}/s")
        return {"rate": rate, "samples": samples, **spent, **stages}

    def paced(self, worker: LiveWorker, rate: int) -> dict[str, Any]:
        """One load on the worker."""
        watch = Watch(self.settings, "signal")
        load = self._load(rate)
        (sender,), cores = send_measured([load], worker=worker.pid, broker=broker_pid())
        watch.wait(load.samples, worker.require_running)
        found = watch.latencies()
        if found.unanswered:
            raise RunError(f"at {rate}/s {found.unanswered:,} samples have no prediction")
        result = {
            "rate": rate,
            **summary(found.latency_ms),
            "repeated": found.repeated,
            **{f"{name}_cores": used for name, used in cores.items()},
            "commit": around_commits(found, watch.commits()),
            "sender": sender,
        }
        self.say(
            f"{rate:,}/s: p50 {result['p50_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms, {cores['worker']:.2f} cores"
        )
        return result

    def echoed(self, kind: str, rate: int) -> dict[str, Any]:
        """The same load, carried over by a loop without a model."""
        self.runs += 1
        output = f"echo-{kind}-{self.runs}"
        count = self.settings.partitions
        Cluster(self.settings).create({output: count}, self.settings.replication_factor, {output: STREAM_CONFIG})
        watch = Watch(self.settings, "signal", output)
        load = self._load(rate)
        with self._echo(kind, output) as child:
            (sender,), cores = send_measured([load], loop=child.pid, broker=broker_pid())
            watch.wait(load.samples, lambda: self._require_running(child, output))
        found = watch.latencies()
        result = {"rate": rate, **summary(found.latency_ms), "sender": sender}
        result |= {f"{name}_cores": used for name, used in cores.items()}
        self.say(f"floor, {kind}, {rate:,}/s: p50 {result['p50_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms")
        return result

    @contextmanager
    def _echo(self, kind: str, output: str) -> Iterator[Child]:
        source = self.settings.topic(SIGNAL_SAMPLES)
        starts = ",".join(map(str, ends(self.settings, source)))
        program = str(Path(__file__).resolve().parent / "echo_loop.py")
        child = Child(
            [sys.executable, program, kind, self.settings.broker, source, output, starts],
            output=self.directory / f"{output}.log",
            environment=self.settings.process_environment(),
        )
        try:
            yield child
        finally:
            child.kill()

    def _require_running(self, child: Child, output: str) -> None:
        if not child.running:
            said = (self.directory / f"{output}.log").read_text(errors="replace").strip()
            raise RunError(f"{output} has ended: {said[-500:]}")

    def _load(self, rate: float, samples: int = 0) -> Any:
        """Each load is a sequence of its own, so that its steps start at 0 again."""
        self.runs += 1
        samples = samples or max(1, round(rate * (self.seconds + WARM_UP_S)))
        name = f"load-{self.runs}"
        return load_of(
            self.settings, "signal", streams=STREAMS, rate=rate, samples=samples, sequence=name, seed=self.seed
        )


def table(report: Report) -> str:
    """Loads first, then the floor, then what commits do."""
    loads = [report[key] for key in report if key.isdigit()] + [report["half"]]
    rows: list[Row] = [("caststream", *_cells(load)) for load in loads]
    rows += [(f"{kind} echo", *_cells(load)) for kind, found in report["floor"].items() for load in found.values()]
    quantiles = ("p50 ms", "p90 ms", "p99 ms", "max ms")
    header = ("", "samples/s", *quantiles, "cores", "near a commit p99 ms", "else p99 ms", "sender late p99 ms")
    return markdown(header, rows)


def _cells(load: dict[str, Any]) -> Row:
    shown = [float(load[key]) for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms")]
    cores = load.get("worker_cores", load.get("loop_cores"))
    beside = [
        at(load, *path) for path in (("commit", "p99_near_ms"), ("commit", "p99_else_ms"), ("sender", "late_p99_ms"))
    ]
    return load["rate"], *shown, cores, *beside


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--half", type=int, help="half of the maximum rate, where it is known")
    options.add_argument("--loads", type=int, nargs="*", help="samples per second")
    options.add_argument("--seconds", type=float, help="per load, after a warm-up of 3 s; default 30, with --quick 10")
    options.add_argument("--seed", type=int, default=1, help="of the samples; default 1")
    return run_script(options.parse_args(), measure, table)


if __name__ == "__main__":
    sys.exit(main())
