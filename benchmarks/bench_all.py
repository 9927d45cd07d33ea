"""All benchmarks, one after the other: one Markdown table on stdout, `results/latest.json` and `results/latest.md`.

    .venv/bin/python benchmarks/bench_all.py [--full] [--only PART ...]
    .venv/bin/python benchmarks/bench_all.py --check [--against FILE] [--fresh FILE]

Behind `make bench`. Progress goes to stderr. A part that fails is reported, does not stop the others, and makes the
exit status 1. Without --full every part runs with --quick: about half an hour on two cores.

With --check, behind `make bench-check`: a fresh quick run of the pipeline is compared with the stored one, and the exit
status is 1 where a ratio to a peer fell by more than 25 %. Only ratios of one run are compared, never absolute times:
those belong to the machine.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render import summary_table
from reporting import RESULTS, at, figure, machine, markdown, package_line, say, stored, versions, where, write_whole

HERE = Path(__file__).resolve().parent
MOST_LOST = 0.25
"""Share of a ratio to a peer that a fresh run may be below the stored one."""
TWO_WORKERS = "caststream_2"

LIMITS = (
    "Broker, senders and workers share the machine's cores; there is no network between them.",
    "Rates are the highest there are, with all input waiting; latencies belong to the load that stands beside them.",
    "Append times are whole milliseconds, so a single latency is right to 1 ms.",
    "Ratios of one run can be compared between machines, absolute figures cannot. The load before should be near 0.",
    "Values are synthetic; the speed of the models does not depend on them.",
)


@dataclass(frozen=True)
class Part:
    """One script.

    Args:
        limit_s: ends it where it hangs.
        quick: its options when it is to be brief.
        words: its other options.
        full: whether a full run has it too: the full pipeline holds all workloads.
    """

    name: str
    script: str
    limit_s: float
    quick: Sequence[str] = ("--quick",)
    words: Sequence[str] = ()
    full: bool = True


def _workload(name: str) -> Part:
    """The pipeline on another workload: half the samples, two rounds, caststream alone."""
    options = ("--quick", "--workload", name, "--rounds", "2", "--scale", "0.5")
    return Part(f"pipeline_{name}", "bench_pipeline.py", 240, options, full=False)


PARTS = (
    Part("pipeline", "bench_pipeline.py", 600),
    _workload("uneven"),
    _workload("wide"),
    _workload("msgpack"),
    Part("latency", "bench_latency.py", 360),
    Part("low_load", "bench_low_load.py", 900),
    Part("crash", "bench_crash.py", 900),
    Part("model", "bench_model.py", 120),
    Part("castings", "bench_castings.py", 300),
    Part("tasks", "bench_tasks.py", 430),
    Part("scale", "bench_scale.py", 360),
    Part("sweep", "bench_sweep.py", 360),
    Part("replay", "bench_replay.py", 180),
    Part("startup", "bench_startup.py", 180),
    Part("defect_model", "bench_model.py", 120, words=("defect",)),
)
FULL_FACTOR = 6.0
"""Factor by which a full run of a part may take longer."""


def run_part(part: Part, full: bool) -> dict[str, Any]:
    """The part's report with ``seconds``; ``error`` in it where it failed."""
    started = time.monotonic()
    limit_s = part.limit_s * (FULL_FACTOR if full else 1.0)
    command = [sys.executable, str(HERE / part.script), "--json", *part.words, *(() if full else part.quick)]
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE, text=True)
        ending = threading.Timer(limit_s, process.terminate)
        ending.start()
        try:
            last = _pass_on(part, process)
        finally:
            ending.cancel()
            process.terminate()  # does nothing where it has ended
            process.wait()
        printed.seek(0)
        report = read_report(printed.read(), process.returncode, last)
    seconds = time.monotonic() - started
    if "error" in report and seconds >= limit_s:
        report["error"] = f"not done within {limit_s:g} s"
    return report | {"seconds": round(seconds, 1)}


def _pass_on(part: Part, process: subprocess.Popen[str]) -> str:
    """Its progress becomes ours; the last line."""
    last = ""
    assert process.stderr is not None
    for line in process.stderr:
        if line.strip():
            last = line.rstrip()
            say(f"  {part.name}: {last}")
    return last


