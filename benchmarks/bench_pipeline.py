"""Samples per second through the whole pipeline: caststream's worker beside peers, in one run on one broker.

    .venv/bin/python benchmarks/bench_pipeline.py [--quick] [--json] [--workload NAME]

README.md beside this file says what is measured and what the figures do not say.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from harness import Job, Result, Run, bench_broker, measure_rounds
from numpy.typing import NDArray
from peers import PEERS, installed, java, without_jdk
from reporting import Report, Say, markdown, package_line, parser, run_script, where
from workload import Workload, preload

from core.callbacks import OnNote
from core.errors import StartupError
from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM
from stream_app.local.jars import pinned_jars
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

OURS = "caststream_1"
STANDARD = "even"
TWO = "caststream_2"
EXACTLY_ONCE = "caststream_1_exactly_once"
TARGETS: Mapping[str, float] = {"faust": 40.0, "quix": 40.0, "bytewax": 40.0, "loop": 0.7}
"""The ratio of `OURS` to each of these peers that is wanted at least."""
WORKLOADS: Mapping[str, Workload] = {
    STANDARD: Workload(),
    "uneven": Workload(order="random"),
    "wide": Workload(streams=100_000),
    "msgpack": Workload(output_format="msgpack"),
}
"""Workloads by the name of the option. The run adds ``samples`` and ``seed``."""


@dataclass(frozen=True)
class Plan:
    """The amount that is measured.

    Args:
        workloads: names; the peers that are not caststream take the standard one only.
        rounds: of the standard workload.
        other_rounds: of each of the others.
        samples: in every source topic: more than the fastest peer takes, so that no partition runs dry in its time.
        outputs: by peer: each is timed for 3 to 10 seconds, however fast it is. Bytewax publishes some 4,000 at once,
            so that 40,000 begin and end with a burst, as does the warm-up.
    """

    workloads: Sequence[str]
    rounds: int
    other_rounds: int
    samples: int
    outputs: Mapping[str, int]


FULL = Plan(
    workloads=list(WORKLOADS),
    rounds=5,
    other_rounds=3,
    samples=4_000_000,
    outputs={
        OURS: 2_000_000,
        TWO: 3_000_000,
        EXACTLY_ONCE: 1_500_000,
        "faust": 25_000,
        "quix": 40_000,
        "bytewax": 40_000,
        "loop": 2_000_000,
        "kafka_streams_1": 100_000,
        "kafka_streams_gathered": 500_000,
    },
)
QUICK = Plan(
    workloads=[STANDARD],
    rounds=3,
    other_rounds=3,
    samples=2_000_000,
    outputs={
        OURS: 1_000_000,
        TWO: 1_600_000,
        EXACTLY_ONCE: 700_000,
        "faust": 8_000,
        "quix": 12_000,
        "bytewax": 40_000,
        "loop": 700_000,
        "kafka_streams_1": 60_000,
        "kafka_streams_gathered": 250_000,
    },
)


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON. What the standard workload gave stands at its top too.

    Raises:
        StartupError: an option is out of its range, the broker cannot be started, or a peer is not installed.
        RunError: a peer failed, or its outputs are not right.
    """
    plan, seed = _plan(options), options.seed
    left_out = [] if options.peers else without_jdk(plan.outputs)
    if left_out:
        say(f"left out: {', '.join(left_out)}: no JDK (javac) was found")
        plan = replace(plan, outputs={name: count for name, count in plan.outputs.items() if name not in left_out})
    model = cast(SignalExtractionLSTM, load_model(checkpoint_path("signal"), "signal"))
    with bench_broker(say) as settings:
        sources = {name: _prepare(name, plan.samples, seed, settings, model, say) for name in plan.workloads}
        results = measure_rounds(_jobs(plan, sources), say)
    reports = {
        name: of_workload(source, {peer: results[key] for key, peer in _keys(name, plan).items()})
        for name, source in sources.items()
    }
    return {
        **reports[plan.workloads[0]],
        "workloads": reports,
        "rounds": plan.rounds,
        "seed": seed,
        "model": fingerprint(model),
        "left_out": left_out,
        "versions": _peer_versions(),
    }


