"""State at scale: memory per stream, commits, changelog, recovery and eviction with very many streams.

    .venv/bin/python benchmarks/bench_scale.py [--quick] [--json] [--streams N ...]

For each number of streams, on topics of its own: a worker starts without states; every stream gets one sample; then all
streams get samples at a steady rate; the worker is killed and started again; it is stopped and started with a short
idle timeout, so that all streams are evicted. The full run adds a million streams.

A stall is seen from outside: a request to /healthz every 10 ms, answered by the event loop that also runs chunks and
commits. Its longest answer bounds how long anything has held the loop, the request's own way included.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from harness import bench_broker
from live_worker import LiveWorker, Meter, Scrape
from loads import WARM_UP_S, Watch, around_commits, ends, load_of, send, send_measured, summary, wait_for
from reporting import Report, Row, Say, at, markdown, parser, run_script
from watch import Pings

from core.errors import RunError
from stream_app.routes import SIGNAL_STATES
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

STREAMS, MILLION = (10_000, 100_000), 1_000_000
RATE = 20_000  # samples per second while commits are measured
STATE_BYTES = 1024  # h and c of one stream: 2 * 2 * 64 float32
WARM_SAMPLES = 20_000
EVICTION_S = 300.0
IDLE_S, GRACE_S = 1.0, 5.0
RECOVERED = re.compile(r"recovered (\d+) changelog records of \d+ partitions in ([0-9.]+) s")


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON; ``streams`` by their number as text."""
    numbers = options.streams or (STREAMS if options.quick else (*STREAMS, MILLION))
    report: Report = {"rate": options.rate, "streams": {}, "state_bytes": STATE_BYTES, "idle_timeout_s": IDLE_S}
    with bench_broker(say) as settings, TemporaryDirectory(prefix="caststream-scale-") as directory:
        for number in numbers:
            own = settings.replace(app_id=f"scale-{number}", topic_prefix=f"scale-{number}-")
            create_topics(own)
            with LiveWorker(own, Path(directory)) as worker:
                scale = _Scale(own, worker, number, options.rate, 8 if options.quick else 20, say)
                report["streams"][str(number)] = scale.run()
    return report