def read_report(printed: str, status: int, last_line: str) -> dict[str, Any]:
    """Read the output of a script with --json. A script that measured but missed a limit of its own has a report and a
    status.
    """
    try:
        report = json.loads(printed.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": last_line or f"it said nothing and ended with status {status}"}
    if status:
        report["error"] = f"ended with status {status}: {last_line}" if last_line else f"ended with status {status}"
    return dict(report)


def write_results(report: dict[str, Any], text: str, directory: Path = RESULTS) -> None:
    """Both files; what soak, overload and failover have found stays."""
    directory.mkdir(exist_ok=True)
    if kept := stored(directory).get("reliability"):
        report = report | {"reliability": kept}
    write_whole(directory / "latest.json", json.dumps(report, indent=1) + "\n")
    write_whole(directory / "latest.md", text)


def as_markdown(report: dict[str, Any]) -> str:
    """The table, what it was measured on, and its limits."""
    run = f"{report['seconds'] / 60:.0f} minutes; {'full' if report['full'] else 'quick'} run"
    failed = [f"- **{name} failed:** {why}" for name, why in report["failed"].items()]
    limits = [f"- {line}" for line in report["limits"]]
    about = [f"{where(report)}; {report['started']}; {run}", "", package_line(report)]
    return "\n".join(["# Benchmarks", "", summary_table(report["parts"]), "", *failed, *about, "", *limits, ""])


@dataclass(frozen=True)
class Compared:
    """The speed of caststream as a multiple of a peer's, then and now."""

    peer: str
    stored: float
    fresh: float | None

    @property
    def fell(self) -> bool:
        """True if the ratio fell by more than a quarter, or the peer is gone.

        Beside two workers of our own the ratio rises where the second one gains less.
        """
        if self.fresh is None:
            return True
        if self.peer == TWO_WORKERS:
            return self.stored < (1 - MOST_LOST) * self.fresh
        return self.fresh < (1 - MOST_LOST) * self.stored


def compare(stored: Mapping[str, float], fresh: Mapping[str, float]) -> list[Compared]:
    """Every peer that was measured then."""
    return [Compared(peer, ratio, fresh.get(peer)) for peer, ratio in stored.items()]


def stored_ratios(path: Path) -> dict[str, float]:
    """The ratios of the stored run.

    Raises:
        SystemExit: there are none.
    """
    try:
        ratios = at(json.loads(path.read_text()), "parts", "pipeline", "ratios")
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {path}: cannot be read ({error}); `make bench` makes it") from error
    if not ratios:
        raise SystemExit(f"error: {path}: holds no ratios of the pipeline; `make bench` measures them")
    return dict(ratios)


def fresh_report() -> dict[str, Any]:
    """A quick run of the pipeline, its progress on our stderr.

    Raises:
        SystemExit: it failed.
    """
    command = [sys.executable, str(HERE / "bench_pipeline.py"), "--quick", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: the pipeline benchmark ended with status {done.returncode}")
    return dict(json.loads(done.stdout))


def check(against: Path, fresh: Path | None) -> int:
    """Print how a fresh run compares with the stored one; the exit status is 1 where a ratio fell."""
    stored = stored_ratios(against)
    found = json.loads(fresh.read_text()) if fresh else fresh_report()
    left_out = found.get("left_out", ())
    compared = compare({peer: ratio for peer, ratio in stored.items() if peer not in left_out}, found["ratios"])
    rows = [(each.peer, each.stored, each.fresh, "FELL" if each.fell else "ok") for each in compared]
    print(markdown(("caststream_1 beside", "stored ratio", "fresh ratio", "verdict"), rows))
    fallen = [each for each in compared if each.fell]
    for each in fallen:
        say(
            f"error: {each.peer}: the ratio was {figure(each.stored)} and is {figure(each.fresh)}; "
            f"more than {100 * MOST_LOST:.0f} % are lost"
        )
    return 1 if fallen else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="every part in full: an hour or more")
    names = [part.name for part in PARTS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help=f"of {', '.join(names)}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the two files go")
    parser.add_argument("--check", action="store_true", help="run the pipeline only, and compare with the stored run")
    parser.add_argument("--against", type=Path, default=RESULTS / "latest.json", help="the stored run")
    parser.add_argument("--fresh", type=Path, help="with --check: the JSON of a pipeline run, instead of a new run")
    return parser.parse_args()


def main() -> int:
    """Entry point."""
    options = _arguments()
    if options.check:
        return check(options.against, options.fresh)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found, started, begun = machine(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), time.monotonic()
    parts: dict[str, Any] = {}
    chosen = [part for part in PARTS if (not options.only or part.name in options.only) and part.full >= options.full]
    try:
        for number, part in enumerate(chosen, 1):
            say(f"[{number} of {len(chosen)}, {(time.monotonic() - begun) / 60:.1f} min] {part.name}")
            parts[part.name] = run_part(part, options.full)
            if "error" in parts[part.name]:
                say(f"  {part.name} FAILED: {parts[part.name]['error']}")
    except KeyboardInterrupt:
        say("interrupted; nothing is written")
        return 130
    report = {
        "started": started,
        "seconds": round(time.monotonic() - begun, 1),
        "full": options.full,
        "machine": found,
        "versions": versions(),
        "limits": LIMITS,
        "failed": {name: part["error"] for name, part in parts.items() if "error" in part},
        "parts": parts,
    }
    text = as_markdown(report)
    write_results(report, text, options.results)
    print(text)
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
