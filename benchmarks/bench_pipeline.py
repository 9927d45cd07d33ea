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

from harness import Job, bench_broker, measure_rounds
from machine import machine, versions
from peers import PEERS, installed
from pipeline_report import OURS, STANDARD, Source, of_workload, show
from reporting import output, status_of
from rich.console import Console
from workload import Workload, preload

from core.callbacks import OnNote
from core.errors import StartupError
from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

TWO = "caststream_2"
EXACTLY_ONCE = "caststream_1_exactly_once"
WORKLOADS: Mapping[str, Workload] = {
    STANDARD: Workload(),
    "uneven": Workload(order="random"),
    "wide": Workload(streams=100_000),
    "msgpack": Workload(output_format="msgpack"),
}
"""By the name of the option. ``samples`` and ``seed`` are put in by the run."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

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
    },
)


def run(plan: Plan, seed: int, console: Console) -> dict[str, Any]:
    """Measure; the report is ready for JSON. What the standard workload gave stands at its top too.

    Raises:
        StartupError: the broker cannot be started, or a peer is not installed.
        RunError: a peer failed, or its outputs are not right.
    """

    def say(line: str) -> None:
        console.print(line, style="dim", highlight=False)

    found = machine()  # first: the load before ours
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
        "machine": found,
        "versions": versions() | _peer_versions(),
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
    """Of the packages that other peers run on, where those differ from ours."""
    there = installed()
    names = {"quixstreams": "quixstreams", "bytewax": "bytewax", "confluent-kafka": "confluent-kafka of both"}
    return {label: there[name] for name, label in names.items() if name in there}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the standard workload only, fewer samples and rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, all else on stderr")
    parser.add_argument("--workload", choices=list(WORKLOADS), help="this one only; only `even` has all peers")
    parser.add_argument("--peers", help="these only, separated by commas, caststream_1 with them")
    parser.add_argument("--rounds", type=int, help=f"rounds, by default {FULL.rounds}, with --quick {QUICK.rounds}")
    parser.add_argument("--seed", type=int, default=1, help="of the samples; default 1")
    parser.add_argument("--scale", type=float, default=1.0, help="times the samples of every peer: 0.05 for a trial")
    return parser.parse_args()


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
    options = _arguments()

    def work() -> None:
        report = run(_plan(options), options.seed, Console(stderr=True))
        output(report, options.json, show)

    return status_of(work)


if __name__ == "__main__":
    sys.exit(main())
