"""Puts the figures and plots of the last `make bench` into docs/performance.md, so that nobody copies numbers by hand.

    .venv/bin/python benchmarks/render.py [--results FILE]

A table or plot stands between `<!-- figures: NAME -->` and `<!-- end of figures -->`; what is there is replaced. Where
series of soak, overload or failover lie in results/series, their plots are drawn again too. A figure that a report does
not hold is left out, so that a part that failed costs its own rows only.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from low_load import load_name, percent
from reliability import redraw
from reporting import RESULTS, Row, at, figure, markdown, package_line, say, where

from core.training.drawing import BLACK, BLUE, DPI, GREEN, GREY, STYLE, VERMILION
from core.training.extras import require

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"(<!-- figures: ([a-z_]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
NOT_YET = "*Not measured in the last run.*"
BILLION_A_DAY = "11574"  # the load of bench_latency.py that this is
DAY_S = 86_400

Reports = Mapping[str, Any]
Found = tuple[str, Any, str, str]  # what, median or single figure, unit, spread or remark
Axes = Any
Figure = Any

SKY = "#56B4E9"
STAGES = (("decode", "decode and judge", BLUE), ("infer", "LSTM", VERMILION), ("publish", "encode and publish", GREEN))


def summary_table(parts: Reports) -> str:
    """One table over all parts."""
    rows = [
        (what, figure(value), unit, remark)
        for name, lines in ROWS.items()
        if name in parts
        for what, value, unit, remark in lines(parts[name])
        if value is not None
    ]
    return markdown(("what", "figure", "unit", "spread, remark"), rows, text=(0, 2, 3))


def _pipeline(report: Reports) -> Iterator[Found]:
    """Each workload that was run; the standard one is named ``even``."""
    for workload, part in (at(report, "workloads") or {"even": report}).items():
        ratios, of = at(part, "ratios") or {}, "" if workload == "even" else f", {workload}"
        for name, peer in (at(part, "peers") or {}).items():
            spread = f"{figure(at(peer, 'min'))} to {figure(at(peer, 'max'))}"
            if name in ratios:
                spread += f"; caststream_1 is {ratios[name]:.2f} times as fast"
            yield f"throughput, {name}{of}", at(peer, "median"), "samples/s", spread


def _latency(report: Reports) -> Iterator[Found]:
    for name, load in loads(report):
        p99, longest, cores = (figure(at(load, key)) for key in ("p99_ms", "max_ms", "worker_cores"))
        yield f"latency p50 at {name}", at(load, "p50_ms"), "ms", f"p99 {p99}, max {longest}; {cores} cores"
    for kind, found in (at(report, "floor") or {}).items():
        for rate, load in found.items():
            what = f"latency p50 of a bare {kind} loop at {int(rate):,}/s"
            yield what, at(load, "p50_ms"), "ms", f"p99 {figure(at(load, 'p99_ms'))}"


def loads(report: Reports) -> list[tuple[str, Any]]:
    """The paced loads of the latency part by name, half of the maximum last."""
    found = [(f"{int(key):,}/s", report[key]) for key in report if key.isdigit()]
    half = at(report, "half")
    return [*found, (f"half of the maximum, {half['rate']:,}/s", half)] if half else found


def _low_load(report: Reports) -> Iterator[Found]:
    for name, peer in (at(report, "peers") or {}).items():
        for rate, load in peer["loads"].items():
            shares = f"{percent(at(load, 'worker_cores', 'min'))} to {percent(at(load, 'worker_cores', 'max'))}"
            quantiles = (f"{key[:3]} {figure(load[key]['median'])} ms" for key in ("p50_ms", "p99_ms") if key in load)
            broker = f"broker {percent(load['broker_cores']['median'])}"
            remark = "; ".join((shares, broker, *quantiles, f"{figure(load['rss_mib']['median'])} MiB"))
            yield f"{name}, {load_name(rate)}", load["worker_cores"]["median"], "cores", remark


def _crash(report: Reports) -> Iterator[Found]:
    for name, found in (at(report, "peers") or {}).items():
        remark = f"of {figure(found['samples'])}; {figure(found['lost'])} lost, {figure(found['repeated'])} repeated"
        yield f"wrong outputs after {found['kills']} kill -9, {name}", found["wrong"], "outputs", remark


def _model(report: Reports) -> Iterator[Found]:
    for shape in at(report, "shapes") or ():
        if shape["T"] == 1 and shape["B"] in (1, 64, 1024):
            remark = f"{shape['ratio']:.2f} times as fast as nn.LSTM, {figure(shape['nn_lstm_us'])} µs"
            yield f"the model alone, B={shape['B']}, T=1", shape["ours_us"], "µs per call", remark


def _castings(report: Reports) -> Iterator[Found]:
    model = f"the model alone: {figure(at(report, 'model', 'windows_per_s'))}"
    yield "casting windows, one worker", at(report, "max", "windows_per_s"), "windows/s", model
    yield "casting samples, one worker", at(report, "max", "samples_per_s"), "samples/s", "with their windows"
    strands = figure(at(report, "strands"))
    yield f"{strands} strands at 1 Hz", at(report, "paced", "worker_cores"), "cores", "hop 30, full windows"
    for load, beside in (("paced", "alone"), ("both", "beside 5,000 signal samples/s")):
        p99 = f"p99 {figure(at(report, load, 'casting', 'p99_ms'))}"
        yield f"latency p50 of scores, {beside}", at(report, load, "casting", "p50_ms"), "ms", p99
    p99 = f"p99 {figure(at(report, 'both', 'signal', 'p99_ms'))}"
    yield f"latency p50 of signals, beside {strands} strands", at(report, "both", "signal", "p50_ms"), "ms", p99


def _tasks(report: Reports) -> Iterator[Found]:
    least = figure(at(report, "least"))
    for name, found in (at(report, "tasks") or {}).items():
        wanted = f"; at least {least} are wanted" if name == "pump" else ""
        remark = (
            f"{figure(found['min'])} to {figure(found['max'])}; {figure(found['worker_cpu_us'])} µs of CPU a sample"
        )
        yield f"throughput of {found['what']}", found["rate"], "samples/s", remark + wanted
    for name, ratio in (at(report, "ratios") or {}).items():
        yield f"{at(report, 'tasks', name, 'what')}, beside the task that ships", ratio, "times", "in one run"


def _scale(report: Reports) -> Iterator[Found]:
    for number, found in (at(report, "streams") or {}).items():
        of = f"{int(number):,} streams"
        yield f"memory per stream, {of}", at(found, "beyond_state_bytes"), "bytes", "beyond 1,024 of h and c"
        stall = f"longest stall {figure(at(found, 'stall', 'longest_ms'))} ms"
        yield f"commit, {of}", at(found, "commits", "mean_ms"), "ms", stall
        bytes_per_s = at(found, "changelog_bytes_per_s")
        yield (
            f"changelog, {of}",
            bytes_per_s and bytes_per_s / 1e6,
            "MB/s",
            f"at {figure(at(report, 'rate'))} samples/s",
        )
        records, later = figure(at(found, "changelog_records")), figure(at(found, "recovery_s"))
        remark = f"{records} changelog records read; ready {later} s later than without states"
        yield f"recovery after kill -9, {of}", at(found, "changelog_read_s"), "s", remark
        yield f"eviction, {of}", at(found, "tombstones_s"), "s", "from the start to the last tombstone"


def _sweep(report: Reports) -> Iterator[Found]:
    for point in at(report, "streams") or ():
        spread = f"worker CPU {figure(point['worker_cpu_us'])} µs a sample"
        yield f"throughput with {point['streams']:,} streams", point["rate"], "samples/s", spread


def _defect_model(report: Reports) -> Iterator[Found]:
    for name, variant in (at(report, "variants") or {}).items():
        one = at(variant, "batches", "1")
        spread = f"{figure(at(one, 'min_ms'))} to {figure(at(one, 'max_ms'))}"
        yield f"one cast of 300 steps, {name}", at(one, "median_ms"), "ms", spread


REPLAYS = {
    "signals_20": "replay at full speed, 20 signal streams",
    "loop_20": "the same by a plain loop",
    "signals_1000": "replay at full speed, 1,000 signal streams",
    "casts_8": "replay at full speed, 8 strands",
    "casts_200": "replay at full speed, 200 strands",
}
STARTS = {
    "help": "caststream --help",
    "worker_help": "caststream worker --help",
    "replay_help": "caststream replay --help",
    "worker_ready": "worker ready, the broker running",
}


def _replay(report: Reports) -> Iterator[Found]:
    for name, rate in (at(report, "rates") or {}).items():
        peak = f"; {figure(at(report, 'peak_mib', name))} MiB at most"
        yield REPLAYS.get(name, name), rate, "samples/s", _spread(at(report, "runs", name), "rate") + peak
    within = at(report, "pace", "within_5_ms")
    remark = within and f"p50 {figure(at(report, 'pace', 'p50_ms'))}; {100 * within:.1f} % within 5 ms"
    yield "lateness p99 of a replay at its own pace", at(report, "pace", "p99_ms"), "ms", remark


def _startup(report: Reports) -> Iterator[Found]:
    for name, median_s in (at(report, "medians_s") or {}).items():
        yield STARTS.get(name, name), median_s, "s", _spread(at(report, "runs", name), "wall_s")
    of = f"both tasks, {figure(at(report, 'streams'))} streams and strands"
    for name, found in (at(report, "memory") or {}).items():
        remark = f"at most {figure(found['peak_mib'])}; with its supervisor {figure(found['rss_mib'])}"
        yield f"memory of a {name}, {of}", found["largest_mib"], "MiB", remark


def _spread(runs: Any, key: str) -> str:
    values = [run[key] for run in runs or () if key in run]
    return f"{figure(min(values))} to {figure(max(values))}" if values else ""


ROWS: dict[str, Callable[[Reports], Iterator[Found]]] = {
    **dict.fromkeys(("pipeline", "pipeline_uneven", "pipeline_wide", "pipeline_msgpack"), _pipeline),
    "latency": _latency,
    "low_load": _low_load,
    "crash": _crash,
    "model": _model,
    "castings": _castings,
    "tasks": _tasks,
    "scale": _scale,
    "sweep": _sweep,
    "replay": _replay,
    "startup": _startup,
    "defect_model": _defect_model,
}


def billion_a_day(parts: Reports) -> dict[str, float] | None:
    """Cores for a billion samples a day: as measured at that steady load, and with all input waiting (full batches)."""
    steady, full = at(parts, "latency", BILLION_A_DAY), at(parts, "latency", "maximum")
    if not steady or not full:
        return None
    per_s = 1e9 / DAY_S
    share = per_s / steady["rate"]
    return {
        "worker_cores": share * steady["worker_cores"],
        "broker_cores": share * steady["broker_cores"],
        "worker_cores_full_batches": per_s * full["worker_cpu_us"] / 1e6,
        "broker_cores_full_batches": per_s * full["broker_cpu_us"] / 1e6,
    }


def write_plots(parts: Reports, folder: Path) -> list[Path]:
    """Write what can be drawn; the files.

    Raises:
        StartupError: matplotlib is missing.
    """
    rc_context = require("matplotlib").rc_context
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (_, draw) in PLOTS.items():
        with rc_context(STYLE):
            figure = draw(parts)
            if figure is not None:
                path = folder / file_name(name)
                figure.savefig(path, dpi=DPI, metadata={"Software": None})
                written.append(path)
    return written


def file_name(name: str) -> str:
    """The file name of a plot."""
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


PLOTS: dict[str, tuple[str, Callable[[Reports], Figure | None]]] = {
    "throughput": ("Throughput over the number of streams and over the chunk size", throughput),
    "latency": ("Latency over the load", latency),
    "stages": ("Time per sample by stage, over the number of streams", stages),
    "where-time-goes": ("CPU time per sample by part", where_time_goes),
}
"""Plots by name: a text of what each shows, and the function that draws it."""


def fill(text: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """Return the document with every block's content made again.

    Raises:
        KeyError: a block has a name that is not known.
    """
    return BLOCK.sub(lambda block: f"{block[1]}{blocks[block[2]]()}\n{block[3]}", text)


def blocks_of(results: Reports, drawn: Collection[str] = ()) -> dict[str, Callable[[], str]]:
    """Return the content of each block, by name; ``drawn`` are the existing plots."""
    parts = results["parts"]
    made: dict[str, Callable[[], str]] = {"where": lambda: about(results), "billion": lambda: billion(parts)}
    for name in ("latency", "low_load", "crash", "model", "castings", "scale", "sweep"):
        made[name] = partial(part_table, parts, name)
    for name in ("pipeline", "replay", "startup", "defect_model"):
        made[name] = partial(rows_of, parts, name)
    for name, (words, _) in PLOTS.items():
        made[f"plot_{name.replace('-', '_')}"] = partial(plot, name, words, drawn)
    return made


def plot(name: str, words: str, drawn: Collection[str]) -> str:
    """The plot, where it could be drawn."""
    return f"![{words}](images/{file_name(name)})" if file_name(name) in drawn else NOT_YET


def part_table(parts: Reports, name: str) -> str:
    """The table that the part's own script prints."""
    report = parts.get(name, {"error": ""})
    if "error" in report:
        return NOT_YET
    return str(import_module(f"bench_{name}").table(report))


