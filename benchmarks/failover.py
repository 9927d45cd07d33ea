"""Failover: for how long streams are silent when a worker is killed, stopped or joins; is anything lost or repeated?

    .venv/bin/python benchmarks/failover.py [--repetitions N] [--session S] [--streams N] [--quick] [--json]

Two workers, 5,000 samples/s on 1,000 streams in 4 partitions. By the broker's append times of the outputs, for each
partition the longest time without one around an event; partitions that had to change hands apart from the survivor's.

- kill: SIGKILL of one of two, with the default session timeout, and with a short one (--session)
- join: the one that was killed or stopped comes back
- stop: SIGTERM of one of two, which hands its partitions over
- rolling: three workers, stopped and started again one after the other

The checker looks at everything afterwards: nothing may be lost or repeated. --streams 1000000 adds `bench_scale.py`
with so many streams, for the time that a worker needs to read their states. About 20 minutes for five repetitions, and
10 for a million streams. The exit status is 1 where something is lost or repeated, or a median above what is aimed at.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import audit, bench_broker
from live_worker import LiveWorker
from loads import WARM_UP_S, Answers, Sending, Watch, answers, ends, longest_silence, mix_of, read_times
from reliability import add_options, run_reliability
from reporting import Report, Row, Say, markdown, parser

from core.errors import RunError
from stream_app.routes import SIGNAL_SAMPLES
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

RATE, STREAMS = 5000, 1000
SETTLE_S = 3.0
LONGEST_S = 600.0
BESIDE_S = 1.0  # before an event: what is silent then belongs to it
SCALE = str(Path(__file__).resolve().parent / "bench_scale.py")


@dataclass(frozen=True)
class Plan:
    """The number of repetitions, and the seconds for which a load continues after an event."""

    repetitions: int
    after_s: float = 12.0


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON: ``events`` in their order, ``summary`` by kind, what the checker says."""
    plan = Plan(options.repetitions or (1 if options.quick else 5), 7.0 if options.quick else 12.0)
    report: Report = {"rate": RATE, "streams": STREAMS, "repetitions": plan.repetitions, "events": [], "checker": {}}
    with bench_broker(say) as settings, TemporaryDirectory(prefix="caststream-failover-") as directory:
        for name, session, workers in (("default", None, 2), ("tuned", options.session, 2), ("rolling", None, 3)):
            own = settings.replace(app_id=name, topic_prefix=f"{name}-")
            own = own if session is None else own.replace(session_timeout=session)
            create_topics(own)
            with group_of(own, Path(directory) / name, workers) as group:
                bench = Failover(own, group, plan, name, say)
                report["events"] += bench.rolling() if name == "rolling" else bench.one_of_two(tuned=bool(session))
            report["checker"][name] = audit(own, say) if options.verify else None
    report["session_timeout_s"] = {"default": settings.session_timeout, "tuned": options.session}
    report["recovery"] = recovery(options.streams, say) if options.streams else None
    report["summary"] = summary_of(report)
    return report | {"failures": failures(report)}


@contextmanager
def group_of(settings: Settings, directory: Path, workers: int) -> Iterator[list[LiveWorker]]:
    """Workers of one group, started one after the other, each with a directory of its own."""
    with ExitStack() as stack:
        group = []
        for number in range(workers):
            (directory / str(number)).mkdir(parents=True)
            group.append(stack.enter_context(LiveWorker(settings, directory / str(number))))
            group[-1].start()
        time.sleep(SETTLE_S)
        yield group


