"""The plots of docs/performance.md, from the results of `bench_all.py`; `render.py` calls them.

Every plot takes the reports by part and gives a figure, or None where what it shows was not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from figures import loads
from reporting import at

from core.training.extras import require
from core.training.plots import BLACK, BLUE, DPI, GREEN, GREY, STYLE, VERMILION

Reports = Mapping[str, Any]
Axes = Any
Figure = Any

SKY = "#56B4E9"
STAGES = (("decode", "decode and judge", BLUE), ("infer", "LSTM", VERMILION), ("publish", "encode and publish", GREEN))


def write_plots(parts: Reports, folder: Path) -> list[Path]:
    """Write what can be drawn; the files.

    Raises:
        StartupError: matplotlib is missing.
    """
    rc_context = require("matplotlib").rc_context
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in PLOTS.items():
        with rc_context(STYLE):
            figure = draw(parts)
            if figure is not None:
                path = folder / file_name(name)
                figure.savefig(path, dpi=DPI, metadata={"Software": None})
                written.append(path)
    return written


def file_name(name: str) -> str:
    """Of a plot."""
    return f"performance-{name}.png"


def _figure(width: float, height: float, panels: int = 1) -> tuple[Figure, Sequence[Axes]]:
    made = require("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    return made, [made.add_subplot(1, panels, i + 1) for i in range(panels)]


def throughput(parts: Reports) -> Figure | None:
    """Samples per second over the number of streams, and over the chunk size."""
    sweep = parts.get("sweep", {})
    if not at(sweep, "streams") or not at(sweep, "chunks"):
        return None
    figure, (left, right) = _figure(8.4, 3.2, 2)
    for axes, key, points in ((left, "streams", sweep["streams"]), (right, "chunk", sweep["chunks"])):
        places, rates = [point[key] for point in points], [point["rate"] / 1000 for point in points]
        below = [rate - point["min"] / 1000 for rate, point in zip(rates, points, strict=True)]
        above = [point["max"] / 1000 - rate for rate, point in zip(rates, points, strict=True)]
        axes.errorbar(places, rates, (below, above), color=BLUE, marker="o", markersize=4, capsize=3)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_plain_numbers())
        axes.set_ylim(0, 1.1 * max(point["max"] for point in (*sweep["streams"], *sweep["chunks"])) / 1000)
    left.set_title(f"Chunks of up to {sweep['chunk']:,} records")
    left.set_xlabel("streams")
    left.set_ylabel("thousand samples per second")
    right.set_title(f"{sweep['chunk_streams']:,} streams")
    right.set_xlabel("records in a chunk, at most")
    right.axvline(sweep["chunk"], color=GREY, linestyle="--", linewidth=1)
    right.annotate("default", (sweep["chunk"], 0), (4, 4), textcoords="offset points", color="#555555", fontsize=9)
    return figure


def latency(parts: Reports) -> Figure | None:
    """p50 and p99 over the load, with the floor of the bare loops."""
    report = parts.get("latency", {})
    found = sorted((load for _, load in loads(report)), key=lambda load: load["rate"])
    if not found:
        return None
    figure, (axes,) = _figure(7.0, 3.8)
    _two_lines(axes, found, "caststream", color=BLUE, marker="o", markersize=4)
    for (kind, echoes), colour in zip((at(report, "floor") or {}).items(), (VERMILION, GREEN), strict=False):
        ordered = sorted(echoes.values(), key=lambda load: load["rate"])
        _two_lines(axes, ordered, f"bare {kind} loop", color=colour, marker="s", markersize=3, linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_ticks(axes)
    axes.set_xlabel("samples per second")
    axes.set_ylabel("ms from sample to prediction")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _two_lines(axes: Axes, found: Sequence[Any], name: str, **style: Any) -> None:
    rates = [load["rate"] for load in found]
    for key, quantile, line in (("p50_ms", "p50", "-"), ("p99_ms", "p99", "--")):
        axes.plot(rates, [load[key] for load in found], line, label=f"{name}, {quantile}", **style)


def _plain_ticks(axes: Axes) -> None:
    ticker = require("matplotlib.ticker")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_plain_numbers())
        axis.set_minor_formatter(ticker.NullFormatter())


def _plain_numbers() -> Any:
    return require("matplotlib.ticker").FuncFormatter(lambda value, _: f"{value:,g}")


def stages(parts: Reports) -> Figure | None:
    """µs per sample by stage, over the number of streams. Commits, which mostly wait beside them, are not stacked."""
    points = at(parts, "sweep", "streams")
    if not points:
        return None
    figure, (axes,) = _figure(7.0, 3.2)
    places = range(len(points))
    bottom = [0.0] * len(points)
    for key, name, colour in STAGES:
        heights = [point[f"{key}_us"] for point in points]
        axes.bar(places, heights, 0.6, bottom, color=colour, label=name)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    cpu_us = [point["worker_cpu_us"] for point in points]
    axes.plot(places, cpu_us, "_", color=BLACK, markersize=26, label="CPU of the worker")
    axes.set_xticks(list(places), [f"{point['streams']:,}" for point in points])
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("streams")
    axes.set_ylabel("µs per sample")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def where_time_goes(parts: Reports) -> Figure | None:
    """One sample's CPU time at the highest rate: the worker's stages, the rest of the worker, the broker."""
    found = at(parts, "latency", "maximum")
    if not found:
        return None
    sizes = {name: found[f"{key}_us"] for key, name, _ in STAGES}
    sizes["all else in the worker"] = max(0.0, found["worker_cpu_us"] - sum(sizes.values()))
    sizes["broker"] = found["broker_cpu_us"]
    figure, (axes,) = _figure(7.0, 2.4)
    axes.barh(range(len(sizes)), list(sizes.values()), color=[*(colour for _, _, colour in STAGES), SKY, GREY])
    for place, size in enumerate(sizes.values()):
        axes.annotate(f"{size:.2f}", (size, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(sizes)), list(sizes))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(right=1.12 * max(sizes.values()))
    axes.set_xlabel(f"µs per sample, at {found['rate']:,.0f} samples/s")
    return figure


PLOTS: dict[str, Callable[[Reports], Figure | None]] = {
    "throughput": throughput,
    "latency": latency,
    "stages": stages,
    "where-time-goes": where_time_goes,
}
