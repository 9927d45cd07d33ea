"""Throughput of one worker over the number of streams and the chunk size, with the price of a sample by stage.

    .venv/bin/python benchmarks/bench_sweep.py [--quick] [--json]

All input lies ready before a worker starts. The streams are swept with the worker's own chunk size, the chunk size with
1,000 streams. A stage's price is its time by the worker's own metric, over all samples; a process's is its CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import bench_broker
from live_worker import PROGRAM, Meter, broker_pid, chunked, worker
from loads import Watch, load_of, read_times, send
from reporting import Report, Row, Say, markdown, parser, run_script
from workload import timing

from stream_app.settings import Settings
from stream_app.topics.administration import create_topics
from stream_app.worker import build

STREAMS = (10, 100, 1000, 10_000, 100_000)
CHUNKS = (100, 500, 1000, 2000, 4000, 8000)
QUICK_CHUNKS = (100, 500, 1000, 4000, 8000)
CHUNK_STREAMS = 1000
STAGES = ("decode", "infer", "publish", "commit")


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON: ``streams`` and ``chunks``, each a list of points."""
    samples = options.samples or (300_000 if options.quick else 1_000_000)
    chunk = build.CHUNK_RECORDS
    report: Report = {"samples": samples, "chunk": chunk, "chunk_streams": CHUNK_STREAMS, "streams": [], "chunks": []}
    with bench_broker(say) as settings, TemporaryDirectory(prefix="caststream-sweep-") as directory:
        sweep = _Sweep(settings, Path(directory), samples, options.rounds, say)
        for streams in STREAMS:
            report["streams"].append({"streams": streams, **sweep.point(streams, chunk)})
        for records in QUICK_CHUNKS if options.quick else CHUNKS:
            report["chunks"].append({"chunk": records, **sweep.point(CHUNK_STREAMS, records)})
    return report


class _Sweep:
    def __init__(self, settings: Settings, directory: Path, samples: int, rounds: int, say: Say) -> None:
        self.settings = settings
        self.directory = directory
        self.samples = samples
        self.rounds = rounds
        self.say = say
        self.runs = 0
        self.filled: set[int] = set()
        self.found: dict[tuple[int, int], dict[str, Any]] = {}

    def point(self, streams: int, chunk: int) -> dict[str, Any]:
        """The median round by rate, and the smallest and the largest rate; each point is measured once."""
        if (streams, chunk) not in self.found:
            self.found[streams, chunk] = self._measured(streams, chunk)
        return self.found[streams, chunk]

    def _measured(self, streams: int, chunk: int) -> dict[str, Any]:
        rounds = sorted((self._once(streams, chunk) for _ in range(self.rounds)), key=lambda found: found["rate"])
        rates = [found["rate"] for found in rounds]
        median = rounds[(len(rounds) - 1) // 2]
        self.say(f"{streams:,} streams, chunks of {chunk:,}: {statistics.median(rates):,.0f}/s")
        return {**median, "rate": statistics.median(rates), "min": rates[0], "max": rates[-1]}

    def _once(self, streams: int, chunk: int) -> dict[str, Any]:
        """A worker of a new group takes the topic of this number of streams from its beginning."""
        self.runs += 1
        own = self.settings.replace(app_id=f"sweep-{self.runs}", topic_prefix=f"sweep-{streams}-")
        create_topics(own)
        if streams not in self.filled:
            self.filled.add(streams)
            send(load_of(own, "signal", streams=streams, rate=0, samples=self.samples, sequence="sweep"))
        watch = Watch(own, "signal")
        program: Sequence[str] = PROGRAM if chunk == build.CHUNK_RECORDS else chunked(chunk)
        with worker(own, self.directory, program) as running:
            meter = Meter(worker=running.pid, broker=broker_pid())
            watch.wait(self.samples, running.require_running)
            spent, scrape = meter.cpu_s(), running.scrape()
        stage_s = {stage: scrape.get("caststream_stage_seconds_sum", stage=stage) for stage in STAGES}
        times_ms = read_times(own, watch.output, watch.output_ends).times_ms
        times_ms.sort()
        return {
            "rate": timing(times_ms).rate,
            **{f"{stage}_us": 1e6 * seconds / self.samples for stage, seconds in stage_s.items()},
            **{f"{name}_cpu_us": 1e6 * seconds / self.samples for name, seconds in spent.items()},
        }


def table(report: Report) -> str:
    """A row per point."""
    points = [(f"{point['streams']:,} streams", point) for point in report["streams"]]
    points += [(f"chunks of up to {point['chunk']:,}", point) for point in report["chunks"]]
    prices = [*(f"{stage}_us" for stage in STAGES), "worker_cpu_us", "broker_cpu_us"]
    rows: list[Row] = [
        (name, point["rate"], spread(point), *(point[price] for price in prices)) for name, point in points
    ]
    shown = [*(f"{stage}, µs" for stage in STAGES), "worker CPU, µs", "broker CPU, µs"]
    return markdown(("", "samples/s", "spread", *shown), rows)


def spread(point: dict[str, Any]) -> str | None:
    """The smallest and the largest rate; None where there was one round."""
    return None if point["min"] == point["max"] else f"{point['min']:,.0f} to {point['max']:,.0f}"


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--samples", type=int, help="per point; default 1,000,000, with --quick 300,000")
    options.add_argument("--rounds", type=int, default=1, help="per point; default 1")
    return run_script(options.parse_args(), measure, table)


if __name__ == "__main__":
    sys.exit(main())