class Failover:
    """Events on a group of workers, one after the other, each under a load of its own."""

    def __init__(self, settings: Settings, group: list[LiveWorker], plan: Plan, name: str, say: Say) -> None:
        self.settings = settings
        self.group = group
        self.plan = plan
        self.name = name
        self.say = say
        self.runs = 0

    def one_of_two(self, tuned: bool) -> list[dict[str, Any]]:
        """Kill and join; without a tuned session stop and join too."""
        victim, found = self.group[1], []
        session = self.settings.session_timeout  # nobody knows of a kill before it is over
        for _ in range(self.plan.repetitions):
            found.append(self.event("kill", victim.kill, session))
            found.append(self.event("join", victim.start))
            if not tuned:
                found.append(self.event("stop", victim.stop))
                found.append(self.event("join", victim.start))
        return found

    def rolling(self) -> list[dict[str, Any]]:
        """Each of the three, one after the other, under one load."""

        def restart() -> None:
            for worker in self.group:
                worker.stop()
                worker.start()
                time.sleep(SETTLE_S)

        return [self.event("rolling", restart) for _ in range(self.plan.repetitions)]

    def event(self, kind: str, act: Callable[[], Any], more_s: float = 0.0) -> dict[str, Any]:
        """Do it under a load of its own; the longest silence of each partition, and the samples that waited longest."""
        self.runs += 1
        before = self._owners()
        watch = Watch(self.settings, "signal")
        mix = {"streams": STREAMS, "sequence": f"event-{self.runs}"}  # a sequence of its own: steps start at 0 again
        sending = Sending(mix_of(self.settings, "signal", "even", RATE, LONGEST_S, **mix))
        sending.wait_until_started()
        time.sleep(WARM_UP_S)
        at_ms = time.time_ns() // 1_000_000
        act()
        time.sleep(more_s + self.plan.after_s)
        sender = sending.stop()
        self._wait_until_quiet(watch, sender["samples"])
        after = self._owners()
        samples = read_times(self.settings, watch.source, watch.source_ends)
        outputs = read_times(self.settings, watch.output, watch.output_ends)
        moved = {partition for partition, owner in before.items() if after.get(partition) != owner}
        begin_ms, end_ms = at_ms - round(1000 * BESIDE_S), int(samples.times_ms.max())
        silences = {
            partition: longest_silence(outputs.times_ms[outputs.partitions == partition], begin_ms, end_ms)
            for partition in range(self.settings.partitions)
        }
        result = {
            "setting": self.name,
            "kind": kind,
            "moved": sorted(moved),
            "silence_s": {str(partition): silence.seconds for partition, silence in silences.items()},
            "went_on_s": {str(each): (silence.end_ms - at_ms) / 1000 for each, silence in silences.items()},
            **_waits(answers(samples, outputs)),
            "sender_late_max_ms": sender["late_max_ms"],
        }
        self._told(result)
        return result

    def _owners(self) -> dict[int, int]:
        """Partition -> the number of the worker that has it, by what the workers that run said last."""
        source = self.settings.topic(SIGNAL_SAMPLES)
        return {
            partition: number
            for number, worker in enumerate(self.group)
            if worker.running
            for partition in owned(worker.log, source)
        }

    def _wait_until_quiet(self, watch: Watch, samples: int) -> None:
        """Every sample has an output, and no more come: repeated ones could stand in for missing ones."""

        def check() -> None:
            if not any(worker.running for worker in self.group):
                raise RunError(f"no worker runs:\n{self.group[0].last_words()}")

        watch.wait(samples, check)
        there, before = sum(ends(self.settings, watch.output)), -1
        while there > before:
            time.sleep(1.0)
            there, before = sum(ends(self.settings, watch.output)), there

    def _told(self, event: Mapping[str, Any]) -> None:
        longest = {
            moved: max(
                (s for each, s in event["silence_s"].items() if (int(each) in event["moved"]) is moved), default=0.0
            )
            for moved in (True, False)
        }
        self.say(
            f"{self.name}, {event['kind']}: {len(event['moved'])} partitions moved, silent for {longest[True]:.2f} s; "
            f"the others {longest[False]:.2f} s; {event['lost']} lost, {event['repeated']} repeated"
        )


def _waits(found: Answers) -> dict[str, Any]:
    waited_ms = found.latency_ms()
    return {
        "samples": len(found.samples.offsets),
        "lost": found.unanswered,
        "repeated": found.repeated,
        "longest_wait_s": float(waited_ms.max()) / 1000 if len(waited_ms) else None,
    }


