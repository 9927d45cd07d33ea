"""What failovers have shown: medians and ranges by kind, beside what is aimed at. Pure: the report in, rows out."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from reporting import Report, Row, markdown

READY = re.compile(r" ready: (.*)$", re.MULTILINE)
PLACE = re.compile(r"([^\s,]+)\[(\d+)\]@")
RECOVERY_TARGET_S = 60.0

Event = Mapping[str, Any]


def owned(log: str, source: str) -> set[int]:
    """The partitions of a source that a worker has, by the last line of its log that says so."""
    said = READY.findall(log)
    return {int(number) for topic, number in PLACE.findall(said[-1]) if topic == source} if said else set()


def _longest(event: Event, what: str, moved: bool) -> float | None:
    """Over the partitions that changed hands, or over the others; None where there are none of the kind."""
    found = [value for each, value in event[what].items() if (int(each) in event["moved"]) is moved]
    return max(found, default=None)


def _of_all(event: Event) -> float | None:
    return max(event["silence_s"].values(), default=None)


# words, setting, kind, what counts of an event, and what is aimed at in seconds
ROWS: tuple[tuple[str, str, str, Callable[[Event], float | None], float | None], ...] = (
    (
        "kill, default session: dead worker's streams go on",
        "default",
        "kill",
        lambda e: _longest(e, "went_on_s", True),
        10,
    ),
    ("kill, tuned session: dead worker's streams go on", "tuned", "kill", lambda e: _longest(e, "went_on_s", True), 3),
    ("kill, default session: survivor's own pause", "default", "kill", lambda e: _longest(e, "silence_s", False), 0.5),
    ("kill, tuned session: survivor's own pause", "tuned", "kill", lambda e: _longest(e, "silence_s", False), 0.5),
    ("join: pause of streams that stay", "default", "join", lambda e: _longest(e, "silence_s", False), 0.5),
    ("join: pause of streams that move", "default", "join", lambda e: _longest(e, "silence_s", True), None),
    ("stop: pause of streams handed over", "default", "stop", lambda e: _longest(e, "silence_s", True), None),
    ("stop: survivor's own pause", "default", "stop", lambda e: _longest(e, "silence_s", False), 0.5),
    ("rolling restart of three: longest pause", "rolling", "rolling", _of_all, None),
)


def summary_of(report: Report) -> list[dict[str, Any]]:
    """A row for each figure: its values and their median in seconds, what is aimed at, whether the median holds."""
    rows = [
        _row(words, _values(report["events"], setting, kind, of), target) for words, setting, kind, of, target in ROWS
    ]
    if (found := report.get("recovery")) is not None:
        # From the start of the process, not of the reading: that is what is waited for.
        rows.append(_row(f"ready again with {found['streams']:,} streams", [found["ready_s"]], found["target_s"]))
    return rows


def _values(events: Iterable[Event], setting: str, kind: str, of: Callable[[Event], float | None]) -> list[float]:
    found = [of(event) for event in events if (event["setting"], event["kind"]) == (setting, kind)]
    return [value for value in found if value is not None]


def _row(what: str, values: list[float], target: float | None) -> dict[str, Any]:
    median = statistics.median(values) if values else None
    held = None if target is None or median is None else median < target
    return {"what": what, "values_s": values, "median_s": median, "target_s": target, "held": held}


def failures(report: Report) -> list[str]:
    """Why the run has failed; empty where it has not."""
    found = [
        f"{row['what']}: {row['median_s']:.2f} s in the median, aimed at are {row['target_s']:g} s"
        for row in report["summary"]
        if row["held"] is False
    ]
    for event in report["events"]:
        if event["lost"] or event["repeated"]:
            found.append(f"{event['setting']}, {event['kind']}: {event['lost']} lost, {event['repeated']} repeated")
    for name, checked in report["checker"].items():
        if checked is not None and not checked["ok"]:
            found.append(f"the checker, {name}: {checked['problems']}")
    return found


def table(report: Report) -> str:
    """A row for each figure, then what was lost and repeated."""
    rows: list[Row] = [
        (
            row["what"],
            row["median_s"],
            f"{min(row['values_s']):.2f} to {max(row['values_s']):.2f}",
            row["target_s"],
            {True: "yes", False: "NO", None: ""}[row["held"]],
        )
        for row in report["summary"]
        if row["values_s"]
    ]
    counts = {name: sum(event[name] for event in report["events"]) for name in ("samples", "lost", "repeated")}
    said = ", ".join(
        f"{name}: {'not asked' if found is None else found['ok']}" for name, found in report["checker"].items()
    )
    return "\n".join(
        [
            markdown(("what", "median, s", "range", "aimed at, below s", "held"), rows, text=(0, 2, 4)),
            "",
            "{samples:,} samples, {lost} lost, {repeated} repeated.".format(**counts) + f" The checker: {said}.",
            *(f"FAILED: {each}" for each in report["failures"]),
        ]
    )
