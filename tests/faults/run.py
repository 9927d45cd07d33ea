"""Plays schedules and has each judged: `python -m tests.faults.run --seed 1 --schedules 20 --jobs 2`.

Prints a line for each schedule as it ends, everything about one that failed, and sums. Exit status 1 if any failed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import queue
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.judge import Row, judge, new_row
from tests.faults.play import Play
from tests.faults.schedule import Schedule
from tests.faults.stage import Stage, can_mount
from tests.faults.table import details, header, line, totals
from tests.faults.themes import draw, number_of


def play_and_judge(schedule: Schedule, stage: Stage, directory: Path, sabotage: str = "") -> Row:
    """One schedule on a stage that is ready; ``directory`` is removed when all was well, and so are the topics."""
    started = time.monotonic()
    play = Play(schedule, stage, directory, sabotage)
    try:
        play.perform()
        row = judge(play)
        play.tidy_up()
    except Exception as error:  # whatever it is, the others are played
        row = new_row(play)
        row.problems.insert(0, f"{error!r} {traceback.format_exc(limit=-4)}")
    row.seconds = time.monotonic() - started
    if row.passed:
        shutil.rmtree(directory)
    return row


class Theatre:
    """A stage that schedules share, and one of its own for whoever needs a small disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stage: Stage | None = None
        self._played = 0

    def play(self, schedule: Schedule) -> Row:
        self._played += 1
        directory = self.directory / f"{self._played}-schedule-{schedule.number}"
        if schedule.small_disk:
            if not can_mount():
                return Row(schedule.number, schedule.theme, skipped="a small disk can only be mounted by root")
            with Stage(self.directory / f"{self._played}-small", small_disk=True) as stage:
                return play_and_judge(schedule, stage, directory)
        if self._stage is None:
            self._stage = Stage(self.directory / "stage").__enter__()
        self._stage.heal()
        return play_and_judge(schedule, self._stage, directory)

    def close(self) -> None:
        if self._stage is not None:
            self._stage.__exit__()


def rows_of(numbers: Sequence[int], jobs: int, directory: Path) -> Iterator[Row]:
    """Play the schedules of these numbers, several at a time on a stage each; rows as they come."""
    context = multiprocessing.get_context("spawn")
    waiting, rows = context.Queue(), context.Queue()
    for number in [*numbers, *[None] * jobs]:
        waiting.put(number)
    players = [
        context.Process(target=_play_waiting, args=(waiting, rows, directory / f"job-{job}")) for job in range(jobs)
    ]
    for player in players:
        player.start()
    for _ in numbers:
        yield _next_row(rows, players)
    for player in players:
        player.join()


def _play_waiting(waiting: Any, rows: Any, directory: Path) -> None:
    theatre = Theatre(directory)
    try:
        while (number := waiting.get()) is not None:
            rows.put(theatre.play(draw(number)))
    finally:
        theatre.close()


def _next_row(rows: Any, players: Sequence[Any]) -> Row:
    while True:
        try:
            row: Row = rows.get(timeout=1)
            return row
        except queue.Empty:
            if any(player.exitcode for player in players):
                raise RuntimeError("a process that plays schedules has ended; it has said why") from None


def main() -> int:
    """Entry point."""
    options = _parser().parse_args()
    numbers = options.only or [number_of(options.seed, index) for index in range(options.schedules)]
    if options.show:
        _say("\n".join(str(draw(number)) for number in numbers))
        return 0
    directory = Path(tempfile.mkdtemp(prefix="caststream-faults-"))
    started, rows = time.monotonic(), []
    _say(header())
    for row in rows_of(numbers, options.jobs, directory):
        rows.append(row)
        _say(line(row))
        if not row.passed:
            _say(details(row, str(draw(row.schedule)), directory))
    rows.sort(key=lambda row: row.schedule)
    _say(f"{totals(rows)}; {time.monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) | {"verdict": row.verdict} for row in rows], indent=1) + "\n")
    if all(row.passed for row in rows):
        shutil.rmtree(directory)
    return 0 if all(row.passed for row in rows) else 1


def _some(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError("none would be played: nothing would be tried")
    return count


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schedules", type=_some, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="schedules at a time, each with a broker of its own")
    parser.add_argument("--only", type=int, nargs="+", help="the schedules of these numbers, and no others")
    parser.add_argument("--show", action="store_true", help="print the schedules, and play none")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
