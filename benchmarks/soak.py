"""A soak: a mixed load at a steady, moderate rate for an hour, and whether anything in the workers grows.

    .venv/bin/python benchmarks/soak.py [--minutes N] [--workers N] [--quick] [--json]

Behind `make soak`. 5,000 signal samples/s on 1,000 streams that come and go (half of their names are new for ever), new
sequences all the time, bad and late records, duplicates, gaps; 20 strands at ten times their pace, whose casts end in
every way. The idle timeout is short, so streams are evicted all the time. Memory, file descriptors, threads, asyncio's
tasks, latency and lag are looked at every few seconds; at the end each is judged without the first 10 % of the run, all
streams must be evicted, and the checker compares every output and state with an offline run.

The exit status is 1 where something is not flat, or not right. An hour needs about 9 GB below TMPDIR; longer runs need
hardly more, as the topics keep 70 minutes, and the checker then looks at the last hour.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import flatness
from flatness import Verdict
from harness import audit, bench_broker
from loads import Sending, mix_of
from reliability import add_options, run_reliability
from reporting import Report, Row, Say, figure, markdown, parser
from watch import Looks, cores, thinned, watched

from core.errors import RunError, StartupError
from stream_app.clients.admin import Cluster
from stream_app.routes import ROUTES
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics
from stream_app.topics.plans import STREAM_CONFIG

SIGNALS, PLACES = 5000, 1000
STRANDS, STRAND_HZ = 20, 10
KEPT_S, CHECKED_S = 70 * 60, 60 * 60
RETENTION = {"retention.ms": str(1000 * KEPT_S), "segment.ms": str(10 * 60 * 1000), "segment.bytes": str(64 * 2**20)}
GRACE_S = 5.0  # of evictions
DRAINED_S = 60.0
Series = Mapping[str, Sequence[float]]

LEAST_COMPACTED_S = 15 * 60  # a shorter run does not see a changelog come to its size


@dataclass(frozen=True)
class Plan:
    """The length of a run and the life of its streams.

    Args:
        steps: of a sequence; at 5,000 samples/s on 1,000 places a stream has 5 in a second.
        sequences: of a stream before it goes.
    """

    seconds: float
    every_s: float
    idle_timeout: float
    steps: int
    sequences: int
    minute_s: float = 60.0


def plan_of(options: argparse.Namespace) -> Plan:
    """A quick run is as lively in two minutes as a full one in twelve.

    Raises:
        StartupError: there would be too few minutes to be compared.
    """
    least = 2 if options.quick else 10
    if options.minutes is not None and not options.minutes >= least:
        raise StartupError(f"--minutes must be {least} or more: less says nothing about what grows")
    if options.quick:
        return Plan(60 * (options.minutes or 2), 1.0, 5.0, 25, 2, minute_s=10.0)
    return Plan(60 * (options.minutes or 60), 5.0, 30.0, 150, 2)


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON: looks by worker, verdicts, what the checker says."""
    plan = plan_of(options)
    with bench_broker(say) as settings, TemporaryDirectory(prefix="caststream-soak-") as directory:
        own = settings.replace(app_id="soak", topic_prefix="soak-", idle_timeout=plan.idle_timeout)
        create(own)
        soak = _Soak(own, Path(directory), plan, options.workers, say)
        report = soak.run()
        since_ms = None if plan.seconds <= CHECKED_S else time.time_ns() // 1_000_000 - 1000 * CHECKED_S
        report["checker"] = audit(own, say, since_ms=since_ms) if options.verify else None
    return report | {"seconds": plan.seconds, "idle_timeout_s": plan.idle_timeout, "failures": failures(report)}


def create(settings: Settings) -> None:
    """The topics; sources and outputs do not keep everything for ever."""
    config = STREAM_CONFIG | RETENTION
    names = [settings.topic(name) for source, (output, _) in ROUTES.items() for name in (source, output)]
    Cluster(settings).create(dict.fromkeys(names, settings.partitions), 1, dict.fromkeys(names, config))
    create_topics(settings)


