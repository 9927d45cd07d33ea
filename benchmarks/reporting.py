"""Common parts of the benchmark scripts: command line, progress lines, errors in one line, JSON or a table at the end.

And where figures come from: the machine, without its name, and the versions of what ran.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from core.errors import CaststreamError, StartupError
from stream_app.local.jars import KAFKA_VERSION

PACKAGES = ("caststream", "torch", "numpy", "msgspec", "faust-streaming", "aiokafka", "confluent-kafka")
RESULTS = Path(__file__).resolve().parent / "results"

Report = dict[str, Any]
Say = Callable[[str], None]
Row = Sequence[object]
Doc = Callable[[Report], str]
"""A report as Markdown."""


def machine() -> dict[str, Any]:
    """Processor, cores that we may use, memory, system; and the load before the benchmark, which should be near 0."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_1m_before": round(os.getloadavg()[0], 2),
    }


def where(report: Mapping[str, Any]) -> str:
    """The machine that a report is from, in a line."""
    found = report["machine"]
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['memory_gib']:g} GiB, {found['system']}; "
        f"load before {found['load_1m_before']:g}"
    )


def package_line(report: Mapping[str, Any]) -> str:
    """The packages that a report is from, in a line."""
    return ", ".join(f"{name} {version}" for name, version in report["versions"].items())


def versions() -> dict[str, str]:
    """The versions of Python, Kafka and the packages that take part."""
    return {
        "python": platform.python_version(),
        "kafka": KAFKA_VERSION,
        **{package: version(package) for package in PACKAGES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def say(line: str) -> None:
    """A progress line; stdout is for the result."""
    print(line, file=sys.stderr, flush=True)


def parser(doc: str) -> argparse.ArgumentParser:
    """The options that all scripts have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="less of everything")
    made.add_argument("--json", action="store_true", help="one JSON object on stdout, all else on stderr")
    return made


def run_script(
    options: argparse.Namespace,
    measure: Callable[[argparse.Namespace, Say], Report],
    doc: Doc,
    store: Callable[[Report], None] = lambda _: None,
) -> int:
    """Measure, store and print.

    Start, duration, ``quick``, machine and versions are added to the report; packages that ``versions`` of the report
    names stay beside ours.

    Returns:
        The exit status: 1 where the report has ``failures``.
    """
    failed: list[str] = []

    def work() -> None:
        found, begun = machine(), time.monotonic()  # first: the load before ours
        started = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        report = measure(options, say) | {"started": started, "quick": options.quick, "machine": found}
        report["minutes"] = round((time.monotonic() - begun) / 60, 1)
        report["versions"] = versions() | report.get("versions", {})
        failed.extend(report.get("failures", ()))
        store(report)
        print(json.dumps(report) if options.json else doc(report))

    status = status_of(work)
    for line in failed:
        say(f"failed: {line}")
    return status or (1 if failed else 0)


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
    """Return the value at a path of keys, None if one is missing."""
    found: Any = report
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def stored(directory: Path) -> Report:
    """The content of ``latest.json`` in a folder of results; empty if there is none."""
    path = directory / "latest.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write_whole(path: Path, text: str) -> None:
    """Write a file; whole, or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)
