"""What an overload has shown: why it failed, and its table. Pure: the report in, text out."""

from __future__ import annotations

from flatness import Verdict
from reporting import Report, Row, at, markdown

FACTOR = 3.0
"""How many times what a worker can do is sent."""
WORSE, WORSE_MS = 1.5, 10.0  # what another latency may be, of two on a machine that all share


def failures(report: Report) -> list[str]:
    """Why the run has failed; empty where it has not."""
    found = []
    over, below, above, dirty = (report[key] for key in ("overload", "below", "above_capacity", "garbage"))
    if not over["memory"]["flat"]:
        found.append(f"overload: {Verdict(**over['memory']).line}")
    if over["assignments"] != 1:
        found.append(f"overload: {over['assignments']} assignments, though nobody came or went")
    if any(over["left_by_partition"]):
        found.append(f"overload: samples less outputs, by partition: {over['left_by_partition']}")
    if over["times"] < 0.8 * FACTOR:
        found.append(f"overload: the sender made {over['times']:.1f} times what the worker did, not {FACTOR:g}")
    for name, part in (("below", below), ("above", above)):
        kind = "others" if name == "below" else "elsewhere"
        found += _starved(f"hot, {name} capacity", part["hot"][kind], part["even"][kind])
    found += _starved("garbage", dirty["garbage"]["others"], dirty["clean"]["others"])
    if dirty["dead_letters"] != dirty["garbage"]["special_sent"]:
        found.append(f"garbage: {dirty['garbage']['special_sent']} sent, {dirty['dead_letters']} dead letters")
    for part in (below, above, dirty):
        for name, load in part.items():
            if isinstance(load, dict) and (load["unanswered"] or load["repeated"]):
                found.append(f"{name}: {load['unanswered']} outputs are missing, {load['repeated']} repeated")
    if report["checker"] is not None and not report["checker"]["ok"]:
        found.append(f"the checker: {report['checker']['problems']}")
    return found


def _starved(what: str, found: Report, beside: Report) -> list[str]:
    """Whether the p99 is much above that of the same samples in even company."""
    allowed = WORSE * beside["p99_ms"] + WORSE_MS
    if found["p99_ms"] <= allowed:
        return []
    return [f"{what}: the others' p99 is {found['p99_ms']:.0f} ms, beside even streams {beside['p99_ms']:.0f} ms"]


def table(report: Report) -> str:
    """The overload in words, then the latencies of the others."""
    over, rate = report["overload"], report["capacity"]["rate"]
    memory = over["memory"]
    lines = [
        f"R: {rate:,.0f} samples/s ({report['capacity']['how']}).",
        f"Overload: {over['sent_per_s']:,.0f} samples/s sent, {over['during_per_s']:,.0f} done; up to "
        f"{over['most_waiting']:,} waited, gone in {over['drain_s']:.0f} s at {over['drain_per_s']:,.0f}/s; memory "
        f"{memory['first'] / 2**20:.0f} MiB, at most {memory['last'] / 2**20:.0f}; assignments: {over['assignments']}.",
        "",
    ]
    rows: list[Row] = []
    for name, part in (("below", report["below"]), ("above", report["above_capacity"]), ("", report["garbage"])):
        for load, found in part.items():
            if isinstance(found, dict):
                cells = [
                    at(found, kind, key) for kind in ("same_partition", "elsewhere") for key in ("p50_ms", "p99_ms")
                ]
                rows.append((f"{load}, {name} capacity" if name else load, found["rate"], *cells))
    header = ("load", "records/s", "p50 ms, its partition", "p99 ms", "p50 ms, other partitions", "p99 ms")
    checked = at(report, "checker", "ok")
    lines += [markdown(header, rows), "", f"The checker: {'not asked' if checked is None else checked}."]
    return "\n".join([*lines, *(f"FAILED: {each}" for each in report["failures"])])
