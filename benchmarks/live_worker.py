"""A caststream worker under measurement: started until it is ready, metered, held to a share of a core."""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from checkouts import Checkout
from prometheus_client.parser import text_string_to_metric_families

from core.errors import RunError
from stream_app.local.broker import free_port
from stream_app.local.child import Child
from stream_app.settings import Settings

READY_S = 300.0
STOP_S = 60.0
LOG_LINES = 15
PROGRAM = (sys.executable, "-m", "stream_app.worker.process")
# The chunk size is a constant and no setting: a benchmark is the only one who changes it.
CHUNKED = (
    "import stream_app.worker.build as b; b.CHUNK_RECORDS = {}; from stream_app.worker.process import main; main()"
)


@dataclass(frozen=True)
class Scrape:
    """The samples of one look at /metrics, by name and sorted labels."""

    samples: Mapping[tuple[str, tuple[tuple[str, str], ...]], float]

    def get(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name with (at least) these labels; 0 where there is none."""
        return sum(
            value
            for (found, pairs), value in self.samples.items()
            if found == name and labels.items() <= dict(pairs).items()
        )


def parse(text: str) -> Scrape:
    """Parse a worker's /metrics."""
    return Scrape(
        {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )


class LiveWorker:
    """One worker process; a context manager that ends it.

    Args:
        settings: of the worker; the metrics port is a free one.
        directory: for its log.
        command: another program than the worker's own.
        code: of another checkout.
    """

    def __init__(
        self, settings: Settings, directory: Path, command: Sequence[str] = PROGRAM, code: Checkout | None = None
    ) -> None:
        self.settings = settings.replace(metrics_port=free_port())
        self._directory = directory
        self._command = command
        self._code = code
        self._child: Child | None = None
        self._starts = 0

    def start(self, **changes: object) -> float:
        """Start it (again); returns when it is ready, after how many seconds.

        Raises:
            RunError: it ended, or is not ready in time.
        """
        self.settings = self.settings.replace(**changes)
        self._starts += 1
        started = time.monotonic()
        environment = (
            self._code.process_environment(self.settings) if self._code else self.settings.process_environment()
        )
        self._child = Child(self._command, output=self._log, directory=self._directory, environment=environment)
        while not self._ready():
            if not self._child.running or time.monotonic() - started > READY_S:
                raise RunError(f"the worker is not ready, status {self._child.exit_status}:\n{self.last_words()}")
            time.sleep(0.02)
        return time.monotonic() - started

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def log(self) -> str:
        """The output of the worker since its last start."""
        return self._log.read_text(errors="replace")

    def last_words(self) -> str:
        """The end of its log, for an error."""
        return "\n".join(f"  {line}" for line in self.log.splitlines()[-LOG_LINES:]) or "  it said nothing"

    def rss_bytes(self) -> int:
        """Resident memory."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def scrape(self) -> Scrape:
        """Its metrics now."""
        return parse(self.get("/metrics")[1])

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a request to it; raises OSError where nobody listens."""
        connection = http.client.HTTPConnection(self.settings.metrics_host, self.settings.metrics_port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    @property
    def running(self) -> bool:
        """True if it was started and has not ended."""
        return self._child is not None and self._child.running

    def require_running(self) -> None:
        """Raises RunError where it has ended."""
        if not self.running:
            raise RunError(f"the worker has ended:\n{self.last_words()}")

    def kill(self) -> None:
        """As a crash does."""
        assert self._child is not None
        self._child.kill()

    def stop(self) -> None:
        """In order."""
        assert self._child is not None
        self._child.stop(STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            self.stop()

    @property
    def _log(self) -> Path:
        return self._directory / f"worker-{self.settings.app_id}-{self._starts}.log"

    def _ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False


def chunked(records: int) -> Sequence[str]:
    """The worker's program with another largest chunk."""
    return (sys.executable, "-c", CHUNKED.format(int(records)))


def broker_pid() -> int:
    """The Kafka that this process has started (`harness.bench_broker`).

    Raises:
        RunError: there is none.
    """
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "kafka.Kafka" in child.cmdline():  # a peer may be Java too
                return child.pid
    raise RunError("no Kafka of ours is running")


def tree(pid: int) -> list[int]:
    """A process and those that it has started."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


class Meter:
    """CPU time of processes over a while, in cores: 1.0 is one core all the time.

    Args:
        pids: by name one process, or several that are summed up.
    """

    def __init__(self, **pids: int | Sequence[int]) -> None:
        self._processes = {
            name: [psutil.Process(pid) for pid in ([of] if isinstance(of, int) else of)] for name, of in pids.items()
        }
        self._before, self._busy_before = self._seconds(), _busy_s()
        self._started = time.monotonic()

    def cores(self) -> dict[str, float]:
        """Return the CPU cores used since this object was made, by name; ``machine`` is all that the machine did."""
        elapsed = time.monotonic() - self._started
        spent = self.cpu_s() | {"machine": _busy_s() - self._busy_before}
        return {name: seconds / elapsed for name, seconds in spent.items()}

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds by name, since this object was made."""
        now = self._seconds()
        return {name: now[name] - before for name, before in self._before.items()}

    def _seconds(self) -> dict[str, float]:
        times = {name: [process.cpu_times() for process in all_] for name, all_ in self._processes.items()}
        return {name: float(sum(each.user + each.system for each in spent)) for name, spent in times.items()}


def peak_mib(pid: int) -> float:
    """The most memory that a process has had resident; Linux."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _busy_s() -> float:
    """Seconds that the machine's cores have worked so far, whatever for."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def rss_mib(pids: Sequence[int]) -> float:
    """Resident memory of processes, summed up."""
    return float(sum(psutil.Process(pid).memory_info().rss for pid in pids) / 2**20)


@contextmanager
def worker(settings: Settings, directory: Path, command: Sequence[str] = PROGRAM) -> Iterator[LiveWorker]:
    """A worker that is ready."""
    with LiveWorker(settings, directory, command) as made:
        made.start()
        yield made


CGROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 10_000  # a tenth of the kernel's default: with 100 ms a process is stopped for most of that at a time
SETTLE = "cgroup.procs"


@contextmanager
def limited(pid: int, cores: float) -> Iterator[str | None]:
    """Hold a process to ``cores`` while the context is open, as a container with a CPU limit is. Linux, root.

    Yields:
        How it is done, or None where it cannot be: no root, no cgroup file system that can be written.
    """
    made = _make(cores)
    if made is None:
        yield None
        return
    group, parent, how = made
    try:
        (group / SETTLE).write_text(str(pid))
        yield how
    finally:
        for member in (group / SETTLE).read_text().split():
            with suppress(OSError):  # it has ended
                (parent / SETTLE).write_text(member)
        with suppress(OSError):
            group.rmdir()


def _make(cores: float) -> tuple[Path, Path, str] | None:
    """The group, where its members go at the end, and words; version 1 of cgroups where its controller is mounted."""
    quota_us = max(1000, round(cores * PERIOD_US))
    for parent, files, how in (
        (CGROUPS / "cpu", {"cpu.cfs_period_us": f"{PERIOD_US}", "cpu.cfs_quota_us": f"{quota_us}"}, "cpu.cfs_quota_us"),
        (CGROUPS, {"cpu.max": f"{quota_us} {PERIOD_US}"}, "cpu.max"),
    ):
        group = parent / f"caststream-bench-{os.getpid()}"
        if not (parent / SETTLE).exists():
            continue
        try:
            group.mkdir()
            for name, value in files.items():
                (group / name).write_text(value)
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        return group, parent, f"{how}, {quota_us} of every {PERIOD_US} µs"
    return None
