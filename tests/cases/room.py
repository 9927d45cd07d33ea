"""Where cases are played: a folder, the command line as a process, and a Kafka that starts when asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stream_app.local.broker import LocalBroker
from stream_app.settings import PREFIX, Settings, load_settings
from stream_app.topics.administration import create_topics
from tests.broker import JARS_DIR
from tests.worker import ROOT, WorkerProcess

PATIENCE_S = 180.0
COMMAND = [sys.executable, "-m", "stream_app.cli.main"]


class Ran:
    """How a command ended, and what it said."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.status = done.returncode
        self.raw = done.stdout
        self.out = done.stdout.decode(errors="replace")
        self.err = done.stderr.decode(errors="replace")

    @property
    def said(self) -> str:
        """The last line of what it said, which tells why it ended."""
        lines = (self.err or self.out).strip().splitlines()
        return f"status {self.status}: {lines[-1] if lines else 'nothing'}"


class Room:
    """One room serves all cases of a run; each case gets a folder of its own from `folder`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open = ExitStack()
        self._broker: LocalBroker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def folder(self) -> Path:
        """A new empty folder."""
        folder = self._directory / uuid.uuid4().hex[:8]
        folder.mkdir(parents=True)
        return folder

    def caststream(self, *arguments: str | Path, stdin: bytes = b"", **settings: Any) -> Ran:
        """Run a command to its end, in an empty folder, with these settings in its environment."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environment |= {f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items()}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return Ran(
            subprocess.run(
                [*COMMAND, *map(str, arguments)],
                input=stdin,
                capture_output=True,
                timeout=PATIENCE_S,
                env=environment,
                cwd=self.folder(),
            )
        )

    @property
    def broker(self) -> LocalBroker:
        """The Kafka of all cases that need nothing special of one."""
        if self._broker is None:
            self._broker = self._open.enter_context(LocalBroker(self.folder(), jars_dir=JARS_DIR))
        return self._broker

    def settings(self, **changes: Any) -> Settings:
        """Settings on `broker` with an application id and a topic prefix of their own, topics created."""
        name = f"c{uuid.uuid4().hex[:10]}"
        given = {"app_id": name, "topic_prefix": f"{name}-", "data_dir": self.folder(), "metrics_port": 0} | changes
        settings = load_settings(broker=self.broker.address, **given)
        create_topics(settings)
        return settings

    def worker(self, settings: Settings) -> WorkerProcess:
        """A worker process, not started: `with room.worker(settings) as worker: worker.start()`."""
        return WorkerProcess(settings, self.folder())