class _Soak:
    def __init__(self, settings: Settings, directory: Path, plan: Plan, workers: int, say: Say) -> None:
        self.settings = settings
        self.directory = directory
        self.plan = plan
        self.say = say
        self.workers = [watched(settings, self._of(number)) for number in range(workers)]

    def run(self) -> dict[str, Any]:
        """From the start of the workers to the eviction of the last stream."""
        with ExitStack() as stack:
            for worker in self.workers:
                stack.enter_context(worker)
                worker.start()
            self.say(f"{len(self.workers)} workers are ready; {self.plan.seconds / 60:g} minutes begin")
            looks, senders = self._under_load()
            evicted_s = self._until_evicted()
            logs = [worker.log for worker in self.workers]
        return {
            "workers": [self._found(each, log) for each, log in zip(looks, logs, strict=True)],
            "senders": senders,
            "all_evicted_s": evicted_s,
        }

    def _under_load(self) -> tuple[list[Looks], dict[str, Any]]:
        plan, broker_data = self.plan, self.settings.data_dir / "broker" / "data"
        signals = {"places": PLACES, "steps": plan.steps, "sequences": plan.sequences}
        idle_turns = round(1.5 * STRAND_HZ * (plan.idle_timeout + GRACE_S))
        rate = STRANDS * STRAND_HZ
        loads = {
            "signal": mix_of(self.settings, "signal", "coming_and_going", SIGNALS, plan.seconds, **signals),
            "casting": mix_of(
                self.settings, "casting", "casts", rate, plan.seconds, strands=STRANDS, idle_turns=idle_turns
            ),
        }
        sending = {name: Sending(load) for name, load in loads.items()}
        with ExitStack() as stack:
            looks = [
                stack.enter_context(Looks(worker, self._of(number), plan.every_s, None if number else broker_data))
                for number, worker in enumerate(self.workers)
            ]
            self._minutes(looks)
        return looks, {name: each.finish() for name, each in sending.items()}

    def _minutes(self, looks: list[Looks]) -> None:
        plan, started = self.plan, time.monotonic()
        for number in range(1, round(plan.seconds / plan.minute_s) + 1):
            while (left := started + number * plan.minute_s - time.monotonic()) > 0:
                time.sleep(min(left, 1.0))
                for worker in self.workers:
                    worker.require_running()
            end_s = number * plan.minute_s
            for each in looks:
                self.say(f"{end_s / 60:.1f} of {plan.seconds / 60:g} min: {_line(each, end_s, plan.minute_s)}")

    def _until_evicted(self) -> float:
        """Measure the time from the load's end until no stream is live: the idle timeout and a while."""
        started = time.monotonic()
        limit_s = self.plan.idle_timeout + GRACE_S + DRAINED_S
        while any(worker.scrape().get("caststream_active_streams") for worker in self.workers):
            if time.monotonic() - started > limit_s:
                raise RunError(f"streams are still live {limit_s:g} s after the last record")
            time.sleep(0.5)
        return time.monotonic() - started

    def _found(self, looks: Looks, log: str) -> dict[str, Any]:
        columns = looks.columns
        by_minute = looks.by_minute(self.plan.minute_s)
        verdicts = judge(columns, by_minute)
        return {
            "verdicts": [asdict(each) for each in verdicts],
            "columns": thinned(columns),
            "by_minute": by_minute,
            "worker_cores": cores(columns),
            "assignments": log.count(" ready: "),
            "errors": [line for line in log.splitlines() if " ERROR " in line][:10],
        }

    def _of(self, number: int) -> Path:
        return self.directory / f"worker-{number}"


def judge(columns: Series, by_minute: Series) -> list[Verdict]:
    """Each thing that must not grow, and the streams that must have come and gone.

    Raises:
        ValueError: the run was too short.
    """
    at_s = columns["at_s"]
    verdicts = [
        flatness.memory(at_s, columns["rss_bytes"]),
        flatness.counted("file descriptors", at_s, columns["fds"]),
        flatness.counted("threads", at_s, columns["threads"]),
        flatness.counted("asyncio tasks", at_s, columns["tasks"], flatness.TASKS_SHARE, flatness.TASKS),
        flatness.latency(by_minute["at_s"], by_minute["p99_ms"]),
        flatness.counted("lag, records", at_s, columns["lag"], more=SIGNALS),
        flatness.counted("commit age, s", at_s, columns["commit_age_s"], more=1.0),
        flatness.counted("live streams", at_s, columns["active_streams"], share=0.1),
    ]
    if "changelogs_disk_bytes" in columns and at_s[-1] >= LEAST_COMPACTED_S:
        verdicts.append(flatness.counted("changelogs on disk", at_s, columns["changelogs_disk_bytes"], share=0.5))
    return verdicts


def failures(report: Report) -> list[str]:
    """Why the run has failed; empty where it has not."""
    found = []
    for number, worker in enumerate(report["workers"]):
        found += [f"worker {number}: {Verdict(**each).line}" for each in worker["verdicts"] if not each["flat"]]
        found += [f"worker {number}: {line}" for line in worker["errors"]]
        if worker["assignments"] > len(report["workers"]):
            found.append(f"worker {number}: {worker['assignments']} assignments, though nobody came or went")
    if report["checker"] is not None and not report["checker"]["ok"]:
        found.append(f"the checker: {report['checker']['problems']}")
    return found


def _line(looks: Looks, end_s: float, length_s: float) -> str:
    seen = looks.last
    p99 = looks.latency_ms(0.99, end_s - length_s, end_s)
    return (
        f"{seen('rss_bytes') / 2**20:.0f} MiB, {seen('fds'):.0f} files, {seen('threads'):.0f} threads, "
        f"{seen('tasks'):.0f} tasks, {seen('active_streams'):,.0f} streams, lag {seen('lag'):,.0f}, "
        f"p99 {figure(p99)} ms"
    )


def table(report: Report) -> str:
    """A row for each verdict; below it what the checker says."""
    rows: list[Row] = [
        (str(number), each["name"], each["first"], each["last"], each["allowed"], "yes" if each["flat"] else "NO")
        for number, worker in enumerate(report["workers"])
        for each in worker["verdicts"]
    ]
    header = ("worker", "what", "first quarter", "last quarter", "allowed", "flat")
    checked = report["checker"]
    said = "was not asked" if checked is None else "ok" if checked["ok"] else f"found {checked}"
    lines = [markdown(header, rows, text=(0, 1, 5)), "", f"The checker: {said}."]
    return "\n".join([*lines, *(f"FAILED: {each}" for each in report["failures"])])


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--minutes", type=float, help="default 60, with --quick 2")
    options.add_argument("--workers", type=int, default=1, help="processes of one group; default 1")
    add_options(options)
    return run_reliability(options.parse_args(), "soak", measure, table)


if __name__ == "__main__":
    sys.exit(main())
