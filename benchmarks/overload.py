"""Overload: three times what a worker can do; a hot stream; a stream of garbage. What becomes of the others?

    .venv/bin/python benchmarks/overload.py [--seconds N] [--cores X] [--quick] [--json]

Behind `make overload`. Sender, broker and worker share this machine, so a worker that may use a whole core could not be
sent three times what it can do. It is held to a tenth of a core by the kernel, as a container with a CPU limit is
(needs root); where that cannot be done, it gets a core, and samples written so that they take the slow
way through the decoder (an escaped character in the sequence). First its rate R is measured with all samples waiting.

- overload: 3 R for five minutes, then nothing until all is done. Memory after the warm-up, assignments, how fast the
  samples that wait go down, every output there once, some streams checked against an offline run.
- hot: one stream with half of all samples; the latency of the others, apart for its partition and the other partitions,
  beside the same others alone, and beside as many samples of even streams. Below what a worker (not held) can do, and
  at 1.5 R.
- garbage: a fifth of 20,000 records/s is garbage of one stream: the others' latency beside that without the garbage.

The exit status is 1 where something is lost, repeated, not bounded or starved. About half an hour, 15 GB below TMPDIR.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import flatness
from flatness import Verdict
from harness import audit, bench_broker
from live_worker import LiveWorker, limited
from loads import WARM_UP_S, Sending, Watch, answers, mix_of, read_times, send, summary
from reliability import add_options, run_reliability
from reporting import Report, Row, Say, at, markdown, parser
from watch import Flow, Looks, thinned, watched

from stream_app.clients.admin import Cluster
from stream_app.routes import DEAD_LETTERS, SIGNAL_PREDICTIONS, SIGNAL_SAMPLES
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

STREAMS = 1000
ABOVE = 1.5
BELOW_PER_S = 20_000
MEMORY_SHARE = 0.1
GARBAGE_EVERY = 5
BURST_PER_S = 150_000
CHECKED = tuple(f"signal-{number:04d}" for number in range(0, STREAMS, 100))


@dataclass(frozen=True)
class Plan:
    """Seconds of each part; ``burst`` are the samples that R is measured with."""

    overload_s: float
    beside_s: float
    above_s: float
    burst: int


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the plan that the options ask for."""
    if options.quick:
        return Plan(options.seconds or 20, 5, 6, 150_000)
    return Plan(options.seconds or 300, 30, 20, 600_000)


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON."""
    plan = plan_of(options)
    report: Report = {"streams": STREAMS, "factor": FACTOR, "above": ABOVE}
    with bench_broker(say) as settings, TemporaryDirectory(prefix="caststream-overload-") as directory:
        bench = _Bench(settings, Path(directory), plan, say)
        with bench.worker("beside", None) as worker:
            report["below"] = bench.hot(worker, BELOW_PER_S)
            report["garbage"] = bench.garbage(worker, BELOW_PER_S)
        with bench.worker("above", options.cores) as worker:
            report["capacity"] = bench.capacity(worker)
            report["above_capacity"] = bench.hot(worker, round(ABOVE * report["capacity"]["rate"]), plan.above_s)
        with bench.worker("overload", options.cores) as worker:
            report["overload"] = bench.overload(worker, FACTOR * report["capacity"]["rate"])
        own = bench.settings_of("overload")
        report["checker"] = audit(own, say, streams=CHECKED) if options.verify else None
    return report | {"failures": failures(report)}


class _Bench:
    def __init__(self, settings: Settings, directory: Path, plan: Plan, say: Say) -> None:
        self.settings = settings
        self.directory = directory
        self.plan = plan
        self.say = say
        self.escaped = False
        self.how = ""
        self.runs = 0

    def settings_of(self, name: str) -> Settings:
        """Topics of its own, all of which stay."""
        return self.settings.replace(app_id=name, topic_prefix=f"{name}-")

    @contextmanager
    def worker(self, name: str, cores: float | None) -> Iterator[LiveWorker]:
        """A worker that is ready, on topics of its own; held to ``cores`` where that can be done."""
        own = self.settings_of(name)
        create_topics(own)
        with watched(own, self.directory / name) as worker:
            worker.start()
            self.escaped = False
            if cores is None:
                yield worker
                return
            with limited(worker.pid, cores) as how:
                self.escaped = how is None
                self.how = how or "not held: an escaped character in every record"
                self.say(f"{name}: {self.how}")
                yield worker

    def capacity(self, worker: LiveWorker) -> dict[str, Any]:
        """R: the rate of outputs while samples wait."""
        flow = Flow(worker.settings, SIGNAL_SAMPLES, SIGNAL_PREDICTIONS)
        with flow:
            send(self._mix(worker, "even", BURST_PER_S, self.plan.burst / BURST_PER_S))
            flow.wait_until_done(worker.require_running)
        rate = flow.rate_while_waiting()
        self.say(f"R: {rate:,.0f} samples/s")
        return {"rate": rate, "how": self.how, "samples": self.plan.burst}

    def hot(self, worker: LiveWorker, per_s: int, seconds: float | None = None) -> dict[str, Any]:
        """The same others alone, beside a hot stream of as many samples, and as many samples without a hot stream."""
        found = {
            "others_alone": self._latencies(worker, "even", per_s / 2, seconds),
            "even": self._latencies(worker, "even", per_s, seconds),
            "hot": self._latencies(worker, "hot", per_s, seconds, b"hot"),
        }
        return {"rate": per_s, **found}

    def garbage(self, worker: LiveWorker, per_s: int) -> dict[str, Any]:
        """The others alone, and beside garbage that makes ``per_s`` of them."""
        clean = self._latencies(worker, "even", per_s * (1 - 1 / GARBAGE_EVERY))
        before = self._letters(worker)
        dirty = self._latencies(worker, "garbage", per_s, None, b"garbage")
        return {
            "rate": per_s,
            "clean": clean,
            "garbage": dirty,
            "dead_letters": self._letters(worker, dirty["special_sent"] + before) - before,
        }

    def _letters(self, worker: LiveWorker, wanted: int = 0) -> int:
        """Dead letters that are there, waited for."""
        topic, deadline = worker.settings.topic(DEAD_LETTERS), time.monotonic() + 30.0
        cluster = Cluster(worker.settings)
        while True:
            count = cluster.offsets({topic: worker.settings.partitions})[topic]
            if count >= wanted or time.monotonic() > deadline:
                return count
            time.sleep(0.5)

    def _latencies(
        self, worker: LiveWorker, mix: str, rate: float, seconds: float | None = None, special: bytes = b""
    ) -> dict[str, Any]:
        """Return the latencies of all but the special stream, its partition (0) apart from the others."""
        watch = Watch(worker.settings, "signal")
        load = self._mix(worker, mix, rate, (seconds or self.plan.beside_s) + WARM_UP_S)
        sender = send(load)
        garbage = load.samples // GARBAGE_EVERY if mix == "garbage" else 0
        watch.wait(load.samples - garbage, worker.require_running)
        samples = read_times(watch.settings, watch.source, watch.source_ends, None, lambda each: each.key() == special)
        found = answers(samples, read_times(watch.settings, watch.output, watch.output_ends))
        others, warm = samples.sources == 0, samples.times_ms >= samples.times_ms.min() + 1000 * WARM_UP_S
        here = samples.partitions == 0
        kinds = {"others": others, "same_partition": others & here, "elsewhere": others & ~here, "special": ~others}
        sizes = {kind: found.latency_ms(chosen & warm) for kind, chosen in kinds.items()}
        result: dict[str, Any] = {kind: summary(latency_ms) for kind, latency_ms in sizes.items() if len(latency_ms)}
        result |= {
            "rate": load.samples / sender["seconds"],
            "sender_late_p99_ms": sender["late_p99_ms"],
            "unanswered": int((others & (found.answered_ms < 0)).sum()),
            "repeated": found.repeated,
            "special_sent": int((~others).sum()),
        }
        p50, p99 = (result["others"][key] for key in ("p50_ms", "p99_ms"))
        self.say(f"{mix}, {rate:,.0f}/s: the others' p50 {p50:.0f} ms, p99 {p99:.0f} ms")
        return result

    def overload(self, worker: LiveWorker, per_s: float) -> dict[str, Any]:
        """More than the worker can do, then nothing until all is done."""
        settings, seconds = worker.settings, self.plan.overload_s
        with (
            Looks(worker, self.directory / "overload", 1.0) as looks,
            Flow(settings, SIGNAL_SAMPLES, SIGNAL_PREDICTIONS) as flow,
        ):
            sending = Sending(self._mix(worker, "even", per_s, seconds))
            sending.wait_until_started()
            self.say(f"{per_s:,.0f} samples/s for {seconds:g} s")
            sender = sending.finish()
            over_s = flow.now_s()
            self.say(f"sent; {flow.waiting():,} samples wait")
            flow.wait_until_done(worker.require_running)
        memory = flatness.bounded(
            looks.columns["at_s"], looks.columns["rss_bytes"], MEMORY_SHARE, "resident memory, bytes"
        )
        found = {
            "sent_per_s": sender["samples"] / sender["seconds"],
            "during_per_s": flow.rate_out(0.1 * over_s, over_s),
            "drain_per_s": flow.rate_out(over_s, flow.done_s()),
            "drain_s": flow.done_s() - over_s,
            "most_waiting": flow.most_waiting(),
            "sent": sender["samples"],
            "left_by_partition": flow.left_by_partition(),
            "assignments": worker.log.count(" ready: "),
            "memory": asdict(memory),
            "sender_late_p99_ms": sender["late_p99_ms"],
            "rates": flow.rates(),
            "columns": thinned(looks.columns),
        }
        found["times"] = found["sent_per_s"] / found["during_per_s"]
        self.say(
            f"{found['times']:.1f} times what it did meanwhile; {memory.line}; drained in {found['drain_s']:.0f} s"
        )
        return found

    def _mix(self, worker: LiveWorker, mix: str, rate: float, seconds: float) -> Any:
        """Each load is a sequence of its own, so that its steps start at 0 again."""
        self.runs += 1
        streams = {"streams" if mix == "even" else "others": STREAMS}
        arguments = {**streams, "sequence": f"load-{self.runs}", "escaped": self.escaped}
        return mix_of(worker.settings, "signal", mix, rate, seconds, **arguments)


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, help="of the overload; default 300, with --quick 20")
    options.add_argument("--cores", type=float, default=0.1, help="what the worker may use of a core; default 0.1")
    add_options(options)
    return run_reliability(options.parse_args(), "overload", measure, table)


FACTOR = 3.0
"""The load as a multiple of what a worker can do."""
WORSE, WORSE_MS = 1.5, 10.0  # what another latency may be, of two on a machine that all share


def failures(report: Report) -> list[str]:
    """Why the run has failed; empty where it has not."""
    found = []
    over, below, above, dirty = (report[key] for key in ("overload", "below", "above_capacity", "garbage"))
    if not over["memory"]["flat"]:
        found.append(f"overload: {Verdict(**over['memory']).line}")
    if over["assignments"] != 1:
        found.append(f"overload: {over['assignments']} assignments, though nobody came or went")
    if any(over["left_by_partition"]):
        found.append(f"overload: samples less outputs, by partition: {over['left_by_partition']}")
    if over["times"] < 0.8 * FACTOR:
        found.append(f"overload: the sender made {over['times']:.1f} times what the worker did, not {FACTOR:g}")
    for name, part in (("below", below), ("above", above)):
        kind = "others" if name == "below" else "elsewhere"
        found += _starved(f"hot, {name} capacity", part["hot"][kind], part["even"][kind])
    found += _starved("garbage", dirty["garbage"]["others"], dirty["clean"]["others"])
    if dirty["dead_letters"] != dirty["garbage"]["special_sent"]:
        found.append(f"garbage: {dirty['garbage']['special_sent']} sent, {dirty['dead_letters']} dead letters")
    for part in (below, above, dirty):
        for name, load in part.items():
            if isinstance(load, dict) and (load["unanswered"] or load["repeated"]):
                found.append(f"{name}: {load['unanswered']} outputs are missing, {load['repeated']} repeated")
    if report["checker"] is not None and not report["checker"]["ok"]:
        found.append(f"the checker: {report['checker']['problems']}")
    return found


def _starved(what: str, found: Report, beside: Report) -> list[str]:
    """True if the p99 is much above that of the same samples in even company."""
    allowed = WORSE * beside["p99_ms"] + WORSE_MS
    if found["p99_ms"] <= allowed:
        return []
    return [f"{what}: the others' p99 is {found['p99_ms']:.0f} ms, beside even streams {beside['p99_ms']:.0f} ms"]


def table(report: Report) -> str:
    """The overload in words, then the latencies of the others."""
    over, rate = report["overload"], report["capacity"]["rate"]
    memory = over["memory"]
    lines = [
        f"R: {rate:,.0f} samples/s ({report['capacity']['how']}).",
        f"Overload: {over['sent_per_s']:,.0f} samples/s sent, {over['during_per_s']:,.0f} done; up to "
        f"{over['most_waiting']:,} waited, gone in {over['drain_s']:.0f} s at {over['drain_per_s']:,.0f}/s; memory "
        f"{memory['first'] / 2**20:.0f} MiB, at most {memory['last'] / 2**20:.0f}; assignments: {over['assignments']}.",
        "",
    ]
    rows: list[Row] = []
    for name, part in (("below", report["below"]), ("above", report["above_capacity"]), ("", report["garbage"])):
        for load, found in part.items():
            if isinstance(found, dict):
                cells = [
                    at(found, kind, key) for kind in ("same_partition", "elsewhere") for key in ("p50_ms", "p99_ms")
                ]
                rows.append((f"{load}, {name} capacity" if name else load, found["rate"], *cells))
    header = ("load", "records/s", "p50 ms, its partition", "p99 ms", "p50 ms, other partitions", "p99 ms")
    checked = at(report, "checker", "ok")
    lines += [markdown(header, rows), "", f"The checker: {'not asked' if checked is None else checked}."]
    return "\n".join([*lines, *(f"FAILED: {each}" for each in report["failures"])])


if __name__ == "__main__":
    sys.exit(main())
