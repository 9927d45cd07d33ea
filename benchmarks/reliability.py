"""What the scripts behind docs/reliability.md share: where results and plots go, the exit status of a failed run."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from machine import machine, versions
from reliability_plots import write_plot
from reporting import Report, Say, say, status_of

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
IMAGES = HERE.parent / "docs" / "images"
Doc = Callable[[Report], str]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that these scripts have beside `reporting.parser`'s."""
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do without the consistency checker")
    parser.add_argument(
        "--results", type=Path, help=f"where the JSON goes; by default {RESULTS}, and nowhere with --quick"
    )
    parser.add_argument("--images", type=Path, help=f"where the plot goes; by default {IMAGES}, nowhere with --quick")


def run_reliability(
    options: argparse.Namespace, name: str, measure: Callable[[argparse.Namespace, Say], Report], show: Doc
) -> int:
    """Measure, store ``NAME.json`` and ``reliability-NAME.png``, print.

    Returns:
        The exit status: 1 where the report has ``failures``.
    """
    failed: list[str] = []

    def work() -> None:
        found, begun = machine(), time.monotonic()  # first: the load before ours
        started = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        report = measure(options, say) | {"started": started, "quick": options.quick}
        report |= {"minutes": round((time.monotonic() - begun) / 60, 1), "machine": found, "versions": versions()}
        failed.extend(report["failures"])
        _store(options, name, report)
        print(json.dumps(report) if options.json else show(report))

    status = status_of(work)
    for line in failed:
        say(f"failed: {line}")
    return status or (1 if failed else 0)


def _store(options: argparse.Namespace, name: str, report: Report) -> None:
    results = options.results or (None if options.quick else RESULTS)
    images = options.images or (None if options.quick else IMAGES)
    if results is not None:
        results.mkdir(parents=True, exist_ok=True)
        (results / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
        say(f"wrote {results / f'{name}.json'}")
    if images is not None:
        say(f"wrote {write_plot(name, report, images)}")


def main() -> int:
    """Draw the plots of stored results again."""
    for path in sys.argv[1:]:
        say(f"wrote {write_plot(Path(path).stem, json.loads(Path(path).read_text()), IMAGES)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
