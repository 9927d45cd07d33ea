"""A real Apache Kafka on this machine: one KRaft node, broker and controller in one Java process, no Docker.

`LocalBroker` is for the demo, the tests and anything else that wants a broker for a while; `run_broker` is the command
``caststream broker``. The process listens on 127.0.0.1 only, and dies with the process that started it.
"""

from __future__ import annotations

import base64
import fcntl
import os
import random
import shutil
import socket
import subprocess
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Self

from core.callbacks import OnNote, unheard
from core.errors import RunError, StartupError
from stream_app.local.child import Child
from stream_app.local.jars import KAFKA_VERSION, ensure_jars, writing
from stream_app.local.java import find_java
from stream_app.local.kafka_config import HOST, JVM_OPTIONS, LOG_PROPERTIES, java_properties, kafka_properties
from stream_app.local.kafka_words import misspelt, plain

READY_LINE = b"Kafka Server started"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
MIN_FREE_BYTES = 200 * 2**20

# Below the range from which Linux takes the ports of outgoing connections: a port that is free stays free.
PORT_RANGE = range(20_000, 32_768)


# Whoever is given a port listens there a moment later: until then nobody else on this machine is given it. A process
# holds the claims of the last ones that it gave, which is longer than any of them needs.
_claims: deque[socket.socket] = deque()
CLAIMS = 64


def free_port() -> int:
    """Return a port on 127.0.0.1 on which nothing listens, and that was given to no other caller just now."""
    for port in random.sample(PORT_RANGE, len(PORT_RANGE)):
        if (claim := _claim(port)) is None:
            continue
        if _can_listen(port):
            _claims.append(claim)
            while len(_claims) > CLAIMS:
                _claims.popleft().close()
            return port
        claim.close()
    raise StartupError(f"no free port on {HOST} from {PORT_RANGE.start} to {PORT_RANGE.stop - 1}")


