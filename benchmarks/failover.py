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
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from answers import Answers, answers, longest_silence
from audit import audit
from failover_report import RECOVERY_TARGET_S, failures, owned, summary_of, table
from harness import bench_broker
from latencies import ends, read_times
from live_worker import LiveWorker
from loads import WARM_UP_S, Sending, Watch, mix_of
from reliability import add_options, run_reliability
from reporting import Report, Say, parser

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
    """How often, and how long (s) a load goes on when an event is over."""

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
            with _group(own, Path(directory) / name, workers) as group:
                bench = _Failover(own, group, plan, name, say)
                report["events"] += bench.rolling() if name == "rolling" else bench.one_of_two(tuned=bool(session))
            report["checker"][name] = audit(own, say) if options.verify else None
    report["session_timeout_s"] = {"default": settings.session_timeout, "tuned": options.session}
    report["recovery"] = recovery(options.streams, say) if options.streams else None
    report["summary"] = summary_of(report)
    return report | {"failures": failures(report)}


@contextmanager
def _group(settings: Settings, directory: Path, workers: int) -> Iterator[list[LiveWorker]]:
    """Workers of one group, started one after the other, each with a directory of its own."""
    with ExitStack() as stack:
        group = []
        for number in range(workers):
            (directory / str(number)).mkdir(parents=True)
            group.append(stack.enter_context(LiveWorker(settings, directory / str(number))))
            group[-1].start()
        time.sleep(SETTLE_S)
        yield group


class _Failover:
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
            found.append(self._event("kill", victim.kill, session))
            found.append(self._event("join", victim.start))
            if not tuned:
                found.append(self._event("stop", victim.stop))
                found.append(self._event("join", victim.start))
        return found

    def rolling(self) -> list[dict[str, Any]]:
        """Each of the three, one after the other, under one load."""

        def restart() -> None:
            for worker in self.group:
                worker.stop()
                worker.start()
                time.sleep(SETTLE_S)

        return [self._event("rolling", restart) for _ in range(self.plan.repetitions)]

    def _event(self, kind: str, act: Callable[[], Any], more_s: float = 0.0) -> dict[str, Any]:
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
    """What `bench_scale.py` says of a worker that was killed and comes back to so many streams.

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


if __name__ == "__main__":
    sys.exit(main())
