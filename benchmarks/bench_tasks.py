"""Tasks of a user's own: a pump's GRU by ONNX Runtime, and one LSTM by ONNX Runtime beside the compiled kernel.

    .venv/bin/python benchmarks/bench_tasks.py [--quick] [--json]

The pump has twelve channels, a GRU of 2x64 and three outputs; 1,000 streams, one worker. Its forecaster is an LSTM of
2x64 by the compiled kernel, with what is expected of each channel, surprise, score, leading channel and alarm. The LSTM
is that of the task signal: as it ships, as a user's own weights, and exported to ONNX, all three on one source topic.
All input lies ready before a worker starts; tasks take turns, every second round in reverse order. A stage's price is
its time by the worker's own metric, over all samples. Outputs of some streams are compared with an offline run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from bench_sweep import STAGES, spread
from harness import bench_broker
from live_worker import Meter, broker_pid, worker
from loads import Watch, load_of, send
from numpy.typing import NDArray
from reporting import Report, Row, Say, markdown, parser, run_script
from task_files import write_tasks
from workload import read_messages, timing

from core.engines.declared.stepper import StepModel
from core.engines.hidden import make_hidden
from core.engines.infer import advance_sequences
from core.errors import RunError
from core.step_batch import StepBatch
from core.tasks.declaration import Declaration
from core.tasks.reading import SHIPPED
from core.wire.outputs import NOTHING_YET
from stream_app.clients.admin import Cluster
from stream_app.routes import Route, routes
from stream_app.rules import load_step_model, load_task_model
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

STREAMS = 1000
COMPARED = 5  # streams
TOLERANCE = 1e-6
LEAST = 150_000
"""Samples per second that the pump must reach on two cores."""
LEAST_SCORED = 200_000
"""The same for its forecaster."""

Samples = dict[str, NDArray[np.float32]]
"""By stream, (T, F)."""


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON: ``tasks`` by name, and ``ratios`` to the signal task that ships."""
    rounds = options.rounds or (2 if options.quick else 3)
    samples = {"pump": 800_000, "signal": 1_500_000} if options.quick else {"pump": 2_000_000, "signal": 4_000_000}
    samples = {name: max(STREAMS * 10, int(options.scale * count)) for name, count in samples.items()}
    with bench_broker(say) as settings, TemporaryDirectory(prefix="caststream-tasks-") as directory:
        bench = _Bench(settings, Path(directory), samples, say)
        for number in range(rounds):
            for name in list(bench.tasks)[:: -1 if number % 2 else 1]:
                bench.run(name, number)
        found = bench.found()
    ratios = {name: found[name]["rate"] / found["signal"]["rate"] for name in ("signal_own", "signal_onnx")}
    return {
        "streams": STREAMS,
        "samples": samples,
        "rounds": rounds,
        "least": LEAST,
        "holds": found["pump"]["rate"] >= LEAST,
        "least_scored": LEAST_SCORED,
        "holds_scored": found["pump_forecaster"]["rate"] >= LEAST_SCORED,
        "tasks": found,
        "ratios": ratios,
        "versions": {"onnxruntime": version("onnxruntime")},
    }


