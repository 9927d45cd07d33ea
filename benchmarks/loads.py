"""Loads on a worker: a sender started and awaited, its samples and their outputs found again in the topics."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from answers import match
from latencies import Latencies, commit_spans, ends, read_times, wait_for
from live_worker import Meter
from mixed_sender import MixedLoad
from paced_sender import STARTED, Load

from core.errors import RunError
from core.tasks import Task
from stream_app.local.child import Child
from stream_app.routes import routes
from stream_app.settings import Settings

WARM_UP_S = 3.0
AnyLoad = Load | MixedLoad


def load_of(settings: Settings, kind: Task, **what: Any) -> Load:
    """A load on the source topic of these settings."""
    return Load(
        config=settings.client_config(),
        topic=routes(settings)[kind].source,
        kind=kind,
        partitions=settings.partitions,
        **what,
    )


def mix_of(settings: Settings, kind: Task, mix: str, rate: float, seconds: float, **arguments: Any) -> MixedLoad:
    """A mix (`mixes.py`) on the source topic of these settings."""
    topic, partitions = routes(settings)[kind].source, settings.partitions
    return MixedLoad(settings.client_config(), topic, mix, rate, seconds, partitions, arguments)


class Sending:
    """A sender at work."""

    def __init__(self, load: AnyLoad) -> None:
        self.load = load
        handle, path = tempfile.mkstemp(prefix="caststream-sender-")
        os.close(handle)
        self._output = Path(path)
        command = [sys.executable, load.program, json.dumps(asdict(load))]
        self._child = Child(command, output=self._output, environment=dict(os.environ))

    def wait_until_started(self) -> None:
        """Until its clock runs; what it encodes ahead takes a while."""
        while self._child.running and STARTED not in self._output.read_text():
            time.sleep(0.01)

    def stop(self) -> dict[str, Any]:
        """End a `MixedLoad` before its time; its report."""
        self._child.send_signal(signal.SIGTERM)
        return self.finish()

    def finish(self) -> dict[str, Any]:
        """Wait for its end; its report.

        Raises:
            RunError: it failed.
        """
        try:
            self._child.wait()
            printed = self._output.read_text()
        finally:
            self._child.kill()
            self._output.unlink(missing_ok=True)
        if self._child.exit_status:
            raise RunError(f"the sender failed: {printed.strip()[-500:]}")
        report: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return report


def send(load: AnyLoad) -> dict[str, Any]:
    """Send a load and wait until the broker has it."""
    return Sending(load).finish()


class Watch:
    """Where the topics of one kind stand before a load, so that what belongs to it is found afterwards."""

    def __init__(self, settings: Settings, kind: Task, output: str | None = None) -> None:
        self.settings = settings
        route = routes(settings)[kind]
        self.source, self.output, self.changelog = route.source, output or route.output, route.changelog
        self.source_ends = ends(settings, self.source)
        self.output_ends = ends(settings, self.output)
        self.changelog_ends = ends(settings, self.changelog)

    def wait(self, outputs: int, check: Callable[[], None] = lambda: None) -> None:
        """Until so many more outputs are there."""
        wait_for(self.settings, self.output, sum(self.output_ends) + outputs, check=check)

    def latencies(self) -> Latencies:
        """Of all samples since, those of the warm-up left out."""
        samples = read_times(self.settings, self.source, self.source_ends)
        return match(samples, read_times(self.settings, self.output, self.output_ends)).after(WARM_UP_S)

    def commits(self) -> Any:
        """Of the commits since that wrote states, see `latencies.commit_spans`."""
        return commit_spans(read_times(self.settings, self.changelog, self.changelog_ends).times_ms)


def send_measured(loads: Sequence[AnyLoad], **pids: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Send loads side by side; the senders' reports, and the cores that processes used, without the warm-up."""
    sending = [Sending(load) for load in loads]
    for each in sending:
        each.wait_until_started()
    time.sleep(WARM_UP_S)
    meter = Meter(**pids)
    reports = [each.finish() for each in sending]
    return reports, meter.cores()
