"""`caststream demo`: everything on this machine, from HDF5 files to live predictions, and the proof that they are
right.
"""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from core.data.castings import generate_castings
from core.data.signals import generate_signals
from core.errors import RunError
from core.tasks.reading import SHIPPED
from stream_app.demo.summary import Reference, Summary, missing, offline, summarise
from stream_app.demo.view import View
from stream_app.demo.watch import SignalGrid, Watcher
from stream_app.local.broker import LocalBroker, free_port
from stream_app.local.child import Child
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

RUN = "demo"
SEED = 7
CASTING_SPEED = 20
MEAN_CAST_STEPS = 300
SEQUENCE_S = 10
READY_S = 60.0
# Nothing new for this long after the replays have ended: what is missing now is lost.
QUIET_S = 10.0
STOP_S = 25.0
TICK_S = 0.15


@dataclass(frozen=True)
class DemoPlan:
    """The plan of a demo: how long, how many streams, how fast."""

    seconds: float = 40.0
    signal_streams: int = 20
    casting_streams: int = 8
    speed: float = 1.0

    @property
    def rounds(self) -> int:
        """Sequences that each signal stream plays, about ten seconds each."""
        return max(1, math.ceil(self.seconds * self.speed / SEQUENCE_S))

    @property
    def steps(self) -> int:
        """Steps of each signal sequence, 1 ms each."""
        return max(1, round(self.seconds * self.speed * 1000 / self.rounds))

    @property
    def casts(self) -> int:
        """Casts for all strands together."""
        return max(1, round(self.seconds * CASTING_SPEED * self.speed / MEAN_CAST_STEPS)) * self.casting_streams


