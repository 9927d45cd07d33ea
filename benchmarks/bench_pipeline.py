"""Samples per second through the whole pipeline: caststream's worker beside peers, in one run on one broker.

    python benchmarks/bench_pipeline.py [--quick] [--json]

README.md beside this file says what is measured and what the figures do not say.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from harness import Result, bench_broker, measure_rounds
from machine import machine, versions
from outputs import WARM_UP
from peers import PEERS
from rich.console import Console
from rich.table import Table
from workload import Workload, preload

from core.errors import CaststreamError, StartupError
from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM
from stream_app.topics import create_topics

OURS = "caststream_1"
STREAMS = 1000


@dataclass(frozen=True)
class Plan:
    """How much is measured. ``outputs`` by peer: each is timed for some ten seconds, however fast it is."""

    rounds: int
    outputs: Mapping[str, int]


FULL = Plan(5, {"caststream_1": 3_000_000, "faust": 40_000})
QUICK = Plan(3, {"caststream_1": 1_000_000, "faust": 14_000})


def run(plan: Plan, seed: int, console: Console) -> dict[str, Any]:
    """Measure; the report is ready for JSON.

    Raises:
        StartupError: the broker cannot be started.
        RunError: a peer failed, or its outputs are not right.
    """

    def say(line: str) -> None:
        console.print(line, style="dim", highlight=False)

    found = machine()  # first: the load before ours
    workload = Workload(STREAMS, -(-max(plan.outputs.values()) // STREAMS), seed=seed)
    model = cast(SignalExtractionLSTM, load_model(checkpoint_path("signal"), "signal"))
    with bench_broker(say) as settings:
        create_topics(settings)
        say(f"sending {workload.samples:,} samples of {STREAMS:,} streams ...")
        record_bytes = preload(workload, settings)
        say("running the offline reference ...")
        expected = workload.predictions(model)
        peers = {name: (PEERS[name], needed) for name, needed in plan.outputs.items()}
        results = measure_rounds(peers, plan.rounds, settings, workload, expected, say)
    medians = {name: result.median for name, result in results.items()}
    return {
        "rates": medians,
        "ratios": {name: medians[OURS] / rate for name, rate in medians.items() if name != OURS},
        "peers": {name: _of_peer(result) for name, result in results.items()},
        "rounds": plan.rounds,
        "warm_up": WARM_UP,
        "workload": {
            "streams": STREAMS,
            "partitions": settings.partitions,
            "samples": workload.samples,
            "record_bytes": round(record_bytes, 1),
            "seed": seed,
        },
        "model": fingerprint(model),
        "machine": found,
        "versions": versions(),
    }


def _of_peer(result: Result) -> dict[str, Any]:
    return {
        "version": result.runs[0].peer.version,
        "median": result.median,
        "min": min(result.rates),
        "max": max(result.rates),
        "runs": [
            {
                "rate": run.timing.rate,
                "samples": run.timing.samples,
                "seconds": run.timing.seconds,
                "repeated": run.repeated,
                "max_abs_diff": run.max_abs_diff,
                "state_records": run.state_records,
            }
            for run in result.runs
        ],
    }


def show(report: Mapping[str, Any], console: Console) -> None:
    """The report as a person reads it."""
    workload, found = report["workload"], report["machine"]
    size = f"{workload['streams']:,} streams, {workload['record_bytes']:g}-byte records"
    title = f"samples/s: {size}, {report['rounds']} rounds"
    table = Table("peer", title=title, title_justify="left")
    for column in ("median", "min", "max", "timed, s", "ratio"):
        table.add_column(column, justify="right")
    for name, peer in report["peers"].items():
        seconds = max(run["seconds"] for run in peer["runs"])
        ratio = report["ratios"].get(name)
        rates = [f"{peer[key]:,.0f}" for key in ("median", "min", "max")]
        table.add_row(name, *rates, f"{seconds:.1f}", f"{ratio:.1f}" if ratio else "")
    console.print(table)
    console.print(f"ratio: how many times faster {OURS} is, medians")
    difference = max(run["max_abs_diff"] for peer in report["peers"].values() for run in peer["runs"])
    console.print(f"Every output was checked against the offline run; largest difference {difference:.1e}.")
    console.print(
        f"{found['cpu']}, {found['cores']} cores, {found['memory_gib']:g} GiB, {found['system']}; "
        f"load before {found['load_1m_before']:g}; seed {workload['seed']}"
    )
    console.print(", ".join(f"{name} {version}" for name, version in report["versions"].items()), highlight=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer samples and rounds: under five minutes")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, all else on stderr")
    parser.add_argument("--rounds", type=int, help=f"rounds, by default {FULL.rounds}, with --quick {QUICK.rounds}")
    parser.add_argument("--seed", type=int, default=1, help="of the samples; default 1")
    parser.add_argument("--scale", type=float, default=1.0, help="times the samples of every peer: 0.05 for a trial")
    return parser.parse_args()


def _plan(options: argparse.Namespace) -> Plan:
    plan = QUICK if options.quick else FULL
    rounds = plan.rounds if options.rounds is None else options.rounds
    if rounds < 1 or not 0 < options.scale <= 100:
        raise StartupError("--rounds must be 1 or more, --scale above 0 and at most 100")
    return Plan(rounds, {name: max(1000, round(options.scale * count)) for name, count in plan.outputs.items()})


def main() -> int:
    """Entry point."""
    options = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started ends in order
    try:
        report = run(_plan(options), options.seed, Console(stderr=True))
    except CaststreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, StartupError) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(report))
    else:
        show(report, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
