"""The cost of a worker's metrics at full speed: their share of its CPU time, and its rate without them.

    .venv/bin/python benchmarks/bench_metrics.py [--quick] [--json]

All input lies ready before a worker starts, and /metrics is scraped once a second, fifteen times as often as usual.
Workers with and without metrics take turns; the share is measured in those with them, by a timer around each call.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import bench_broker
from instrumented_worker import SECONDS
from live_worker import LiveWorker, Meter, Scrape
from loads import Watch, load_of, read_times, send
from reporting import Report, Say, markdown, parser, run_script
from watch import Background
from workload import timing

from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

STREAMS = 1000
PROGRAM = Path(__file__).resolve().parent / "instrumented_worker.py"
WITH, WITHOUT = "timed", "without"


class Scrapes(Background):
    """Asks a worker for its metrics once a second while the context is open."""

    def __init__(self, worker: LiveWorker) -> None:
        super().__init__()
        self.count = 0
        self._worker = worker

    def work(self) -> None:
        while not self.over.wait(1.0):
            self._worker.get("/metrics")
            self.count += 1


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON: the rounds of both, and the share."""
    samples = 1_000_000 if options.quick else 3_000_000
    found: dict[str, list[dict[str, float]]] = {WITH: [], WITHOUT: []}
    with bench_broker(say) as settings, TemporaryDirectory(prefix="caststream-metrics-") as directory:
        own = settings.replace(topic_prefix="metrics-")
        create_topics(own)
        send(load_of(own, "signal", streams=STREAMS, rate=0, samples=samples, sequence="metrics"))
        for number in range(options.rounds):
            for mode in (WITH, WITHOUT) if number % 2 else (WITHOUT, WITH):
                once = run_once(own.replace(app_id=f"metrics-{number}-{mode}"), Path(directory), mode, samples)
                found[mode].append(once)
                say(f"round {number + 1} of {options.rounds}, {mode}: {once['rate']:,.0f}/s")
    share = statistics.median(once["share"] for once in found[WITH])
    return {"samples": samples, "streams": STREAMS, "share": share, "rounds": found}


def run_once(settings: Settings, directory: Path, mode: str, samples: int) -> dict[str, float]:
    """A worker of a new group takes the topic from its beginning: its rate, CPU time per sample, share of metrics."""
    create_topics(settings)
    watch = Watch(settings, "signal")
    worker = LiveWorker(settings, directory, (sys.executable, str(PROGRAM), mode))
    with worker:
        worker.start()
        meter = Meter(worker=worker.pid)
        before = worker.scrape()
        with Scrapes(worker) as scrapes:
            watch.wait(samples, worker.require_running)
        spent_s, after = meter.cpu_s()["worker"], worker.scrape()
    times_ms = read_times(settings, watch.output, watch.output_ends).times_ms
    times_ms.sort()
    found = {"rate": timing(times_ms).rate, "cpu_us": 1e6 * spent_s / samples, "scrapes": float(scrapes.count)}
    return found | ({"share": _seconds(before, after) / spent_s} if mode == WITH else {})


def _seconds(before: Scrape, after: Scrape) -> float:
    return after.get(SECONDS) - before.get(SECONDS)


def table(report: Report) -> str:
    """A row with metrics, one without."""

    def row(name: str, mode: str) -> tuple[Any, ...]:
        rounds = report["rounds"][mode]
        rates, cpu_us = ([once[column] for once in rounds] for column in ("rate", "cpu_us"))
        share = f"{report['share']:.2%}" if mode == WITH else None
        return (
            name,
            statistics.median(rates),
            f"{min(rates):,.0f} to {max(rates):,.0f}",
            statistics.median(cpu_us),
            share,
        )

    header = ("", "samples/s", "spread", "worker CPU, µs a sample", "of it metrics")
    return markdown(header, [row("with metrics", WITH), row("without", WITHOUT)], text=(0, 2))


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5, help="of each; default 5")
    return run_script(options.parse_args(), measure, table)


if __name__ == "__main__":
    sys.exit(main())