class Demo:
    """Runs a plan in a directory of its own; everything it starts ends with `run`."""

    def __init__(self, plan: DemoPlan, settings: Settings, console: Console, directory: Path) -> None:
        self.plan = plan
        self.console = console
        self.directory = directory
        self.base_settings = settings
        self.signals = directory / "signals.h5"
        self.castings = directory / "castings.h5"
        self.parts: dict[str, Child] = {}

    def run(self) -> Summary:
        """Broker, topics, worker, replays, comparison.

        Raises:
            StartupError: the broker cannot be started.
            RunError: a part ended before its time.
        """
        with contextlib.ExitStack() as stack:
            broker = LocalBroker(
                self.directory, jars_dir=self.base_settings.need_data_dir(), on_progress=self._say, port=free_port()
            )
            self._say("checking Java and Kafka's jars ...")
            stack.enter_context(broker)
            stack.callback(self._stop_parts)  # before the broker: the worker commits a last time
            settings = self._settings(broker.address)
            create_topics(settings)
            self._start("worker", settings, "worker", "--workers", "1")
            self._say("making data: noisy mixtures of four sinusoids, and casts of a steel caster ...")
            self._generate()
            self._wait_ready(settings)
            return self._play(settings, broker)

    def _settings(self, address: str) -> Settings:
        return self.base_settings.replace(
            broker=address,
            data_dir=self.directory,
            metrics_port=free_port(),
            output_format="json",
            topic_prefix="",
            app_id="caststream-demo",
            tasks=",".join(SHIPPED),
            processing_guarantee=self.base_settings.processing_guarantee,
        )

    def _generate(self) -> None:
        plan = self.plan
        generate_signals(self.signals, plan.signal_streams * plan.rounds, SEED, steps=plan.steps)
        generate_castings(self.castings, plan.casts, SEED)

    def _play(self, settings: Settings, broker: LocalBroker) -> Summary:
        plan = self.plan
        grid = SignalGrid.empty(
            [f"{RUN}-{row}" for row in range(plan.signal_streams * plan.rounds)],
            plan.steps,
        )
        # The reference runs before the clock does, so that its load does not show up in the latencies.
        self._say("running the offline reference ...")
        reference = offline(self.signals, self.castings, RUN, settings)
        self._say(
            f"playing signals at {plan.speed:g} times their pace, and casts at {plan.speed * CASTING_SPEED:g} times: a "
            "cast has one sample a second and lasts minutes"
        )
        watcher = Watcher(settings, grid)
        watcher.start()
        url = f"http://{settings.metrics_host}:{settings.metrics_port}/metrics"
        try:
            with View(self.console, watcher.watched, reference.targets, url) as view:
                self._replay(settings, self.signals, plan.signal_streams, plan.speed)
                self._replay(settings, self.castings, plan.casting_streams, plan.speed * CASTING_SPEED)
                self._until_done(watcher, reference, broker, view)
        finally:
            watcher.stop()
        return summarise(watcher.watched, reference)

    def _replay(self, settings: Settings, file: Path, streams: int, speed: float) -> None:
        self._start(
            f"replay of {file.name}",
            settings,
            "replay",
            str(file),
            "--streams",
            str(streams),
            "--speed",
            f"{speed:g}",
            "--run",
            RUN,
        )

    def _until_done(self, watcher: Watcher, reference: Reference, broker: LocalBroker, view: View) -> None:
        """Wait until everything expected was seen, or nothing new comes any more."""
        last, since = -1, time.monotonic()
        while missing(watcher.watched, reference):
            time.sleep(TICK_S)
            view.update()
            self._check_parts(watcher, broker)
            seen = watcher.watched.grid.seen + len(watcher.watched.scores)
            replaying = any(child.running for name, child in self.parts.items() if name.startswith("replay"))
            if seen != last or replaying:
                last, since = seen, time.monotonic()
            elif time.monotonic() - since > QUIET_S:
                return
        # A repeated output comes after the first one, so look once more.
        time.sleep(1.0)

    def _check_parts(self, watcher: Watcher, broker: LocalBroker) -> None:
        if watcher.error is not None:
            raise RunError(f"the demo's reader ended: {watcher.error}")
        if not broker.running:
            raise RunError(f"Kafka ended; its last lines: {_last_lines(broker.log_path)}")
        for name, child in self.parts.items():
            if not child.running and (name == "worker" or child.exit_status):
                raise RunError(f"the {name} ended with status {child.exit_status}: {_last_lines(self._log(name))}")

    def _start(self, name: str, settings: Settings, *arguments: str) -> None:
        self.parts[name] = Child(
            [sys.executable, "-m", "stream_app.cli.main", *arguments],
            output=self._log(name),
            environment=settings.process_environment(),
        )

    def _log(self, name: str) -> Path:
        return self.directory / f"{name.replace(' ', '-')}.log"

    def _wait_ready(self, settings: Settings) -> None:
        url = f"http://{settings.metrics_host}:{settings.metrics_port}/readyz"
        self._say("waiting for the worker: models warm, partitions assigned, tables recovered ...")
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            worker = self.parts["worker"]
            if not worker.running:
                raise RunError(f"the worker ended with status {worker.exit_status}: {_last_lines(self._log('worker'))}")
            if _answers(url):
                return
            time.sleep(TICK_S)
        raise RunError(f"the worker was not ready in {READY_S:.0f} s: {_last_lines(self._log('worker'))}")

    def _stop_parts(self) -> None:
        """Stop all parts at once; the worker commits a last time."""
        self._say("stopping ...")
        stoppers = [
            threading.Thread(target=child.stop, args=(STOP_S,)) for child in reversed(list(self.parts.values()))
        ]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()

    def _say(self, line: str) -> None:
        self.console.print(line, style="dim", highlight=False)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _last_lines(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()[-5:]
    except OSError:
        lines = []
    return " | ".join(line.strip() for line in lines) or "it said nothing"


def run_demo(plan: DemoPlan, settings: Settings) -> Summary:
    """Run the demo, drawing on stderr.

    Raises:
        StartupError, RunError: see `Demo.run`.
    """
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="caststream-demo-", ignore_cleanup_errors=True) as directory:
        return Demo(plan, settings, console, Path(directory)).run()


def show(summary: Summary, print_line: Callable[[Any], None]) -> None:
    """The summary as a person reads it."""
    table = Table(show_header=False, box=None)
    for name, value in _rows(summary):
        table.add_row(name, value)
    print_line(table)


def _rows(summary: Summary) -> list[tuple[str, str]]:
    def figure(value: float | None, text: str) -> str:
        return "not measured" if value is None or not np.isfinite(value) else text.format(value)

    return [
        ("signal samples sent", f"{summary.sent:,}"),
        ("predictions", f"{summary.predicted:,}"),
        ("casting scores", f"{summary.scores:,}"),
        ("lost", f"{summary.lost:,}"),
        ("repeated", f"{summary.repeated:,}"),
        ("dead letters", f"{summary.dead_letters:,}"),
        ("latency p50, sample to prediction in Kafka", figure(summary.p50_latency_ms, "{:.1f} ms")),
        ("latency p99", figure(summary.p99_latency_ms, "{:.1f} ms")),
        ("correlation with the target (after 1 s)", figure(summary.correlation, "{:.4f}")),
        ("AUC of final scores", "only one class seen" if summary.auc is None else f"{summary.auc:.3f}"),
        ("largest difference to the offline run", figure(summary.max_abs_diff, "{:.1e}")),
    ]
