"""The report of the pipeline benchmark: figures by peer and workload, the ratios that are aimed at, and a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from harness import Result, Run
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from workload import Workload

from stream_app.settings import Settings

OURS = "caststream_1"
STANDARD = "even"
TARGETS: Mapping[str, float] = {"faust": 40.0, "quix": 40.0, "bytewax": 40.0, "loop": 0.7}
"""How many times as fast as each of these `OURS` is to be."""

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """A workload in its source topic; ``expected`` (S, T) is what the model makes of it offline."""

    settings: Settings
    workload: Workload
    expected: NDArray[np.float32]
    record_bytes: float


def of_workload(source: Source, results: Mapping[str, Result]) -> dict[str, Any]:
    """What was measured on one workload, by peer."""
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
    """By peer: the ratio that is wanted at least, the one found, and whether that holds."""
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


def show(report: Report, console: Console) -> None:
    """The report as a person reads it."""
    table = Table("workload", "peer", title="samples/s", title_justify="left")
    for column in ("median", "min", "max", "timed, s", "ratio", "a state every, s"):
        table.add_column(column, justify="right")
    for name, part in report["workloads"].items():
        for peer in part["peers"]:
            table.add_row(name, *_cells(part, peer))
        table.add_section()
    console.print(table)
    console.print(f"ratio: how many times as fast {OURS} is, medians. A state every: for each stream, in the mean.")
    for line in (*target_lines(report), *_descriptions(report)):
        console.print(line, highlight=False)


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
    """What was checked, the workloads, the machine, the versions."""
    found, parts = report["machine"], report["workloads"]
    runs = [run for part in parts.values() for peer in part["peers"].values() for run in peer["runs"]]
    difference = max(run["max_abs_diff"] for run in runs)
    return [
        f"Every output was checked against the offline run; largest difference {difference:.1e}.",
        *(_description(name, part) for name, part in parts.items()),
        f"{found['cpu']}, {found['cores']} cores, {found['memory_gib']:g} GiB, {found['system']}; "
        f"load before {found['load_1m_before']:g}; seed {report['seed']}",
        ", ".join(f"{name} {version}" for name, version in report["versions"].items()),
    ]


def _description(name: str, part: Report) -> str:
    workload, (interval, longest) = part["workload"], part["commit_interval_s"]
    return (
        f"{name}: {workload['streams']:,} streams, order {workload['order']}, {workload['format']} records of "
        f"{workload['record_bytes']:g} bytes, commit interval {interval:g} s (up to {longest:g} s)"
    )
