"""The figures of all parts as rows of one table, and what follows from them. Pure: reports in, rows and numbers out.

A figure that a report does not hold is left out, so that a part that failed costs its own rows only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reporting import at, figure, markdown

BILLION_A_DAY = "11574"  # the load of bench_latency.py that this is
DAY_S = 86_400

Reports = Mapping[str, Any]
Found = tuple[str, Any, str, str]  # what, median or single figure, unit, spread or remark


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


def _spread(runs: Any, key: str) -> str:
    values = [run[key] for run in runs or () if key in run]
    return f"{figure(min(values))} to {figure(max(values))}" if values else ""


ROWS: dict[str, Callable[[Reports], Iterator[Found]]] = {
    **dict.fromkeys(("pipeline", "pipeline_uneven", "pipeline_wide", "pipeline_msgpack"), _pipeline),
    "latency": _latency,
    "model": _model,
    "castings": _castings,
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
