"""The verdict on a performance: what the consistency checker finds, and what the suite itself has seen."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.tasks.declaration import Declaration
from stream_app.declared import task_names
from stream_app.headers import ERROR_REASON
from stream_app.routes import DEAD_LETTERS
from stream_app.verify import VerifyReport, verify
from stream_app.verify.report import KINDS
from tests.broker import consume_all
from tests.faults.pumps import pump_problems
from tests.faults.standstill import Standstill, append_times, standstills
from tests.faults.streams import SIGNAL

if TYPE_CHECKING:
    from tests.faults.play import Play

"""Whether a repeated output fails a schedule in the default mode; under exactly_once it always does."""
FEW_RESTARTS = 5  # as many may fall into pauses above the idle timeout
SETTLED_S = 60.0
"""Streams idle for less than this may have been let go of by the end of a schedule."""


@dataclass
class Row:
    """One schedule's line of the table; what `--json` writes."""

    schedule: int
    theme: str
    guarantee: str = ""
    kinds: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    records: int = 0
    outputs: int = 0
    restarts: int = 0
    repeated: int = 0
    missing: int = 0
    differing: int = 0
    unexpected: int = 0
    states: int = 0
    states_wrong: int = 0
    not_judged: int = 0
    wrong: dict[str, int] = field(default_factory=dict)
    """By task, the problems that the checker has found; and those that the suite's own model of the pump has."""
    max_abs_diff: float = 0.0
    dead_s: float | None = None
    """The longest that a dead worker's streams stood still."""
    survivors_s: float | None = None
    seconds: float = 0.0
    skipped: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_reached: list[str] = field(default_factory=list)
    """The failure points that no worker came to."""

    @property
    def passed(self) -> bool:
        return not self.problems

    @property
    def verdict(self) -> str:
        if self.skipped:
            return "skipped"
        return "ok" if self.passed else "FAILED"


def judge(play: Play) -> Row:
    """Look at everything that a performance has left behind. Workers are stopped, everything is committed."""
    reports = {task.name: verify(play.settings.replace(tasks=name)) for name, task in _tasks(play)}
    report = together(reports.values())
    row = new_row(play)
    row.wrong = {name: sum(getattr(each, kind) for kind in KINDS) for name, each in reports.items()}
    row.records, row.outputs, row.states = report.records, report.outputs, report.states
    row.missing = report.missing + report.dead_letters_missing
    row.repeated = report.repeated + report.dead_letters_repeated
    row.unexpected = report.unexpected + report.dead_letters_unexpected
    row.differing, row.max_abs_diff = report.differing + report.dead_letters_differing, report.max_abs_diff
    row.states_wrong = report.states_differing + report.states_missing
    row.not_judged = report.not_judged
    row.problems += _of_report(play, report) + _of_counters(play)
    row.problems += [
        f"no output of {name}: it was not tried" for name, each in reports.items() if not _tried(play, each)
    ]
    if play.schedule.log_is_complete and not play.schedule.reprocesses:
        found = pump_problems(play.settings)
        row.wrong["pump by its own model"] = len(found)
        row.problems += found[:3]
    row.problems += [problem for look in play.at_end for problem in look()]
    _measure(play, row)
    return row


def _tried(play: Play, report: VerifyReport) -> bool:
    """True if a task was under way. Behind a cut a stream is judged from where it certainly starts again: none may."""
    return report.outputs > 0 if play.schedule.log_is_complete else report.records > 0


def _tasks(play: Play) -> list[tuple[str, Declaration]]:
    """Each task as the setting names it, and its declaration."""
    names = task_names(play.settings.tasks)
    return list(zip(names, play.settings.declarations(), strict=True))


def together(reports: Iterable[VerifyReport]) -> VerifyReport:
    """One report of all tasks."""
    found = VerifyReport()
    for report in reports:
        for each in dataclasses.fields(report):
            mine, theirs = getattr(found, each.name), getattr(report, each.name)
            setattr(found, each.name, max(mine, theirs) if each.name == "max_abs_diff" else mine + theirs)
    return found


def new_row(play: Play) -> Row:
    """What is known without the checker."""
    schedule, crew = play.schedule, play.crew
    row = Row(schedule.number, schedule.theme, str(play.settings.processing_guarantee))
    row.kinds = sorted(schedule.kinds)
    row.faults = [str(fault).strip() for fault in schedule.faults]
    row.restarts = sum(max(len(slot.worker.logs) - 1, 0) for slot in crew.slots)
    row.problems += [*play.problems, *play.load.errors[:3], *crew.refused]
    for slot in crew.slots:
        row.problems += [f"worker {slot.index}: a traceback in its log: {end}" for end in _tracebacks(slot.worker.logs)]
    row.notes += crew.failed
    row.not_reached = play.not_reached
    return row


def _tracebacks(logs: list[str]) -> list[str]:
    """How each traceback ends: a worker has one line for whatever befalls it."""
    parts = [part.splitlines()[1:] for log in logs for part in log.split("Traceback (most recent")[1:]]
    return [next((line for line in lines if line and not line.startswith(" ")), "cut off") for lines in parts]


REPEATS = ("repeated", "dead_letters_repeated")


def _of_report(play: Play, report: VerifyReport) -> list[str]:
    """What is wrong by the checker; and a report of nothing is no proof."""
    allowed = REPEATS if play.schedule.reprocesses else ()
    found = {kind: getattr(report, kind) for kind in KINDS if kind not in allowed}
    if play.schedule.log_is_complete:
        found["not_judged"] = report.not_judged
    problems = [f"{kind}: {count}" for kind, count in {**found, "pending": report.pending}.items() if count]
    evicted = play.settings.idle_timeout < SETTLED_S  # by now, perhaps all of them
    if not (report.outputs and report.dead_letters and (report.states or evicted)):
        problems.append("no outputs, dead letters or states: nothing was tried")
    return problems + ([f"example: {example}" for example in report.examples] if problems else [])


def _of_counters(play: Play) -> list[str]:
    """Counters that began again, and samples that came too late, must have been tried: verify judges each of them."""
    if play.load.restarts < FEW_RESTARTS or not play.schedule.log_is_complete:
        return []
    letters = consume_all(play.settings, play.settings.topic(DEAD_LETTERS))
    found = Counter(letter.header(ERROR_REASON) for letter in letters)
    missing = [reason for reason in ("step_back", "late") if not found[reason.encode()]]
    return [f"{play.load.restarts} counters began again, and no dead letter says {reason}" for reason in missing]


def _measure(play: Play, row: Row) -> None:
    if not play.crew.deaths or play.settings.idle_timeout < SETTLED_S:
        return  # where streams pause for long, nobody knows why a partition is quiet
    source = play.settings.topic(SIGNAL)
    found = standstills(play.crew.deaths, play.acted, source, append_times(play.settings))
    row.dead_s = _longest([each.dead_s for each in found])
    row.survivors_s = _longest([each.survivors_s for each in found])
    row.notes += [_told(each) for each in found]


def _longest(values: list[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _told(standstill: Standstill) -> str:
    dead, others = (
        "nothing seen" if value is None else f"{value:.2f} s" for value in (standstill.dead_s, standstill.survivors_s)
    )
    return f"worker {standstill.worker} died: its streams stood still for {dead}, the others' for {others}"