def recovery(streams: int, say: Say) -> dict[str, Any]:
    """Return the report of `bench_scale.py` on a worker that was killed and comes back to this many streams.

    Raises:
        RunError: it failed.
    """
    say(f"{streams:,} streams: bench_scale.py ...")
    command = [sys.executable, SCALE, "--quick", "--json", "--streams", str(streams)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RunError(f"bench_scale.py ended with status {done.returncode}")
    found = json.loads(done.stdout)["streams"][str(streams)]
    keys = ("ready_s", "recovery_s", "changelog_read_s", "changelog_records", "recovered_rss_bytes")
    return {"streams": streams, "target_s": RECOVERY_TARGET_S, **{key: found[key] for key in keys}}


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--repetitions", type=int, help="of each event; default 5, with --quick 1")
    options.add_argument("--session", type=float, default=1.5, help="the tuned session timeout, s; default 1.5")
    options.add_argument("--streams", type=int, help="measure the recovery of so many too, such as 1000000")
    add_options(options)
    return run_reliability(options.parse_args(), "failover", measure, table)


READY = re.compile(r" ready: (.*)$", re.MULTILINE)
PLACE = re.compile(r"([^\s,]+)\[(\d+)\]@")
RECOVERY_TARGET_S = 60.0

Event = Mapping[str, Any]


def owned(log: str, source: str) -> set[int]:
    """The partitions of a source that a worker has, by the last line of its log that says so."""
    said = READY.findall(log)
    return {int(number) for topic, number in PLACE.findall(said[-1]) if topic == source} if said else set()


def _longest(event: Event, what: str, moved: bool) -> float | None:
    """Over the partitions that changed hands, or over the others; None where there are none of the kind."""
    found = [value for each, value in event[what].items() if (int(each) in event["moved"]) is moved]
    return max(found, default=None)


def _of_all(event: Event) -> float | None:
    return max(event["silence_s"].values(), default=None)


# words, setting, kind, what counts of an event, and what is aimed at in seconds
ROWS: tuple[tuple[str, str, str, Callable[[Event], float | None], float | None], ...] = (
    (
        "kill, default session: dead worker's streams go on",
        "default",
        "kill",
        lambda e: _longest(e, "went_on_s", True),
        10,
    ),
    ("kill, tuned session: dead worker's streams go on", "tuned", "kill", lambda e: _longest(e, "went_on_s", True), 3),
    ("kill, default session: survivor's own pause", "default", "kill", lambda e: _longest(e, "silence_s", False), 0.5),
    ("kill, tuned session: survivor's own pause", "tuned", "kill", lambda e: _longest(e, "silence_s", False), 0.5),
    ("join: pause of streams that stay", "default", "join", lambda e: _longest(e, "silence_s", False), 0.5),
    ("join: pause of streams that move", "default", "join", lambda e: _longest(e, "silence_s", True), None),
    ("stop: pause of streams handed over", "default", "stop", lambda e: _longest(e, "silence_s", True), None),
    ("stop: survivor's own pause", "default", "stop", lambda e: _longest(e, "silence_s", False), 0.5),
    ("rolling restart of three: longest pause", "rolling", "rolling", _of_all, None),
)


def summary_of(report: Report) -> list[dict[str, Any]]:
    """A row for each figure: its values and their median in seconds, what is aimed at, whether the median holds."""
    rows = [
        _row(words, _values(report["events"], setting, kind, of), target) for words, setting, kind, of, target in ROWS
    ]
    if (found := report.get("recovery")) is not None:
        # From the start of the process, not of the reading: that is what is waited for.
        rows.append(_row(f"ready again with {found['streams']:,} streams", [found["ready_s"]], found["target_s"]))
    return rows


def _values(events: Iterable[Event], setting: str, kind: str, of: Callable[[Event], float | None]) -> list[float]:
    found = [of(event) for event in events if (event["setting"], event["kind"]) == (setting, kind)]
    return [value for value in found if value is not None]


def _row(what: str, values: list[float], target: float | None) -> dict[str, Any]:
    median = statistics.median(values) if values else None
    held = None if target is None or median is None else median < target
    return {"what": what, "values_s": values, "median_s": median, "target_s": target, "held": held}


def failures(report: Report) -> list[str]:
    """Why the run has failed; empty where it has not."""
    found = [
        f"{row['what']}: {row['median_s']:.2f} s in the median, aimed at are {row['target_s']:g} s"
        for row in report["summary"]
        if row["held"] is False
    ]
    for event in report["events"]:
        if event["lost"] or event["repeated"]:
            found.append(f"{event['setting']}, {event['kind']}: {event['lost']} lost, {event['repeated']} repeated")
    for name, checked in report["checker"].items():
        if checked is not None and not checked["ok"]:
            found.append(f"the checker, {name}: {checked['problems']}")
    return found


def table(report: Report) -> str:
    """A row for each figure, then what was lost and repeated."""
    rows: list[Row] = [
        (
            row["what"],
            row["median_s"],
            f"{min(row['values_s']):.2f} to {max(row['values_s']):.2f}",
            row["target_s"],
            {True: "yes", False: "NO", None: ""}[row["held"]],
        )
        for row in report["summary"]
        if row["values_s"]
    ]
    counts = {name: sum(event[name] for event in report["events"]) for name in ("samples", "lost", "repeated")}
    said = ", ".join(
        f"{name}: {'not asked' if found is None else found['ok']}" for name, found in report["checker"].items()
    )
    return "\n".join(
        [
            markdown(("what", "median, s", "range", "aimed at, below s", "held"), rows, text=(0, 2, 4)),
            "",
            "{samples:,} samples, {lost} lost, {repeated} repeated.".format(**counts) + f" The checker: {said}.",
            *(f"FAILED: {each}" for each in report["failures"]),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
