"""How results are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.faults.judge import Row

COLUMNS = (
    ("schedule", 9),
    ("theme", 20),
    ("mode", 5),
    ("records", 8),
    ("outputs", 8),
    ("restarts", 9),
    ("repeated", 9),
    ("missing", 8),
    ("differing", 10),
    ("states", 7),
    ("wrong", 6),
    ("dead s", 7),
    ("others s", 9),
    ("took s", 7),
)


def header() -> str:
    return "".join(f"{name:<{width}}" if i < 3 else f"{name:>{width}}" for i, (name, width) in enumerate(COLUMNS))


def line(row: Row) -> str:
    """A schedule's line."""
    values = (
        row.schedule,
        row.theme,
        "eos" if row.guarantee == "exactly_once" else "alo",
        row.records,
        row.outputs,
        row.restarts,
        row.repeated,
        row.missing,
        row.differing,
        row.states,
        row.states_wrong,
        _seconds(row.dead_s),
        _seconds(row.survivors_s),
        f"{row.seconds:.0f}",
    )
    cells = [
        f"{value!s:<{width}}" if i < 3 else f"{value!s:>{width}}"
        for i, (value, (_, width)) in enumerate(zip(values, COLUMNS, strict=True))
    ]
    return "".join(cells) + f"  {row.verdict}"


def details(row: Row, schedule: str, directory: Path) -> str:
    """What a failed schedule was, what went wrong, and how to play it again."""
    found = [f"  problem: {problem}" for problem in row.problems] + [f"  note: {note}" for note in row.notes]
    found += [f"  note: {order}: never came there" for order in row.not_reached]
    again = f"  again: python -m tests.faults.run --only {row.schedule}; logs below {directory}"
    return "\n".join([schedule, *found, again])


def totals(rows: Sequence[Row]) -> str:
    """The run in one line."""
    played = [row for row in rows if not row.skipped]
    sums = {name: sum(getattr(row, name) for row in played) for name in SUMMED}
    failed = [str(row.schedule) for row in rows if not row.passed]
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sums.items())
    told += f", {sum(len(row.not_reached) for row in played)} points never reached"
    end = f"FAILED: {', '.join(failed)}" if failed else "all passed"
    return f"{len(played)} schedules, {len(rows) - len(played)} skipped: {told}; {end}"


SUMMED = ("records", "outputs", "restarts", "repeated", "missing", "differing", "states_wrong")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