@dataclass
class _Bench:
    settings: Settings
    directory: Path
    samples: Mapping[str, int]
    say: Say
    runs: dict[str, list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.tasks = write_tasks(self.directory)
        self._compared: dict[str, Samples] = {}

    def run(self, name: str, number: int) -> None:
        """Measure a task once; the first time its outputs are compared."""
        source = "pump" if name.startswith("pump") else "signal"
        own = self.settings.replace(tasks=self.tasks[name][1], app_id=f"{name}-{number}")
        create_topics(own)
        route = routes(own)[name]
        if source not in self._compared:
            say = f"sending {self.samples[source]:,} samples of {STREAMS:,} streams to {route.source} ..."
            self.say(say)
            shape: dict[str, Any] = {"streams": STREAMS, "samples": self.samples[source], "sequence": "bench"}
            send(load_of(own.replace(tasks=self.tasks[source][1]), source, rate=0, **shape))
            self._compared[source] = read_samples(own, route, [f"{source}-{i:04d}" for i in range(COMPARED)])
        found = self._measured(own, route, source, compare=number == 0)
        self.runs[name].append(found)
        self.say(f"round {number + 1}: {name} {found['rate']:,.0f}/s")

    def _measured(self, own: Settings, route: Route, source: str, compare: bool) -> dict[str, float]:
        count = self.samples[source]
        watch = Watch(own, route.task)
        with worker(own, self.directory) as running:
            meter = Meter(worker=running.pid, broker=broker_pid())
            watch.wait(count, running.require_running)
            spent, scrape = meter.cpu_s(), running.scrape()
        times_ms, outputs = read_outputs(own, route, self._compared[source])
        if compare:
            check(own, route.declaration, self._compared[source], outputs)
        Cluster(own).delete([route.output, route.changelog])
        stage_s = {stage: scrape.get("caststream_stage_seconds_sum", stage=stage) for stage in STAGES}
        return {
            "rate": timing(times_ms).rate,
            **{f"{stage}_us": 1e6 * seconds / count for stage, seconds in stage_s.items()},
            **{f"{name}_cpu_us": 1e6 * seconds / count for name, seconds in spent.items()},
        }

    def found(self) -> dict[str, dict[str, Any]]:
        """By task, in their order: the median rate and that round's prices, the smallest and the largest rate."""
        found = {}
        for name, (what, _) in self.tasks.items():
            ordered = sorted(self.runs[name], key=lambda run: run["rate"])
            rates = [run["rate"] for run in ordered]
            median = ordered[(len(ordered) - 1) // 2]
            found[name] = median | {"rate": statistics.median(rates), "min": rates[0], "max": rates[-1], "what": what}
        return found


def read_samples(settings: Settings, route: Route, streams: list[str]) -> Samples:
    """The samples of some streams, in their order."""
    wanted: dict[bytes, list[Any]] = {name.encode(): [] for name in streams}
    for message in read_messages(settings, route.source):
        if (rows := wanted.get(message.key() or b"")) is not None:
            value = json.loads(message.value() or b"")
            rows.append(np.hstack([value[each.name] for each in route.declaration.fields]))
    return {key.decode(): np.array(rows, np.float32) for key, rows in wanted.items()}


def read_outputs(settings: Settings, route: Route, samples: Samples) -> tuple[NDArray[np.int64], Samples]:
    """Append times of all outputs, ascending, and the numbers of the first output of some streams."""
    first = route.declaration.published[0].name
    found: dict[bytes, list[Any]] = {name.encode(): [] for name in samples}
    times = []
    for message in read_messages(settings, route.output):
        times.append(message.timestamp()[1])
        if (rows := found.get(message.key() or b"")) is not None:
            value = json.loads(message.value() or b"")[first]
            rows.append(list(value.values()) if isinstance(value, dict) else [value])
    return np.sort(np.array(times, np.int64)), {key.decode(): np.array(rows, np.float64) for key, rows in found.items()}


def check(settings: Settings, task: Declaration, samples: Samples, outputs: Samples) -> None:
    """Hold outputs against an offline run, one sequence after the other.

    Raises:
        RunError: one is missing or differs.
    """
    for stream, expected in zip(samples, offline(settings, task, list(samples.values())), strict=True):
        found = outputs[stream]
        if found.shape != expected.shape or not np.allclose(
            found, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True
        ):
            raise RunError(f"{task.name}: the outputs of {stream} are not those of an offline run")


def offline(settings: Settings, task: Declaration, sequences: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """The numbers of the first output, (T, n) of each sequence (T, F)."""
    if task.name in SHIPPED:
        model = load_task_model(settings, task)
        make_hidden(model).warm_up()
        return [found[:, None] for found in advance_sequences(model, sequences)[0]]
    model_of: StepModel = load_step_model(settings, task)
    bank, numbers, one = model_of.states(), model_of.outputs.fields[0].length, np.ones(1, np.int64)
    found = []
    for rows in sequences:
        every = np.arange(len(rows))
        made = bank.step(StepBatch(rows, 0 * every, every, len(rows) * one, 0 * one, one, 0 * one))[:, :numbers]
        found.append(np.where(made == NOTHING_YET, np.nan, made))
    return found


def table(report: Report) -> str:
    """A row per task."""
    prices = [*(f"{stage}_us" for stage in STAGES), "worker_cpu_us", "broker_cpu_us"]
    rows: list[Row] = [
        (found["what"], found["rate"], spread(found), *(found[price] for price in prices))
        for found in report["tasks"].values()
    ]
    shown = [*(f"{stage}, µs" for stage in STAGES), "worker CPU, µs", "broker CPU, µs"]
    ratios = ", ".join(
        f"{report['tasks'][name]['what']} {ratio:.2f} times the rate of the task that ships"
        for name, ratio in report["ratios"].items()
    )
    said = "reaches" if report["holds"] else "does not reach"
    scored = "reaches" if report["holds_scored"] else "does not reach"
    last = (
        f"{ratios}. The pump {said} the {report['least']:,} samples/s that are wanted, its forecaster {scored} "
        f"{report['least_scored']:,}."
    )
    return "\n\n".join((markdown((f"{report['streams']:,} streams", "samples/s", "spread", *shown), rows), last))


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, help="default 3, with --quick 2")
    options.add_argument("--scale", type=float, default=1.0, help="of the samples; 0.05 is a trial run")
    return run_script(options.parse_args(), measure, table)


if __name__ == "__main__":
    sys.exit(main())