class _Scale:
    def __init__(
        self, settings: Settings, worker: LiveWorker, streams: int, rate: float, seconds: float, say: Say
    ) -> None:
        self.settings = settings
        self.worker = worker
        self.streams = streams
        self.rate = rate
        self.seconds = seconds
        self.changelog = settings.changelog(SIGNAL_STATES)
        self._say = say

    def run(self) -> dict[str, Any]:
        """All of it, in order."""
        self.worker.start()
        self.worker.stop()
        ready_s = self.worker.start()  # the first one has filled the system's file cache
        found: dict[str, Any] = {"ready_empty_s": ready_s}
        found |= self._create()
        found |= self._commits()
        found |= self._recovery(ready_s)
        found |= self._eviction()
        return found

    def _create(self) -> dict[str, Any]:
        """One sample of each stream: what a stream costs in memory, and the commit with all of them changed."""
        self._warm_up()
        before_bytes, before = self.worker.rss_bytes(), self.worker.scrape()
        watch = Watch(self.settings, "signal")
        started = time.monotonic()
        send(self._load(0, self.streams, 0))
        watch.wait(self.streams, self.worker.require_running)
        written = sum(watch.changelog_ends) + self.streams
        wait_for(self.settings, self.changelog, written, check=self.worker.require_running)
        elapsed = time.monotonic() - started
        time.sleep(2.0)  # the commit's own buffers are let go
        grown_bytes = self.worker.rss_bytes() - before_bytes
        beyond_bytes = grown_bytes / self.streams - STATE_BYTES
        self.say(f"{grown_bytes / 2**20:,.0f} MiB more, {beyond_bytes:,.0f} bytes per stream beyond h and c")
        return {
            "rss_grown_bytes": grown_bytes,
            "beyond_state_bytes": beyond_bytes,
            "created_per_s": self.streams / elapsed,
            "first_commits": commits_between(before, self.worker.scrape()),
        }

    def _warm_up(self) -> None:
        """Buffers that the worker has for any number of streams are none of the price of one."""
        watch = Watch(self.settings, "signal")
        what = {"streams": 10, "rate": 0, "samples": WARM_SAMPLES, "sequence": "warm-up"}
        send(load_of(self.settings, "signal", **what))
        watch.wait(WARM_SAMPLES, self.worker.require_running)
        time.sleep(2.0)

    def _commits(self) -> dict[str, Any]:
        """A steady rate over all streams."""
        samples = round(self.rate * (self.seconds + WARM_UP_S))
        watch = Watch(self.settings, "signal")
        before = self.worker.scrape()
        with Pings(self.worker) as pings:
            (sender,), cores = send_measured([self._load(self.rate, samples, 1)], worker=self.worker.pid)
            watch.wait(samples, self.worker.require_running)
        after = self.worker.scrape()
        found = watch.latencies()
        size = record_bytes(self.settings, self.changelog)
        written = sum(ends(self.settings, self.changelog)) - sum(watch.changelog_ends)
        commits, spans = commits_between(before, after), watch.commits()
        stall = pings.summary(spans)
        self.say(f"commits of {commits['mean_ms']:.0f} ms, longest stall {stall['longest_ms']:.0f} ms")
        return {
            "commits": commits,
            "packing": commits_between(before, after, "pack"),
            "stall": stall,
            "latency": summary(found.latency_ms),
            "around_commits": around_commits(found, spans),
            "changelog_records_per_s": written / sender["seconds"],
            "changelog_bytes_per_s": written * size / sender["seconds"],
            "changelog_record_bytes": size,
            "worker_cores": cores["worker"],
        }

    def _recovery(self, ready_empty_s: float) -> dict[str, Any]:
        """Killed, and started when its session is over: what is longer than a start without states is recovery."""
        self.worker.kill()
        time.sleep(self.settings.session_timeout + 1)
        ready_s = self.worker.start()
        said = RECOVERED.search(self.worker.log)
        records, read_s = (int(said[1]), float(said[2])) if said else (None, None)
        self.say(
            f"ready {ready_s - ready_empty_s:+.1f} s later than without states, {records} records read in {read_s} s"
        )
        return {
            "ready_s": ready_s,
            "recovery_s": ready_s - ready_empty_s,
            "changelog_records": records,
            "changelog_read_s": read_s,
            "recovered_rss_bytes": self.worker.rss_bytes(),
        }

    def _eviction(self) -> dict[str, Any]:
        """All streams idle: until the last tombstone is written, and until the worker says that no stream is live."""
        self.worker.stop()
        time.sleep(GRACE_S + IDLE_S)
        goal = sum(ends(self.settings, self.changelog)) + self.streams
        self.worker.start(idle_timeout=IDLE_S)
        meter, started = Meter(worker=self.worker.pid), time.monotonic()
        wait_for(self.settings, self.changelog, goal, EVICTION_S, self.worker.require_running)
        tombstones_s = time.monotonic() - started
        while self.worker.scrape().get("caststream_active_streams", table=SIGNAL_STATES):
            if time.monotonic() - started > EVICTION_S:
                raise RunError(f"streams are still live {EVICTION_S:g} s after they were evicted")
            time.sleep(0.2)
        self.say(f"all evicted {tombstones_s:.1f} s after the start")
        return {
            "tombstones_s": tombstones_s,
            "none_active_s": time.monotonic() - started,  # the metric is set every 5 s
            "eviction_cpu_s": meter.cpu_s()["worker"],
        }

    def _load(self, rate: float, samples: int, first_step: int) -> Any:
        what = {"streams": self.streams, "rate": rate, "samples": samples, "sequence": "s", "first_step": first_step}
        return load_of(self.settings, "signal", **what)

    def say(self, line: str) -> None:
        """A progress line that says how many streams."""
        self._say(f"{self.streams:,} streams: {line}")