def _prepare(
    name: str, samples: int, seed: int, settings: Settings, model: SignalExtractionLSTM, say: OnNote
) -> Source:
    """A workload in topics of its own, and what the model makes of it offline."""
    workload = replace(WORKLOADS[name], samples=samples, seed=seed, partitions=settings.partitions)
    own = settings.replace(
        app_id=f"{settings.app_id}-{name}", topic_prefix=f"{name}-", output_format=workload.output_format
    )
    create_topics(own)
    say(f"{name}: sending {samples:,} samples of {workload.streams:,} streams ...")
    record_bytes = preload(workload, own)
    say(f"{name}: running the offline reference ...")
    return Source(own, workload, workload.predictions(model), record_bytes)


def _jobs(plan: Plan, sources: Mapping[str, Source]) -> dict[str, Job]:
    return {
        key: Job(
            PEERS[peer],
            plan.outputs[peer],
            plan.rounds if name == STANDARD else plan.other_rounds,
            source.settings,
            source.workload,
            source.expected,
        )
        for name, source in sources.items()
        for key, peer in _keys(name, plan).items()
    }


def _keys(workload: str, plan: Plan) -> dict[str, str]:
    """The jobs of a workload by their names in the progress lines, and the peer of each."""
    peers = plan.outputs if workload == STANDARD else (OURS, TWO)
    return {peer if workload == STANDARD else f"{peer}, {workload}": peer for peer in peers}


def _peer_versions() -> dict[str, str]:
    """Return the versions of the packages that other peers run on, if they differ from ours."""
    there = installed()
    names = {"quixstreams": "quixstreams", "bytewax": "bytewax", "confluent-kafka": "confluent-kafka of both"}
    jars = {jar.artifact: jar.version for jar in pinned_jars(java.JARS)}
    of_java = {"kafka-streams": jars["kafka-streams"], "onnxruntime of Java": jars["onnxruntime"]}
    return {label: there[name] for name, label in names.items() if name in there} | of_java


@dataclass(frozen=True)
class Source:
    """A workload in its source topic; ``expected`` (S, T) is what the model makes of it offline."""

    settings: Settings
    workload: Workload
    expected: NDArray[np.float32]
    record_bytes: float


def of_workload(source: Source, results: Mapping[str, Result]) -> dict[str, Any]:
    """The measurements on one workload, by peer."""
    rates = {name: result.median for name, result in results.items()}
    ratios = {name: rates[OURS] / rate for name, rate in rates.items() if name != OURS}
    settings, workload = source.settings, source.workload
    return {
        "rates": rates,
        "ratios": ratios,
        "targets": targets(ratios),
        "peers": {name: _of_peer(result, workload.streams) for name, result in results.items()},
        "workload": {
            "streams": workload.streams,
            "partitions": workload.partitions,
            "samples": workload.samples,
            "record_bytes": round(source.record_bytes, 1),
            "order": workload.order,
            "format": workload.output_format,
            "seed": workload.seed,
        },
        "commit_interval_s": [settings.commit_interval, settings.max_commit_interval],
    }


