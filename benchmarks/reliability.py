"""Common parts of the scripts behind docs/reliability.md: where figures, series and plots go, and the plots themselves.

A soak over its time, an overload over its time, pauses at a failover.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reporting import RESULTS, Doc, Report, Say, run_script, say, stored, write_whole

from core.training.drawing import BLACK, BLUE, DPI, GREEN, GREY, STYLE, VERMILION
from core.training.extras import require

Axes = Any
Figure = Any

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SERIES = ("columns", "by_minute", "rates")
"""Keys of a report under which series stand."""
COLOURS = (BLUE, VERMILION, GREEN)
MIB = 2**20


def write_plot(name: str, report: Report, folder: Path) -> Path:
    """Draw what a script of this name has found; the file.

    Raises:
        StartupError: matplotlib is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"reliability-{name}.png"
    with require("matplotlib").rc_context(STYLE):
        PLOTS[name](report).savefig(path, dpi=DPI, metadata={"Software": None})
    return path


def _figure(width: float, height: float, rows: int, columns: int) -> tuple[Figure, Sequence[Axes]]:
    made = require("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    return made, [made.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]


def soak(report: Report) -> Figure:
    """Memory, counts, latency, streams, lag and disk over the minutes of a soak."""
    figure, axes = _figure(9.6, 5.4, 2, 3)
    for number, worker in enumerate(report["workers"]):
        _soak_of(axes, worker, COLOURS[number % len(COLOURS)], f"worker {number}, " if number else "")
    titles = ("resident memory, MiB", "file descriptors, threads, tasks", "latency, ms")
    for panel, title in zip(axes, (*titles, "live streams", "lag, records", "topics on disk, MiB"), strict=True):
        panel.set_title(title)
        panel.set_ylim(bottom=0)
        panel.axvspan(0, 0.1 * report["seconds"] / 60, color="#F2F2F2", zorder=0)
        if panel.get_legend_handles_labels()[1]:
            panel.legend(fontsize=8)
    for panel in axes[3:]:
        panel.set_xlabel("minutes")
    return figure


def _soak_of(axes: Sequence[Axes], worker: Report, colour: str, who: str) -> None:
    columns, by_minute = worker["columns"], worker["by_minute"]
    minutes = [at_s / 60 for at_s in columns["at_s"]]
    axes[0].plot(minutes, [value / MIB for value in columns["rss_bytes"]], color=colour)
    for name, words, line in (("fds", "file descriptors", "-"), ("threads", "threads", "--"), ("tasks", "tasks", ":")):
        axes[1].plot(minutes, columns[name], line, color=colour, label=f"{who}{words}")
    ends = [at_s / 60 for at_s in by_minute["at_s"]]
    for name, line in (("p50_ms", "-"), ("p99_ms", "--")):
        axes[2].plot(ends, by_minute[name], line, color=colour, label=f"{who}{name[:3]}")
    axes[3].plot(minutes, columns["active_streams"], color=colour)
    axes[4].plot(minutes, columns["lag"], color=colour, linewidth=0.8)
    for name, words, line in (("topics", "sources and outputs", "-"), ("changelogs", "changelogs", "--")):
        if f"{name}_disk_bytes" in columns:
            sizes = [value / MIB for value in columns[f"{name}_disk_bytes"]]
            axes[5].plot(minutes, sizes, line, color=colour, label=words)


def overload(report: Report) -> Figure:
    """Rates, records waiting and memory over the time of an overload."""
    found = report["overload"]
    figure, (rates, waiting, memory) = _figure(9.6, 2.8, 1, 3)
    minutes = [at_s / 60 for at_s in found["rates"]["at_s"]]
    for name, words, colour in (("in_per_s", "sent", VERMILION), ("out_per_s", "predicted", BLUE)):
        rates.plot(minutes, [rate / 1000 for rate in found["rates"][name]], color=colour, label=words)
    rates.set_title("thousand samples per second")
    rates.legend(fontsize=8)
    waiting.plot(minutes, [count / 1e6 for count in found["rates"]["waiting"]], color=BLACK)
    waiting.set_title("million samples waiting")
    memory.plot(
        [at_s / 60 for at_s in found["columns"]["at_s"]],
        [value / MIB for value in found["columns"]["rss_bytes"]],
        color=BLUE,
    )
    memory.set_title("worker's resident memory, MiB")
    for panel in (rates, waiting, memory):
        panel.set_ylim(bottom=0)
        panel.set_xlabel("minutes")
    return figure


def failover(report: Report) -> Figure:
    """Every repetition of every pause, with what is aimed at."""
    rows = [row for row in report["summary"] if row["values_s"]]
    figure, (axes,) = _figure(8.4, 0.9 + 0.36 * len(rows), 1, 1)
    for place, row in enumerate(rows):
        colour = BLUE if row["held"] is not False else VERMILION
        axes.plot(row["values_s"], [place] * len(row["values_s"]), "o", color=colour, markersize=4, alpha=0.6)
        axes.plot(row["median_s"], place, "|", color=BLACK, markersize=14)
        if row["target_s"] is not None:
            axes.plot(row["target_s"], place, "<", color=GREY, markersize=7)
    axes.set_yticks(range(len(rows)), [row["what"] for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(require("matplotlib.ticker").FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("seconds; | the median, ◂ what is aimed at")
    return figure


PLOTS: dict[str, Callable[[Report], Figure]] = {"soak": soak, "overload": overload, "failover": failover}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that these scripts have beside `reporting.parser`'s."""
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do without the consistency checker")
    parser.add_argument(
        "--results", type=Path, help=f"where latest.json is; by default {RESULTS}, and nothing is kept with --quick"
    )
    parser.add_argument("--images", type=Path, help=f"where the plot goes; by default {IMAGES}, nowhere with --quick")


def run_reliability(
    options: argparse.Namespace, name: str, measure: Callable[[argparse.Namespace, Say], Report], show: Doc
) -> int:
    """`reporting.run_script`, with the figures, the series and the plot kept where the options say."""
    results = options.results or (None if options.quick else RESULTS)
    images = options.images or (None if options.quick else IMAGES)

    def keep(report: Report) -> None:
        if results is not None:
            store(name, report, results)
            say(f"wrote {results / 'latest.json'}")
        if images is not None:
            say(f"wrote {write_plot(name, report, images)}")

    return run_script(options, measure, show, keep)


def store(name: str, report: Report, results: Path) -> None:
    """The report's figures into ``latest.json``, and all of it, with its series, into a folder that git ignores."""
    (results / "series").mkdir(parents=True, exist_ok=True)
    write_whole(_series(results, name), json.dumps(report, indent=1) + "\n")
    latest = stored(results)
    latest["reliability"] = latest.get("reliability", {}) | {name: without_series(report)}
    write_whole(results / "latest.json", json.dumps(latest, indent=1) + "\n")


def without_series(found: Any) -> Any:
    """A report, or a part of one, without what was looked at every few seconds."""
    if isinstance(found, list):
        return [without_series(each) for each in found]
    if isinstance(found, dict):
        return {key: without_series(value) for key, value in found.items() if key not in SERIES}
    return found


def redraw(results: Path, folder: Path) -> list[Path]:
    """Draw the plots whose series are on this machine; the files."""
    there = [name for name in PLOTS if _series(results, name).exists()]
    return [write_plot(name, json.loads(_series(results, name).read_text()), folder) for name in there]


def _series(results: Path, name: str) -> Path:
    return results / "series" / f"{name}.json"
