"""Puts the figures and plots of the last `make bench` into docs/performance.md, so that nobody copies numbers by hand.

    .venv/bin/python benchmarks/render.py [--results FILE]

A table or plot stands between `<!-- figures: NAME -->` and `<!-- end of figures -->`; what is there is replaced.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from figures import billion_a_day, summary_table
from plots import file_name, write_plots
from reporting import Row, markdown, say

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
LATEST = HERE / "results" / "latest.json"
BLOCK = re.compile(r"(<!-- figures: ([a-z_]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
NOT_YET = "*Not measured in the last run.*"
PLOTS = {
    "throughput": "Throughput over the number of streams and over the chunk size",
    "latency": "Latency over the load",
    "stages": "Time per sample by stage, over the number of streams",
    "where-time-goes": "CPU time per sample by part",
}

Results = Mapping[str, Any]


def fill(text: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """The document with every block's content made anew.

    Raises:
        KeyError: a block has a name that is not known.
    """
    return BLOCK.sub(lambda block: f"{block[1]}{blocks[block[2]]()}\n{block[3]}", text)


def blocks_of(results: Results, drawn: Collection[str] = ()) -> dict[str, Callable[[], str]]:
    """What fills each block, by its name; ``drawn`` are the files of the plots that there are."""
    parts = results["parts"]
    made: dict[str, Callable[[], str]] = {"where": lambda: where(results), "billion": lambda: billion(parts)}
    for name in ("latency", "model", "castings", "scale", "sweep"):
        made[name] = partial(part_table, parts, name)
    for name in ("pipeline", "replay", "startup", "defect_model"):
        made[name] = partial(rows_of, parts, name)
    for name, words in PLOTS.items():
        made[f"plot_{name.replace('-', '_')}"] = partial(plot, name, words, drawn)
    return made


def plot(name: str, words: str, drawn: Collection[str]) -> str:
    """The plot, where it could be drawn."""
    return f"![{words}](images/{file_name(name)})" if file_name(name) in drawn else NOT_YET


def part_table(parts: Results, name: str) -> str:
    """The table that the part's own script prints."""
    report = parts.get(name, {"error": ""})
    if "error" in report:
        return NOT_YET
    return str(import_module(f"bench_{name}").table(report))


def rows_of(parts: Results, name: str) -> str:
    """The rows that the table of all parts has for a part, and for those whose name goes on from it."""
    reports = {each: report for each, report in parts.items() if each.startswith(name) and "error" not in report}
    return summary_table(reports) if reports else NOT_YET


def where(results: Results) -> str:
    """Machine, versions, when."""
    found = results["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['memory_gib']:g} GiB, {found['system']}; load before "
        f"{found['load_1m_before']:g}; {'full' if results['full'] else 'quick'} run of {results['started']}, "
        f"{results['seconds'] / 60:.0f} minutes. {packages}."
    )


def billion(parts: Results) -> str:
    """Cores for a billion samples a day."""
    found = billion_a_day(parts)
    if found is None:
        return NOT_YET
    rows: list[Row] = [
        ("steady, 11,574 samples/s", found["worker_cores"], found["broker_cores"]),
        ("in bulk, all input waiting", found["worker_cores_full_batches"], found["broker_cores_full_batches"]),
    ]
    return markdown(("a billion samples a day", "worker, cores", "broker, cores"), rows)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=LATEST, help="the JSON that `make bench` wrote")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder of performance.md")
    options = parser.parse_args()
    try:
        results = json.loads(options.results.read_text())
    except (OSError, ValueError) as error:
        say(f"error: {options.results}: cannot be read ({error}); `make bench` makes it")
        return 2
    page = options.docs / "performance.md"
    drawn = write_plots(results["parts"], options.docs / "images")
    page.write_text(fill(page.read_text(), blocks_of(results, {path.name for path in drawn})))
    for path in drawn:
        say(f"wrote {path}")
    say(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
