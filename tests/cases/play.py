"""Finding the cases, playing them, and the table: case, before, now."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests import cases
from tests.cases.case import CASES, Case, CaseError
from tests.cases.room import Room


def load_cases() -> list[Case]:
    """Every case of this folder's modules, by number."""
    for module in pkgutil.iter_modules(cases.__path__):
        if module.name not in ("__main__", "play", "inside"):
            importlib.import_module(f"tests.cases.{module.name}")
    return sorted(CASES.values(), key=lambda case: case.number)


def play(case: Case, room: Room) -> tuple[bool, str]:
    """Whether a case is right, and what happens now."""
    try:
        return True, case.play(room)
    except CaseError as wrong:
        return False, str(wrong)
    except Exception as error:  # a case that cannot be played is not right either
        return False, f"cannot be played: {error!r}"


def main() -> int:
    """Play the cases that the command line names, or all."""
    arguments = argparse.ArgumentParser(prog="python -m tests.cases", description="Play the cases and print a table.")
    arguments.add_argument("numbers", nargs="*", help="such as data-01, or ops for all of operations")
    arguments.add_argument("--quick", action="store_true", help="only those without a broker")
    options = arguments.parse_args()
    chosen = [
        case
        for case in load_cases()
        if (not options.numbers or any(case.number.startswith(number) for number in options.numbers))
        and not (options.quick and case.slow)
    ]
    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table("case", "tried", "before", "now", "right", show_lines=True)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="caststream-cases-") as directory, Room(Path(directory)) as room:
        for case in chosen:
            began = time.monotonic()
            right, now = play(case, room)
            wrong += not right
            table.add_row(case.number, case.tried, case.before, now, "yes" if right else "[bold red]NO[/]")
            console.print(f"{case.number}: {'right' if right else 'WRONG'} ({time.monotonic() - began:.1f} s)")
    console.print(table)
    console.print(f"{len(chosen)} cases, {wrong} not right")
    return 1 if wrong else 0
