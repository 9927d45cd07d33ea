"""What the benchmark scripts share: command line, progress lines, errors in one line, JSON or a table at the end."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from machine import machine, versions
from rich.console import Console

from core.errors import CaststreamError, StartupError

Report = dict[str, Any]
Say = Callable[[str], None]
Row = Sequence[object]


def say(line: str) -> None:
    """A progress line; stdout is for the result."""
    print(line, file=sys.stderr, flush=True)


def parser(doc: str) -> argparse.ArgumentParser:
    """The options that all scripts have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="less of everything")
    made.add_argument("--json", action="store_true", help="one JSON object on stdout, all else on stderr")
    return made


def run_script(options: argparse.Namespace, measure: Callable[[argparse.Namespace, Say], Report], doc: Doc) -> int:
    """Measure and print; the exit status. Machine, versions and ``quick`` are added to the report."""

    def work() -> None:
        found = machine()  # first: the load before ours
        report = measure(options, say) | {"quick": options.quick, "machine": found, "versions": versions()}
        print(json.dumps(report) if options.json else doc(report))

    return status_of(work)


def output(report: Report, as_json: bool, show: Callable[[Report, Console], None]) -> None:
    """Print a report, as one JSON object or as a person reads it."""
    if as_json:
        print(json.dumps(report))
    else:
        show(report, Console())


def status_of(work: Callable[[], None]) -> int:
    """Do a script's work; its exit status. A failure is told in one line on stderr."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started ends in order
    try:
        work()
    except CaststreamError as error:
        say(f"error: {error}")
        return 2 if isinstance(error, StartupError) else 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0


Doc = Callable[[Report], str]
"""A report as Markdown."""


def markdown(header: Row, rows: Iterable[Row], text: Sequence[int] = (0,)) -> str:
    """A Markdown table; the columns named by ``text`` are text, the others are figures."""
    aligned = ["---" if column in text else "---:" for column in range(len(header))]
    lines = ["| " + " | ".join(map(str, header)) + " |", "| " + " | ".join(aligned) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(map(figure, row)) + " |" for row in rows)])


def figure(value: object) -> str:
    """A cell: three digits that count, thousands with commas, a dash for what was not measured."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def at(report: Mapping[str, Any] | None, *path: str) -> Any:
    """What stands at a path of keys, None where one is missing."""
    found: Any = report
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
