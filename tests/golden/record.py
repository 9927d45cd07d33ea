"""Record scenarios that are not in the files yet: ``python -m tests.golden.record``.

A scenario that is in a file stays as it is, whatever the code does now: it says what version 0.1 did. New cases are new
scenarios, to be recorded from a version of which somebody knows that it is right.
"""

from __future__ import annotations

import asyncio
import subprocess
from importlib.metadata import version

import msgspec

from tests.golden import inputs
from tests.golden.play import play, table_after
from tests.golden.scenarios import FILES, FOLDER, Golden, Row, Scenario, read_golden, write_golden


def recorded(scenario: Scenario) -> Scenario:
    """A scenario with what comes of it now."""
    found = asyncio.run(play(scenario))
    stages = [msgspec.structs.replace(stage, found=came) for stage, came in zip(scenario.stages, found, strict=True)]
    return msgspec.structs.replace(scenario, stages=stages)


def record(task: str) -> list[str]:
    """Add the scenarios that a task's file lacks; their names."""
    golden = read_golden(task) if FILES[task].exists() else Golden(source(), [])
    known = {scenario.name for scenario in golden.scenarios}
    plain = inputs.scenarios(task)
    made = [*plain, *inputs.restored(task, _left(recorded(plain[0])))]
    added = [recorded(scenario) for scenario in made if scenario.name not in known]
    if added:
        write_golden(task, Golden(golden.recorded_from, [*golden.scenarios, *added]))
    return [scenario.name for scenario in added]


def _left(scenario: Scenario) -> list[Row]:
    """The table after the second stage."""
    rows: list[Row] = []
    for stage in scenario.stages[:2]:
        assert stage.found is not None
        rows = table_after(rows, stage.found.states)
    return rows


def source() -> str:
    """Version and commit of the code that runs."""
    log = ["git", "log", "-1", "--format=%H", "--", "../../core", "../../stream_app"]
    commit = subprocess.run(log, cwd=FOLDER, capture_output=True, text=True, check=True).stdout.strip()
    return f"caststream {version('caststream')}, commit {commit}"


def main() -> None:
    for task in FILES:
        added = record(task)
        print(f"{FILES[task].name}: {', '.join(added) or 'nothing new'}, {FILES[task].stat().st_size:,} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
