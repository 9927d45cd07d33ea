"""One Kafka for all lanes of a run: the process that deals out the tests starts it, and the lanes wait for it."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from pathlib import Path

import psutil

from core.whole_file import whole_file
from stream_app.local.broker import LocalBroker
from tests.broker import JARS_DIR, wait_until

START_S = 90.0
IN_MEMORY = Path("/dev/shm")
PLENTY_BYTES = 4 * 2**30


class SharedBroker:
    """Starts a broker beside whatever else the process does; `stop` ends it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="caststream-tests-", dir=_fast_directory()))
        self._broker = LocalBroker(self.directory, jars_dir=JARS_DIR)
        self._thread = threading.Thread(target=self._start, name="broker", daemon=True)
        self._thread.start()

    def _start(self) -> None:
        try:
            self._broker.start()
            _tell(self.directory, port=self._broker.port, pid=self._broker.pid)
        except Exception as error:
            _tell(self.directory, error=str(error))

    def stop(self) -> None:
        self._thread.join()
        self._broker.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class JoinedBroker(LocalBroker):
    """The shared broker as a lane sees it, once it is ready. It cannot be started or stopped here."""

    def __init__(self, directory: Path) -> None:
        wait_until(_told(directory).exists, START_S, "the broker")
        told = json.loads(_told(directory).read_text())
        assert "error" not in told, told["error"]
        super().__init__(directory, port=told["port"], jars_dir=JARS_DIR)
        self._pid: int = told["pid"]

    def start(self) -> None:
        raise AssertionError("the broker is shared: start one of your own")

    stop = kill = start

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def running(self) -> bool:
        return psutil.pid_exists(self._pid)


def _fast_directory() -> Path | None:
    """Memory, where there is plenty: tests make thousands of partitions, on a disk it takes half as long again."""
    return IN_MEMORY if IN_MEMORY.exists() and shutil.disk_usage(IN_MEMORY).free > PLENTY_BYTES else None


def _told(directory: Path) -> Path:
    return directory / "ready.json"


def _tell(directory: Path, **what: object) -> None:
    with whole_file(_told(directory)) as partial:
        partial.write_text(json.dumps(what))