def targets(ratios: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Return by peer the least ratio wanted, the ratio found, and whether it holds."""
    return {
        name: {"wanted": wanted, "found": ratios[name], "held": ratios[name] >= wanted}
        for name, wanted in TARGETS.items()
        if name in ratios
    }


def _of_peer(result: Result, streams: int) -> dict[str, Any]:
    return {
        "version": result.runs[0].peer.version,
        "warm_up": result.runs[0].peer.warm_up,
        "median": result.median,
        "min": min(result.rates),
        "max": max(result.rates),
        "runs": [_of_run(run, streams) for run in result.runs],
    }


def _of_run(run: Run, streams: int) -> dict[str, Any]:
    seconds = float(run.appended_ms[-1] - run.appended_ms[0]) / 1000
    return {
        "rate": run.timing.rate,
        "samples": run.timing.samples,
        "seconds": run.timing.seconds,
        "repeated": run.repeated,
        "max_abs_diff": run.max_abs_diff,
        "state_records": run.state_records,
        # How old a stream's state in the changelog becomes, in the mean. A recovery store keeps no history to count.
        "state_interval_s": round(seconds * streams / run.state_records, 3) if run.peer.changelog else None,
    }


def table(report: Report) -> str:
    """A row for each peer on each workload, then what was checked and where."""
    rows = [(name, *_cells(part, peer)) for name, part in report["workloads"].items() for peer in part["peers"]]
    header = ("workload", "peer", "median samples/s", "min", "max", "timed, s", "ratio", "a state every, s")
    legend = f"ratio: how many times as fast {OURS} is, medians. A state every: for each stream, in the mean."
    return "\n".join([markdown(header, rows, text=(0, 1)), "", legend, *target_lines(report), *_descriptions(report)])


def _cells(part: Report, peer: str) -> list[str]:
    found, ratio = part["peers"][peer], part["ratios"].get(peer)
    rates = [f"{found[key]:,.0f}" for key in ("median", "min", "max")]
    seconds = max(run["seconds"] for run in found["runs"])
    intervals = [run["state_interval_s"] for run in found["runs"]]
    interval = "" if None in intervals else f"{max(intervals):.2f}"
    return [peer, *rates, f"{seconds:.1f}", f"{ratio:.2f}" if ratio else "", interval]


def target_lines(report: Report) -> list[str]:
    """A line for each ratio that is aimed at."""
    return [
        f"{'held' if target['held'] else 'not held'}: {OURS} is {target['found']:.2f} times as fast as {name}, "
        f"wanted {target['wanted']:g}"
        for name, target in report["targets"].items()
    ]


def _descriptions(report: Report) -> list[str]:
    """The checks, the workloads, the machine and the versions."""
    parts = report["workloads"]
    runs = [run for part in parts.values() for peer in part["peers"].values() for run in peer["runs"]]
    difference = max(run["max_abs_diff"] for run in runs)
    return [
        f"Every output was checked against the offline run; largest difference {difference:.1e}.",
        *(_description(name, part) for name, part in parts.items()),
        f"{where(report)}; seed {report['seed']}",
        package_line(report),
    ]


def _description(name: str, part: Report) -> str:
    workload, (interval, longest) = part["workload"], part["commit_interval_s"]
    return (
        f"{name}: {workload['streams']:,} streams, order {workload['order']}, {workload['format']} records of "
        f"{workload['record_bytes']:g} bytes, commit interval {interval:g} s (up to {longest:g} s)"
    )


def _arguments() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--workload", choices=list(WORKLOADS), help="this one only; only `even` has all peers")
    options.add_argument("--peers", help="these only, separated by commas, caststream_1 with them")
    options.add_argument("--rounds", type=int, help=f"rounds, by default {FULL.rounds}, with --quick {QUICK.rounds}")
    options.add_argument("--seed", type=int, default=1, help="of the samples; default 1")
    options.add_argument("--scale", type=float, default=1.0, help="times the samples of every peer: 0.05 for a trial")
    return options.parse_args()


def _plan(options: argparse.Namespace) -> Plan:
    """Raises StartupError where an option is out of its range."""
    plan = QUICK if options.quick else FULL
    if (options.rounds is not None and options.rounds < 1) or not 0 < options.scale <= 100:
        raise StartupError("--rounds must be 1 or more, --scale above 0 and at most 100")
    chosen = set(options.peers.split(",")) if options.peers else set(plan.outputs)
    if unknown := chosen - plan.outputs.keys():
        raise StartupError(f"--peers {', '.join(sorted(unknown))}: no such peer, there are {', '.join(plan.outputs)}")
    outputs = {
        name: max(1000, round(options.scale * count))
        for name, count in plan.outputs.items()
        if name in chosen | {OURS, TWO}
    }
    return Plan(
        workloads=[options.workload] if options.workload else plan.workloads,
        rounds=options.rounds or plan.rounds,
        other_rounds=options.rounds or plan.other_rounds,
        samples=max(1000, round(options.scale * plan.samples)),
        outputs=outputs,
    )


def main() -> int:
    """Entry point."""
    return run_script(_arguments(), measure, table)


if __name__ == "__main__":
    sys.exit(main())
