"""The parts of a demo: a Kafka, a worker and other commands, started as children and stopped together."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from core.errors import RunError
from stream_app.demo.live_view import LiveView
from stream_app.demo.topic_watcher import TopicWatcher
from stream_app.local.broker import LocalBroker, free_port
from stream_app.local.child import Child
from stream_app.settings import Settings

READY_S = 60.0
# Nothing new for this long after the replays have ended: what is missing now is lost.
QUIET_S = 10.0
STOP_S = 25.0
TICK_S = 0.15


class Stage:
    """Children in a directory of their own; all of them end with `broker`."""

    def __init__(self, settings: Settings, console: Console, directory: Path) -> None:
        self.console = console
        self.directory = directory
        self.base_settings = settings
        self.parts: dict[str, Child] = {}

    @contextlib.contextmanager
    def broker(self) -> Iterator[LocalBroker]:
        """Run a Kafka until the block ends; the parts are stopped before it."""
        with contextlib.ExitStack() as stack:
            broker = LocalBroker(
                self.directory, jars_dir=self.base_settings.need_data_dir(), on_progress=self._say, port=free_port()
            )
            self._say("checking Java and Kafka's jars ...")
            stack.enter_context(broker)
            stack.callback(self._stop_parts)  # before the broker: the worker commits a last time
            yield broker

    def _settings(self, address: str, tasks: str) -> Settings:
        return self.base_settings.replace(
            broker=address,
            data_dir=self.directory,
            metrics_port=free_port(),
            output_format="json",
            topic_prefix="",
            app_id="caststream-demo",
            tasks=tasks,
            processing_guarantee=self.base_settings.processing_guarantee,
        )

    def _check_parts(self, failed: BaseException | None, broker: LocalBroker) -> None:
        """Raise RunError where the reader has failed, or a part has ended before its time."""
        if failed is not None:
            raise RunError(f"the demo's reader ended: {failed}")
        if not broker.running:
            raise RunError(f"Kafka ended; its last lines: {_last_lines(broker.log_path)}")
        for name, child in self.parts.items():
            if not child.running and (name == "worker" or child.exit_status):
                raise RunError(f"the {name} ended with status {child.exit_status}: {_last_lines(self._log(name))}")

    def _until_done(
        self,
        watcher: TopicWatcher,
        view: LiveView,
        broker: LocalBroker,
        seen: Callable[[], int],
        left: Callable[[], int],
    ) -> None:
        """Wait until everything expected was seen, or nothing new comes any more.

        Args:
            seen: the outputs that have come.
            left: those that are still expected.
        """
        last, since = -1, time.monotonic()
        while left():
            time.sleep(TICK_S)
            view.update()
            self._check_parts(watcher.error, broker)
            if (now := seen()) != last or self._replaying():
                last, since = now, time.monotonic()
            elif time.monotonic() - since > QUIET_S:
                return
        # A repeated output comes after the first one, so look once more.
        time.sleep(1.0)

    def _replaying(self) -> bool:
        return any(child.running for name, child in self.parts.items() if name.startswith("replay"))

    def _start(self, name: str, settings: Settings, *arguments: str) -> None:
        self.parts[name] = Child(
            [sys.executable, "-m", "stream_app.cli.main", *arguments],
            output=self._log(name),
            environment=settings.process_environment(),
        )

    def _last_lines(self, name: str) -> str:
        return _last_lines(self._log(name))

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


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory for a demo, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="caststream-demo-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


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