def _claim(port: int) -> socket.socket | None:
    """Claim a name that only one socket on this machine can have while it is open; None if it is taken."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0caststream-port-{port}")
    except OSError:
        claim.close()
        return None
    return claim


class LocalBroker:
    """One Kafka broker with its data in ``data_dir/broker``; a context manager.

    Data survive a stop, a kill and another port. `start` after `stop` or `kill` uses the same port and data.

    Args:
        data_dir: made if missing. One broker at a time may use it.
        port: on 127.0.0.1; 0 takes a free one.
        jars_dir: the data directory that holds Kafka's jars, by default ``data_dir``.
        properties: Kafka's own broker properties, stronger than ours.
        on_progress: called with one line of text for each thing that takes a while.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        jars_dir: Path | None = None,
        properties: Mapping[str, str] | None = None,
        on_progress: OnNote = unheard,
    ) -> None:
        self.directory = (data_dir / "broker").absolute()
        self.port = port
        self.log_path = self.directory / "broker.log"
        self._jars_dir = jars_dir or data_dir
        self._properties = dict(properties or {})
        self._on_progress = on_progress
        self._child: Child | None = None
        self._lock: IO[bytes] | None = None

    @property
    def address(self) -> str:
        """host:port, the value of the setting ``broker``."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id of Kafka, None before the first start."""
        return self._child.pid if self._child else None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def start(self) -> None:
        """Start Kafka and return when it answers.

        Raises:
            StartupError: no Java, jars that are missing or changed, a port in use, a directory that is full, read-only
                or used by another broker, or a Kafka that ends or is not ready within 60 s.
        """
        if self.running:
            return
        self.kill()  # lets go of the lock where Kafka has ended by itself
        _check_directory(self.directory)
        with writing(self.directory):
            self._take_lock()
            try:
                self._start()
            except BaseException:
                self.kill()
                raise

    def stop(self) -> None:
        """Stop Kafka in order; after 20 s, or when interrupted, by force. Does nothing when it is not running."""
        try:
            if self._child:
                self._child.stop(STOP_TIMEOUT_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """End Kafka at once, as a crash would."""
        if self._child:
            self._child.kill()
        if self._lock:
            self._lock.close()
            self._lock = None

    def wait(self) -> None:
        """Block while Kafka runs.

        Raises:
            RunError: it has ended.
        """
        if self._child:
            self._child.wait()
        raise RunError(f"Kafka ended by itself: {self._last_words()}; its log: {self.log_path}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take_lock(self) -> None:
        lock = (self.directory / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise StartupError(
                f"another broker runs on {self.directory}; stop it or choose another directory with --data-dir"
            ) from error
        self._lock = lock

    def _start(self) -> None:
        java = find_java()
        self.port = self.port or free_port()
        _check_port(self.port)
        class_path = ":".join(map(str, ensure_jars(self._jars_dir.absolute(), self._on_progress)))
        shutil.rmtree(self.directory / "tmp", ignore_errors=True)
        (self.directory / "tmp").mkdir()
        (self.directory / "log4j2.properties").write_text(java_properties(LOG_PROPERTIES))
        command = [str(java), *JVM_OPTIONS, "-cp", class_path]
        self._on_progress(f"starting Apache Kafka {KAFKA_VERSION} on {self.address}")
        for _ in range(3):
            self._write_properties(controller_port=free_port())
            if not (self.directory / "data" / "meta.properties").exists():
                self._format(command)
            if self._run_until_ready(command):
                self._check_properties()
                return
            _check_port(self.port)  # else it was the controller's port that another process took meanwhile
        raise self._failed("ended during its start")

    def _check_properties(self) -> None:
        wrong = misspelt(self._properties, self.log_path.read_text(errors="replace"))
        if wrong:
            found = "; ".join(f"{name}: did you mean {near}?" for name, near in wrong.items())
            raise StartupError(f"Kafka {KAFKA_VERSION} has no such property (--property): {found}")

    def _write_properties(self, controller_port: int) -> None:
        properties = kafka_properties(self.directory / "data", self.port, controller_port) | self._properties
        # Keys and passwords may stand there.
        with open(self.directory / "kafka.properties", "w", opener=partial(os.open, mode=0o600)) as file:
            file.write(java_properties(properties))

    def _format(self, command: list[str]) -> None:
        """Give the empty data directory its cluster id, once in its life."""
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        storage_tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted"]
        done = subprocess.run(
            [*command, *storage_tool, "--cluster-id", cluster_id, "--config", "kafka.properties"],
            cwd=self.directory,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            (self.directory / "output.txt").write_text(done.stdout + done.stderr)
            (self.directory / "broker.log").unlink(missing_ok=True)  # of an earlier start
            raise self._failed("could not format its directory")

    def _run_until_ready(self, command: list[str]) -> bool:
        """False when a port was in use, so that another try can help."""
        if self.log_path.exists():
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        self._child = child = Child(
            [*command, "kafka.Kafka", "kafka.properties"],
            output=self.directory / "output.txt",
            directory=self.directory,
            environment=_environment(),
            # Kafka holds the lock too: it is free when both have ended.
            keep_open=[self._lock.fileno()] if self._lock else [],
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            ended = child.wait(0.05)
            log = self.log_path.read_bytes() if self.log_path.exists() else b""
            if READY_LINE in log and not ended:
                return True
            if ended and b"Address already in use" in log:
                return False
            if ended:
                raise self._failed("ended during its start")
        raise self._failed(f"was not ready after {START_TIMEOUT_S:g} s")

    def _failed(self, what: str) -> StartupError:
        log = self.log_path if self.log_path.exists() else self.directory / "output.txt"
        given = ", with the properties that --property has set" if self._properties else ""
        return StartupError(f"Kafka {what}{given}: {self._last_words()}; its log: {log}")

    def _last_words(self) -> str:
        """The last errors in what Kafka and Java wrote, or just the last line."""
        spoken = []
        for path in (self.directory / "output.txt", self.log_path):
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            spoken += [line.strip() for line in lines if line.strip() and not line.startswith(("\t", "WARNING"))]
        errors = [
            line for line in spoken if any(word in line for word in (" ERROR ", " FATAL ", "Exception", "Error:"))
        ]
        if spoken:
            told = dict.fromkeys(plain(line)[:300] for line in (errors[-3:] or spoken[-1:]))
            return " | ".join(told)
        return f"exit status {self._child.exit_status}" if self._child else "it said nothing"


def run_broker(
    data_dir: Path,
    port: int,
    properties: Mapping[str, str],
    on_ready: Callable[[LocalBroker], None],
    on_progress: OnNote,
) -> None:
    """Run a broker until a KeyboardInterrupt (the command line makes one of SIGTERM too), then stop it in order.

    Raises:
        StartupError: see `LocalBroker.start`.
        RunError: Kafka ended by itself.
    """
    broker = LocalBroker(data_dir, port=port, properties=properties, on_progress=on_progress)
    try:
        with broker:
            on_ready(broker)
            broker.wait()
    except KeyboardInterrupt:
        on_progress("the broker has stopped")


def _environment() -> dict[str, str]:
    # Without a UTF-8 locale Java cannot open paths that are not ASCII.
    return os.environ | {"LC_ALL": "C.UTF-8"}


def _check_directory(directory: Path) -> None:
    if "," in str(directory) or ":" in str(directory):
        raise StartupError(f"{directory}: Kafka cannot use a path with ',' or ':'; choose another with --data-dir")
    with writing(directory):
        free = shutil.disk_usage(directory).free
    if free < MIN_FREE_BYTES:
        raise StartupError(
            f"{directory}: {free // 2**20} MiB are free and a broker needs {MIN_FREE_BYTES // 2**20} MiB; "
            "free some space there or choose another with --data-dir"
        )


def _check_port(port: int) -> None:
    if not _can_listen(port):
        raise StartupError(f"port {port} on {HOST} is in use; stop what uses it or choose another with --port")


def _can_listen(port: int) -> bool:
    with socket.socket() as probe:
        # As Java does it: connections that have just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return False
    return True
