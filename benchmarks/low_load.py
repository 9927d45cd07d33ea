"""Medians of the runs of `bench_low_load.py`, whether the targets hold, and the table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from reporting import Report, Row, at, figure, markdown, package_line, where

OURS, BEFORE = "caststream_1", "caststream_1_before"
IDLE = 0
MEASURES = ("worker_cores", "broker_cores", "machine_cores", "p50_ms", "p99_ms", "rss_mib", "largest_mib")

MOST_CORES: Mapping[int, float] = {IDLE: 0.01, 10: 0.02, 100: 0.07, 1000: 0.20}
MOST_MS: Mapping[str, float] = {"p50_ms": 7.0, "p99_ms": 20.0}
MOST_OF_BROKER, BROKER_LOAD = 0.5, 1000
"""The broker's share beside our worker, as a part of its share beside the worker of ``--against``, at this load."""

Found = Mapping[str, Any]


def of_runs(runs: Sequence[Found]) -> dict[str, Any]:
    """One peer over its runs: of each figure the median, the smallest and the largest."""
    loads = {
        rate: {
            measure: spread([run["loads"][rate][measure] for run in runs])
            for measure in MEASURES
            if measure in runs[0]["loads"][rate]
        }
        for rate in runs[0]["loads"]
    }
    return {
        "version": runs[0]["version"],
        "start_s": spread([run["start_s"] for run in runs]),
        "loads": loads,
        "runs": list(runs),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median, the smallest and the largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def targets(peers: Found) -> list[dict[str, Any]]:
    """Say for our worker what is wanted, what was found, and whether it holds; at the loads that were measured."""
    others = [name for name in peers if name not in (OURS, BEFORE)]
    made = []
    for rate, most_cores in MOST_CORES.items():
        name, ours = load_name(rate), _median(peers, OURS, rate, "worker_cores")
        made.append(_target(f"{name}, cores", most_cores, ours))
        made += [
            _target(f"{name}, {measure.replace('_', ', ')}", most, _median(peers, OURS, rate, measure))
            for measure, most in MOST_MS.items()
        ]
        made += [
            _target(f"{name}, cores of {peer}", _median(peers, peer, rate, "worker_cores"), ours) for peer in others
        ]
    beside, before = (_median(peers, peer, BROKER_LOAD, "broker_cores") for peer in (OURS, BEFORE))
    half = None if before is None else MOST_OF_BROKER * before
    made.append(_target(f"{load_name(BROKER_LOAD)}, half of the broker's cores beside {BEFORE}", half, beside))
    return [each for each in made if each is not None]


def _target(what: str, most: float | None, found: float | None) -> dict[str, Any] | None:
    if most is None or found is None:
        return None
    return {"what": what, "most": most, "found": found, "held": found <= most}


def _median(peers: Found, name: str, rate: int, measure: str) -> float | None:
    found: float | None = at(peers, name, "loads", str(rate), measure, "median")
    return found


def load_name(rate: int | str) -> str:
    """A load in words."""
    return f"{int(rate):,}/s" if int(rate) else "idle"


def percent(cores: float) -> str:
    """A share of one core."""
    return f"{100 * cores:.1f} %"


def table(report: Report) -> str:
    """A row for each load of each peer, then the starts."""
    rows: list[Row] = [
        (load_name(rate), name, *_cells(report["peers"][name]["loads"][str(rate)]))
        for rate in report["loads"]
        for name in report["peers"]
    ]
    header = ("load", "peer", "of a core", "spread", "broker", "p50 ms", "p99 ms", "RSS, MiB")
    starts: list[Row] = [
        (name, peer["start_s"]["median"], f"{figure(peer['start_s']['min'])} to {figure(peer['start_s']['max'])}")
        for name, peer in report["peers"].items()
    ]
    alone = percent(report["broker_alone_cores"])
    legend = (
        f"{report['streams']} streams; medians of {report['rounds']} runs of {report['seconds']:g} s. The broker alone "
        f"takes {alone}. RSS is of all processes of the peer, at the end of the load."
    )
    return "\n\n".join(
        (
            markdown(header, rows, text=(0, 1, 3)),
            legend,
            markdown(("first output after the start", "s", "spread"), starts, text=(0, 2)),
        )
    )


def _cells(load: Found) -> Row:
    cores = load["worker_cores"]
    return (
        percent(cores["median"]),
        f"{percent(cores['min'])} to {percent(cores['max'])}",
        percent(load["broker_cores"]["median"]),
        *(at(load, measure, "median") for measure in ("p50_ms", "p99_ms", "rss_mib")),
    )


def remarks(report: Report) -> str:
    """A line for each target, what was checked, the machine and the versions."""
    held = [
        f"{'held' if each['held'] else 'NOT HELD'}: {each['what']}: at most {figure(each['most'])}, "
        f"found {figure(each['found'])}"
        for each in report["targets"]
    ]
    differences = [run["max_abs_diff"] for peer in report["peers"].values() for run in peer["runs"]]
    checked = f"Every output was compared with an offline run; largest difference {max(differences):.1e}."
    peers = ", ".join(f"{name}: {peer['version']}" for name, peer in report["peers"].items())
    return "\n".join([*held, "", checked, peers, where(report), package_line(report)])
