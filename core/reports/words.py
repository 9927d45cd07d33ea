"""The words of an evaluation: its first sentences, its tables as rows of text, and the page in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core.reports.evaluate import BEST, OWN, Alarm, Evaluation, JudgedScores

MOST_LISTED = 200
DETECTOR_COLUMNS = (
    "detector",
    "VUS-PR",
    "AUC-PR",
    "range recall",
    "events found",
    "delay, median",
    "false alarms per day",
    "normal time under alarm",
)
ALARM_COLUMNS = ("stream", "sequence", "begin", "end", "lasts", "leading", "peak")
_NEARLY = 0.005


def first_lines(done: Evaluation) -> list[str]:
    """Say what matters first: whether a simple detector does as well, or how many alarms there would have been."""
    return _against_baselines(done.detectors) if done.detectors else [_would_have(done)]


def _against_baselines(detectors: Sequence[JudgedScores]) -> list[str]:
    own = detectors[0]
    others = [one for one in detectors if not one.name.startswith(OWN) and one.name != BEST]
    reached = own.figures.vus_pr
    if reached is None and not own.figures.events:
        return ["the judged part has no anomaly: it shows false alarms, and compares no detectors"]
    if reached is None:
        return ["the judged part is one anomaly from begin to end: no detector can be compared by it"]
    better = sorted(
        (one for one in others if (one.figures.vus_pr or 0.0) > reached), key=lambda one: -(one.figures.vus_pr or 0.0)
    )
    if better:
        told = ", ".join(f"{one.name} {one.figures.vus_pr:.3f}" for one in better)
        return [f"a simple detector does better: VUS-PR of {told}; of this task {reached:.3f}"]
    best = max(others, key=lambda one: one.figures.vus_pr or 0.0)
    ahead = reached - (best.figures.vus_pr or 0.0)
    how = "as good as" if ahead < _NEARLY else "ahead of"
    return [f"this task is {how} every simple detector: VUS-PR {reached:.3f}, {best.name} {best.figures.vus_pr:.3f}"]


def _would_have(done: Evaluation) -> str:
    count, weeks = len(done.alarms), done.weeks
    per_week = f", {count / weeks:.2g} per stream and week" if weeks else ""
    return (
        f"{counted(count, 'alarm')} in {weeks * 7:,.1f} days of {done.scored.source}{per_week}; without the "
        "truth nobody knows which are right"
    )


def detector_rows(detectors: Sequence[JudgedScores]) -> list[tuple[str, ...]]:
    """The table of the detectors, as text."""
    return [
        (
            one.name,
            _number(one.figures.vus_pr),
            _number(one.figures.auc_pr),
            _number(one.figures.range_recall),
            f"{one.figures.found} of {one.figures.events}",
            "-" if one.figures.delay_s is None else duration(one.figures.delay_s),
            "-" if one.figures.false_alarms_per_day is None else f"{one.figures.false_alarms_per_day:.2g}",
            "-" if one.figures.false_share is None else f"{one.figures.false_share:.2%}",
        )
        for one in detectors
    ]


def alarm_rows(done: Evaluation, most: int = MOST_LISTED) -> list[tuple[str, ...]]:
    """The table of the alarms, as text; with the truth a last column says which are right."""
    rows: list[tuple[str, ...]] = []
    for alarm in done.alarms[:most]:
        one = done.scored.sequences[alarm.row]
        lasts = duration((alarm.end - alarm.begin) * done.scored.period_s)
        row = (
            one.stream or "-",
            *((one.name or str(alarm.row),) if _has_names(done) else ()),
            moment(done, alarm, alarm.begin),
            moment(done, alarm, alarm.end - 1),
            lasts,
            alarm.leading or "-",
            f"{alarm.peak:.3g}",
        )
        rows.append(row if alarm.true is None else (*row, "yes" if alarm.true else "no"))
    return rows


def alarm_columns(done: Evaluation) -> tuple[str, ...]:
    """The heads of that table."""
    known = bool(done.alarms) and done.alarms[0].true is not None
    columns = tuple(each for each in ALARM_COLUMNS if each != "sequence" or _has_names(done))
    return (*columns, "anomaly") if known else columns


def _has_names(done: Evaluation) -> bool:
    """True if the names of sequences say more than those of their streams."""
    return any((one.name or str(row)) != one.stream for row, one in enumerate(done.scored.sequences))


def moment(done: Evaluation, alarm: Alarm, place: int) -> str:
    """The time of a sample, UTC; without times its number."""
    times = done.scored.sequences[alarm.row].times_ms
    if times is None:
        return f"sample {place:,}"
    return f"{datetime.fromtimestamp(int(times[place]) / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def counted(count: int, what: str) -> str:
    """A count with its noun."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def page(done: Evaluation, pictures: Sequence[Path]) -> str:
    """The report in Markdown; pictures are linked by their names, which stand beside it."""
    scored = done.scored
    lines = [
        f"# Task {done.task} on {scored.source}",
        "",
        *(f"{line[0].upper()}{line[1:]}." for line in first_lines(done)),
        "",
        f"Score: `{done.score}` of model `{scored.fingerprint}`; {counted(len(scored.sequences), 'sequence')}, "
        f"{done.weeks * 7:,.1f} days of scores, a sample every {duration(scored.period_s)}.",
        "",
        f"An alarm begins at {done.threshold:.4g} and ends below {done.clear:.4g}.",
        "",
        *(f"- {line}" for line in done.notes),
    ]
    if done.detectors:
        lines += ["", "## Against the truth", "", *_table(DETECTOR_COLUMNS, detector_rows(done.detectors)), "", _HOW]
    names = [picture.name for picture in pictures]
    if "false-alarms.png" in names:
        lines += ["", "## Alarms for each threshold", "", "![Alarms per stream and week](false-alarms.png)"]
    lines += ["", "## Alarms", "", *_alarm_part(done)]
    lines += [line for name in names if name.startswith("alarm-") for line in ("", f"![{name[:-4]}]({name})")]
    return "\n".join(lines) + "\n"


_HOW = (
    "Every detector was fitted, and its threshold chosen for the same wish, on the same history; all were judged on "
    "the same samples. Range recall is half for finding an event at all and half for the share of it under alarm. No "
    "figure is point-adjusted."
)


def _alarm_part(done: Evaluation) -> list[str]:
    if not done.alarms:
        return ["No alarm."]
    listed = _table(alarm_columns(done), alarm_rows(done))
    more = len(done.alarms) - MOST_LISTED
    return [*listed, *(["", f"{more:,} more alarms are not listed."] if more > 0 else [])]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    head = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return [*head, *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)]


def as_json(done: Evaluation) -> dict[str, Any]:
    """The figures for programs."""
    thresholds, rates = done.curve
    return {
        "task": done.task,
        "score": done.score,
        "model": done.scored.fingerprint,
        "threshold": done.threshold,
        "clear": done.clear,
        "weeks": done.weeks,
        "alarms": [
            {
                "stream": done.scored.sequences[alarm.row].stream,
                "sequence": done.scored.sequences[alarm.row].name,
                "begin": moment(done, alarm, alarm.begin),
                "begin_step": alarm.begin,
                "end_step": alarm.end,
                "peak": alarm.peak,
                "leading": alarm.leading or None,
                "anomaly": alarm.true,
            }
            for alarm in done.alarms
        ],
        "curve": np.column_stack([thresholds, rates]).tolist(),
        "detectors": [{"name": one.name, "threshold": one.threshold, **vars(one.figures)} for one in done.detectors],
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
