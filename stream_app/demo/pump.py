"""`caststream demo --task pump`: from a history of healthy pumps to live alarms, all on this machine, and the proof."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from core.data.pump.file import generate_pump, read_events
from core.drafts.draft import write_draft
from core.drafts.sources import draft_of
from core.errors import RunError
from core.tasks.declaration import Declaration
from core.tasks.reading import read_declaration
from core.training.extras import require
from stream_app.demo.pump_summary import PumpSummary, read_lines, summarise_pumps
from stream_app.demo.pump_view import PumpView
from stream_app.demo.pump_watch import PumpWatcher, StreamKey
from stream_app.demo.stage import TICK_S, Stage, scratch
from stream_app.local.broker import LocalBroker
from stream_app.offline import predict_file
from stream_app.routes import route_of
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

SEED = 7
RATE_HZ = 0.1
HEALTHY_PUMPS, HEALTHY_DAYS = 12, 1.5
PUMPS = 4
"""The first of those, later."""
DAYS_PER_SECOND = 0.03
TRAINING_MINUTES = 1.0


@dataclass(frozen=True)
class PumpPlan:
    """The plan of a demo: how long the pumps play, and how fast."""

    seconds: float = 40.0
    speed: float = 1.0

    @property
    def days(self) -> float:
        """The days that the pumps run in that time."""
        return max(0.01, self.seconds * DAYS_PER_SECOND * self.speed)


class PumpDemo(Stage):
    """Runs a plan in a directory of its own; everything it starts ends with `run`."""

    def __init__(self, plan: PumpPlan, settings: Settings, console: Console, directory: Path) -> None:
        super().__init__(settings, console, directory)
        self.plan = plan
        self.history, self.live, self.task = (directory / name for name in ("history.h5", "live.h5", "pump.toml"))

    def run(self) -> PumpSummary:
        """History, training, broker, topics, worker, replay, comparison.

        Raises:
            StartupError: packages for training are missing, or the broker cannot be started.
            RunError: a part ended before its time.
        """
        require("torch")
        self._generate()
        self._train()
        task = read_declaration(self.task)
        with self.broker() as broker:
            settings = self._settings(broker.address, str(self.task))
            create_topics(settings)
            self._start("worker", settings, "worker", "--workers", "1")
            self._say("running the offline reference ...")
            reference = self._offline(settings, task)
            self._wait_ready(settings)
            return self._play(settings, task, reference, broker)

    def _generate(self) -> None:
        healthy = f"{HEALTHY_PUMPS} healthy pumps for {HEALTHY_DAYS:g} days"
        self._say(f"making data: {healthy}, and what follows of {PUMPS} of them, with faults ...")
        generate_pump(self.history, HEALTHY_PUMPS, HEALTHY_DAYS, RATE_HZ, SEED, faults=False)
        generate_pump(self.live, PUMPS, self.plan.days, RATE_HZ, SEED, after=HEALTHY_DAYS)
        write_draft("pump", draft_of(self.history, self.directory), self.task)

    def _train(self) -> None:
        self._say("learning what is normal: caststream train pump.toml history.h5, a minute ...")
        settings = self.base_settings.replace(data_dir=self.directory)
        minutes = f"{TRAINING_MINUTES:g}"
        self._start("training", settings, "train", str(self.task), str(self.history), "--max-minutes", minutes)
        training = self.parts["training"]
        while training.running:
            time.sleep(TICK_S)
        if training.exit_status:
            raise RunError(f"the training ended with status {training.exit_status}: {self._last_lines('training')}")

    def _offline(self, settings: Settings, task: Declaration) -> dict[StreamKey, bytes]:
        lines = io.BytesIO()
        predict_file(settings, self.live, lines, task)
        return read_lines(lines.getvalue())

    def _play(
        self, settings: Settings, task: Declaration, reference: dict[StreamKey, bytes], broker: LocalBroker
    ) -> PumpSummary:
        pace = DAYS_PER_SECOND * 86400 * self.plan.speed
        self._say(f"playing {self.plan.days:.1f} days of {PUMPS} pumps in {self.plan.seconds:g} s")
        watcher, events = PumpWatcher(settings, route_of(settings, task)), read_events(self.live)
        watcher.start()
        url = f"http://{settings.metrics_host}:{settings.metrics_port}/metrics"
        try:
            with PumpView(self.console, watcher.watched, events, _threshold(task), url) as view:
                file = str(self.live), "--task", str(self.task)
                self._start("replay", settings, "replay", *file, "--speed", f"{pace:g}")
                seen = watcher.watched.values
                self._until_done(watcher, view, broker, lambda: len(seen), lambda: len(reference.keys() - seen.keys()))
        finally:
            watcher.stop()
        return summarise_pumps(watcher.watched, reference, events)


def _threshold(task: Declaration) -> float:
    return next((each.threshold for each in task.outputs if each.threshold is not None), 1.0)


def run_pump_demo(plan: PumpPlan, settings: Settings) -> PumpSummary:
    """Run the demo, drawing on stderr.

    Raises:
        StartupError, RunError: see `PumpDemo.run`.
    """
    with scratch() as directory:
        return PumpDemo(plan, settings, Console(stderr=True), directory).run()