def rows_of(parts: Reports, name: str) -> str:
    """The rows that the table of all parts has for a part, and for those whose name goes on from it."""
    reports = {each: report for each, report in parts.items() if each.startswith(name) and "error" not in report}
    return summary_table(reports) if reports else NOT_YET


def about(results: Reports) -> str:
    """Machine, versions, when."""
    run = f"{'full' if results['full'] else 'quick'} run of {results['started']}, {results['seconds'] / 60:.0f} minutes"
    return f"{where(results)}; {run}. {package_line(results)}."


def billion(parts: Reports) -> str:
    """Cores for a billion samples a day."""
    found = billion_a_day(parts)
    if found is None:
        return NOT_YET
    rows: list[Row] = [
        ("steady, 11,574 samples/s", found["worker_cores"], found["broker_cores"]),
        ("in bulk, all input waiting", found["worker_cores_full_batches"], found["broker_cores_full_batches"]),
    ]
    return markdown(("a billion samples a day", "worker, cores", "broker, cores"), rows)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--results", type=Path, default=RESULTS / "latest.json", help="the JSON that `make bench` wrote"
    )
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder of performance.md")
    options = parser.parse_args()
    try:
        results = json.loads(options.results.read_text())
        parts = results["parts"]
    except (OSError, ValueError, KeyError) as error:
        say(f"error: {options.results}: cannot be read ({error}); `make bench` makes it")
        return 2
    page = options.docs / "performance.md"
    drawn = write_plots(parts, options.docs / "images")
    page.write_text(fill(page.read_text(), blocks_of(results, {path.name for path in drawn})))
    for path in (*drawn, *redraw(options.results.parent, options.docs / "images")):
        say(f"wrote {path}")
    say(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
