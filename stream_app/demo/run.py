"""`caststream demo`: everything on this machine, from HDF5 files to live predictions, and the proof that they are
right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from core.data.castings import generate_castings
from core.data.signals import generate_signals
from core.tasks.reading import SHIPPED
from stream_app.demo.stage import Stage, scratch
from stream_app.demo.summary import Summary, missing, offline, summarise
from stream_app.demo.view import View
from stream_app.demo.watch import SignalGrid, Watched, Watcher
from stream_app.local.broker import LocalBroker
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

RUN = "demo"
SEED = 7
CASTING_SPEED = 20
MEAN_CAST_STEPS = 300
SEQUENCE_S = 10


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


class Demo(Stage):
    """Runs a plan in a directory of its own; everything it starts ends with `run`."""

    def __init__(self, plan: DemoPlan, settings: Settings, console: Console, directory: Path) -> None:
        super().__init__(settings, console, directory)
        self.plan = plan
        self.signals = directory / "signals.h5"
        self.castings = directory / "castings.h5"

    def run(self) -> Summary:
        """Broker, topics, worker, replays, comparison.

        Raises:
            StartupError: the broker cannot be started.
            RunError: a part ended before its time.
        """
        with self.broker() as broker:
            settings = self._settings(broker.address, ",".join(SHIPPED))
            create_topics(settings)
            self._start("worker", settings, "worker", "--workers", "1")
            self._say("making data: noisy mixtures of four sinusoids, and casts of a steel caster ...")
            self._generate()
            self._wait_ready(settings)
            return self._play(settings, broker)

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
                self._until_done(
                    watcher, view, broker, lambda: _seen(watcher.watched), lambda: missing(watcher.watched, reference)
                )
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


def _seen(watched: Watched) -> int:
    return watched.grid.seen + len(watched.scores)


def run_demo(plan: DemoPlan, settings: Settings) -> Summary:
    """Run the demo, drawing on stderr.

    Raises:
        StartupError, RunError: see `Demo.run`.
    """
    with scratch() as directory:
        return Demo(plan, settings, Console(stderr=True), directory).run()


def show(rows: Sequence[tuple[str, str]], print_line: Callable[[Any], None]) -> None:
    """The summary as a person reads it."""
    table = Table(show_header=False, box=None)
    for name, value in rows:
        table.add_row(name, value)
    print_line(table)
