"""Records per second of `caststream replay`, its memory, and how well it keeps a pace.

    python benchmarks/bench_replay.py [--quick] [--json]

Each replay runs in a process of its own. Beside it runs a plain loop: msgspec and one `produce` per record, as the
documentation of both shows it. How late a record of a paced replay is tells the broker's append time: against the
record's event time, less the smallest such difference, which is the constant start.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from harness import bench_broker
from numpy.typing import NDArray
from replays import Run
from reporting import Report, Row, Say, markdown, parser, run_script, where

from core.data.castings import generate_castings
from core.data.signals import generate_signals
from core.errors import RunError, StartupError
from core.wire.records import SignalSample
from stream_app.clients.admin import Cluster
from stream_app.routes import SIGNAL_SAMPLES
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

CHILD = Path(__file__).with_name("replays.py")
PACED_STREAMS = 20
READ_TIMEOUT_S = 30.0
WARM_UP_MS = 1000  # of a paced replay: the broker's first records of a topic take longer
"""The first records of a paced replay, which no figure of its pace counts."""


@dataclass(frozen=True)
class Plan:
    """The amount that is measured: ``samples`` of each replay at full speed, ``paced_s`` seconds at speed 1."""

    rounds: int
    samples: int
    paced_s: float


FULL = Plan(5, 4_000_000, 30.0)
QUICK = Plan(3, 1_000_000, 12.0)


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON.

    Raises:
        StartupError: an option is out of its range, or the broker cannot be started.
        RunError: a replay failed, or lost something.
    """
    plan, seed = QUICK if options.quick else FULL, options.seed
    if options.rounds is not None:
        if options.rounds < 1:
            raise StartupError("--rounds must be 1 or more")
        plan = replace(plan, rounds=options.rounds)
    with bench_broker(say) as settings:
        say("writing the files ...")
        cases = _cases(plan, seed, settings.data_dir)
        runs: dict[str, list[Run]] = {name: [] for name in cases}
        for number in range(plan.rounds):
            for name in list(cases)[:: -1 if number % 2 else 1]:
                runs[name].append(_replayed(settings, *cases[name]))
                say(f"round {number + 1} of {plan.rounds}: {name} {runs[name][-1].rate:,.0f}/s")
        say(f"replaying {plan.paced_s:g} s at speed 1 ...")
        pace = _pace(settings, plan.paced_s, seed)
    rates = {name: statistics.median(each.rate for each in all_) for name, all_ in runs.items()}
    return {
        "rates": rates,
        "ratio_to_loop": rates["signals_20"] / rates["loop_20"],
        "peak_mib": {name: max(each.peak_mib for each in all_) for name, all_ in runs.items()},
        "pace": pace,
        "runs": {name: [asdict(each) | {"rate": each.rate} for each in all_] for name, all_ in runs.items()},
        "seed": seed,
    }


Case = tuple[str, Path, int]


def _cases(plan: Plan, seed: int, directory: Path) -> dict[str, Case]:
    """Return the cases by name: the program, the file, the streams."""
    few, many, casts = directory / "few.h5", directory / "many.h5", directory / "casts.h5"
    generate_signals(few, max(1, plan.samples // 200_000) * 20, seed, 10_000)
    generate_signals(many, 1000, seed, max(1, plan.samples // 1000))
    generate_castings(casts, max(8, plan.samples // 1200), seed)  # a quarter of the samples
    return {
        "signals_20": ("replay", few, 20),
        "loop_20": ("loop", few, 20),
        "signals_1000": ("replay", many, 1000),
        "casts_8": ("replay", casts, 8),
        "casts_200": ("replay", casts, 200),
    }


def _replayed(settings: Settings, what: str, path: Path, streams: int, speed: float = math.inf) -> Run:
    """Run one in a process of its own, into new topics; whatever it says it sent must be at the broker."""
    cluster = Cluster(settings)
    create_topics(settings)
    topic = settings.topic(SIGNAL_SAMPLES)
    words = [what, str(path), str(streams), json.dumps(settings.client_config()), topic, str(speed)]
    done = subprocess.run([sys.executable, str(CHILD), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"{what} {path.name} failed: {done.stderr.strip()[-500:]}")
    result = Run(**json.loads(done.stdout))
    there = cluster.offsets({topic: settings.partitions})[topic]
    if there != result.records:
        raise RunError(f"{what} {path.name} sent {result.records:,} records, {there:,} are at the broker")
    if math.isinf(speed):
        cluster.delete([topic])
    return result


def _pace(settings: Settings, seconds: float, seed: int) -> dict[str, float]:
    """Measure the lateness of a paced replay's records at the broker, in milliseconds."""
    path = settings.data_dir / "paced.h5"
    generate_signals(path, PACED_STREAMS * max(1, math.ceil(seconds / 10)), seed, 10_000)
    done = _replayed(settings, "replay", path, PACED_STREAMS, speed=1.0)
    times = _read_times(settings, settings.topic(SIGNAL_SAMPLES), done.records)
    counted = times[times[:, 0] >= times[:, 0].min() + WARM_UP_MS]
    late_ms = counted[:, 1] - counted[:, 0]
    late_ms = late_ms - late_ms.min()
    return {
        "records": len(late_ms),
        "records_per_s": done.records / done.seconds,
        "p50_ms": float(np.percentile(late_ms, 50)),
        "p99_ms": float(np.percentile(late_ms, 99)),
        "max_ms": float(late_ms.max()),
        "within_5_ms": float((late_ms <= 5).mean()),
        "cpu_share": done.cpu_s / done.seconds,
    }


def _read_times(settings: Settings, topic: str, records: int) -> NDArray[np.int64]:
    """(records, 2): event time and append time of every record, in ms."""
    consumer = Consumer(settings.client_config() | {"group.id": "bench", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(settings.partitions)])
    decode = msgspec.json.Decoder(SignalSample).decode
    times: list[tuple[int | None, int]] = []
    while len(times) < records:
        messages = consumer.consume(10_000, READ_TIMEOUT_S)
        if not messages or any(message.error() for message in messages):
            raise RunError(f"{topic}: the broker gave {len(times):,} of {records:,} records")
        times += [(decode(message.value() or b"").timestamp_ms, message.timestamp()[1]) for message in messages]
    consumer.close()
    return np.array(times)


def table(report: Report) -> str:
    """A row for each replay at full speed, then how well the paced one kept its pace."""
    rows: list[Row] = []
    for name, runs in report["runs"].items():
        rates = [each["rate"] for each in runs]
        cpu_us = statistics.median(each["cpu_s"] / each["records"] * 1e6 for each in runs)
        rows.append((name, statistics.median(rates), min(rates), max(rates), cpu_us, report["peak_mib"][name]))
    header = ("replay at full speed", "records/s", "min", "max", "µs of processor per record", "peak, MiB")
    pace = report["pace"]
    return "\n".join(
        [
            markdown(header, rows),
            "",
            f"signals_20 is {report['ratio_to_loop']:.1f} times the plain loop, medians",
            f"at speed 1, {pace['records_per_s']:,.0f}/s: late p50 {pace['p50_ms']:g}, p99 {pace['p99_ms']:g}, max "
            f"{pace['max_ms']:g} ms; {pace['within_5_ms']:.2%} within 5 ms; {pace['cpu_share']:.0%} of a core",
            where(report),
        ]
    )


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--seed", type=int, default=1, help="of the samples; default 1")
    options.add_argument("--rounds", type=int, help=f"rounds, by default {FULL.rounds}, with --quick {QUICK.rounds}")
    return run_script(options.parse_args(), measure, table)


if __name__ == "__main__":
    sys.exit(main())