def commits_between(before: Scrape, after: Scrape, stage: str = "commit") -> dict[str, Any]:
    """Count the commits between two readings, with their mean and the limit of the longest one's bucket (None: no
    limit).

    The same of stage ``pack``: the steps of commits in which no chunk can be applied.
    """
    name = "caststream_stage_seconds"
    count = after.get(f"{name}_count", stage=stage) - before.get(f"{name}_count", stage=stage)
    seconds = after.get(f"{name}_sum", stage=stage) - before.get(f"{name}_sum", stage=stage)
    below: defaultdict[float, float] = defaultdict(float)  # of all tasks
    for (found, labels), value in after.samples.items():
        if found == f"{name}_bucket" and dict(labels).get("stage") == stage:
            below[float(dict(labels)["le"])] += value - before.samples.get((found, labels), 0.0)
    longest = next((limit for limit in sorted(below) if below[limit] >= count), float("inf"))
    return {
        "count": int(count),
        "mean_ms": 1000 * seconds / count if count else 0.0,
        "longest_below_ms": None if longest == float("inf") else 1000 * longest,
    }


def record_bytes(settings: Settings, topic: str, looked_at: int = 500) -> float:
    """Mean bytes of key, value and headers of a topic's last records; tombstones are left out."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({**settings.client_config(), "group.id": "bench", "enable.auto.commit": False})
    begins = [max(0, end - looked_at) for end in ends(settings, topic)]
    consumer.assign([TopicPartition(topic, partition, begin) for partition, begin in enumerate(begins)])
    try:
        messages = [message for message in consumer.consume(looked_at, 10.0) if message.error() is None]
    finally:
        consumer.close()
    sizes = [_bytes_of(message) for message in messages if message.value() is not None]
    if not sizes:
        raise RunError(f"{topic} holds no states")
    return float(np.mean(sizes))


def _bytes_of(message: Any) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in message.headers() or ())
    return len(message.key() or b"") + len(message.value() or b"") + headers


def table(report: Report) -> str:
    """A column per number of streams."""
    found = report["streams"]
    lines: list[tuple[str, tuple[str, ...], float]] = [
        ("bytes per stream beyond h and c", ("beyond_state_bytes",), 1),
        ("commit, mean, ms", ("commits", "mean_ms"), 1),
        ("longest commit, below ms", ("commits", "longest_below_ms"), 1),
        ("longest step of a commit, below ms", ("packing", "longest_below_ms"), 1),
        ("longest stall around commits, ms", ("stall", "longest_near_commits_ms"), 1),
        ("longest stall else, ms", ("stall", "longest_else_ms"), 1),
        ("latency p50, ms", ("latency", "p50_ms"), 1),
        ("latency p99, ms", ("latency", "p99_ms"), 1),
        ("changelog, MB/s", ("changelog_bytes_per_s",), 1e-6),
        ("changelog records at the kill", ("changelog_records",), 1),
        ("reading them, s", ("changelog_read_s",), 1),
        ("ready later than without states, s", ("recovery_s",), 1),
        ("all evicted, s after the start", ("tombstones_s",), 1),
    ]
    rows: list[Row] = [
        (name, *(_scaled(at(found[number], *path), factor) for number in found)) for name, path, factor in lines
    ]
    return markdown(("streams", *(f"{int(number):,}" for number in found)), rows)


def _scaled(value: Any, factor: float) -> Any:
    return value if value is None or factor == 1 else value * factor


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--streams", type=int, nargs="*", help="numbers of streams")
    options.add_argument("--rate", type=float, default=RATE, help=f"samples/s for the commits; default {RATE:,}")
    return run_script(options.parse_args(), measure, table)


if __name__ == "__main__":
    sys.exit(main())
