"""The supervisor: N worker processes, each started again with back-off when it ends.

Once any process has been ready, the healthy ones continue, whatever keeps another from starting, and that one is tried
again. Then only a signal ends the supervisor, or a source that has lost processed records.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from types import FrameType

from core.errors import StartupError, UnreachableError
from stream_app import logs
from stream_app.exits import EXIT_REFUSED, EXIT_UNREACHABLE
from stream_app.failures import explain
from stream_app.settings import Settings
from stream_app.worker.report import WorkerReport

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
# A worker that ran for this long was well: the next failure starts at the shortest pause again.
WELL_AFTER_S = 60.0
STOP_PATIENCE_S = 30.0
POLL_S = 0.1
# While all processes are ready, there is nothing to look after until one ends, which is told.
READY_POLL_S = 1.0
_PR_SET_PDEATHSIG = 1


@dataclass
class WorkerChild:
    """One worker process and when it may be started again."""

    index: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE_S
    due: float = 0.0
    report: WorkerReport | None = None
    status: int | None = None
    """Exit status of its last end."""
    is_watched: bool = False
    """True if its end will be told; otherwise it has to be looked for."""


def _needs_no_look(child: WorkerChild) -> bool:
    return child.process is not None and child.is_watched and child.report is not None and child.report.ready


def _die_with_parent(parent: int) -> None:
    """Run in the child: have the kernel send SIGTERM when the supervisor ends; end at once if it has ended already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


class News:
    """Wakes up who waits for it, from any thread and from a signal's handler: a `threading.Event` that is set there
    waits for ever where the handler has interrupted its own use.
    """

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()

    def tell(self) -> None:
        """There is something to look after."""
        self._told.put(None)

    def clear(self) -> None:
        """Forget what was told until now: it is looked after next."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._told.get_nowait()

    def wait(self, timeout: float) -> None:
        """Return when something is told, or after so many seconds."""
        with contextlib.suppress(queue.Empty):
            self._told.get(timeout=timeout)


class Stopping:
    """The word to stop; who waits for news is told.

    Args:
        news: told with it.
    """

    def __init__(self, news: News) -> None:
        self._news = news
        self._set = False

    def set(self) -> None:
        """Stop."""
        self._set = True
        self._news.tell()

    def is_set(self) -> bool:
        """True once it is said."""
        return self._set


class Supervisor:
    """Runs ``workers`` processes until told to stop.

    Args:
        settings: handed to every process by its environment.
        workers: how many; process i serves metrics on ``metrics_port`` + i.
        debug: the processes' own debug logs.
    """

    program = "stream_app.worker.process"

    def __init__(self, settings: Settings, workers: int, debug: bool = False) -> None:
        self.settings = settings
        self.debug = debug
        self.children = [WorkerChild(index) for index in range(workers)]
        self._news = News()
        self.stopping = Stopping(self._news)
        self._was_ready = False
        """True once any process has been ready."""
        self._was_past_broker = False
        """True once a process has passed the broker: from then on silence is an outage."""

    def run(self) -> None:
        """Until `stopping` is set.

        Raises:
            StartupError: none has ever been ready, and all refuse to start; or processed records are gone from a source
                (`LostRecordsError`), and going on would hide that.
            UnreachableError: the first start found no broker.
        """
        try:
            while not self.stopping.is_set():
                self._news.clear()
                for child in self.children:
                    self._look_after(child)
                if not self.stopping.is_set():
                    self._news.wait(READY_POLL_S if all(map(_needs_no_look, self.children)) else POLL_S)
        finally:
            self._stop_all()

    def _look_after(self, child: WorkerChild) -> None:
        if child.process is None:
            if time.monotonic() >= child.due:
                self._start(child)
            return
        status = child.process.poll()
        if status is None:
            self._was_past_broker |= time.monotonic() - child.started > WELL_AFTER_S
            self._was_ready |= not self._was_ready and child.report is not None and child.report.ready
        else:
            self._ended(child, status)

    def _ended(self, child: WorkerChild, status: int) -> None:
        child.process, child.status = None, status
        if child.report is not None:
            child.report.close()
            self._was_ready |= child.report.ready
            if child.report.for_good:
                raise StartupError(
                    f"worker {child.index} refused to go on, as any other would; the line above says why"
                )
        self._was_past_broker |= self._was_ready or status not in (EXIT_REFUSED, EXIT_UNREACHABLE)
        if not self._was_ready:
            self._end_if_none_can_start(child)
        self._schedule(child, status)

    def _end_if_none_can_start(self, last: WorkerChild) -> None:
        ends = {child.status for child in self.children}
        if ends == {EXIT_REFUSED}:
            raise StartupError(f"worker {last.index} refused to start; the line above says why")
        if ends <= {EXIT_REFUSED, EXIT_UNREACHABLE} and not self._was_past_broker:
            raise UnreachableError(f"worker {last.index} could not start; the line above says why")

    def _start(self, child: WorkerChild) -> None:
        child.started, child.report = time.monotonic(), WorkerReport()
        try:
            child.process = self._open(child.index, child.report.writing)
        except (OSError, subprocess.SubprocessError) as error:  # too many processes, or no memory: for now
            child.report.close()
            log.error("worker %d cannot be started: %s; tried again in %.1f s", child.index, error, self._pause(child))
        else:
            log.info("worker %d started, pid %d", child.index, child.process.pid)
            child.is_watched = self._watch(child.process)
        finally:
            child.report.handed_over()

    def _watch(self, process: subprocess.Popen[bytes]) -> bool:
        """Have the end of a process told; False where there is no room for another thread."""
        try:
            threading.Thread(target=self._wait, args=(process,), daemon=True).start()
        except RuntimeError as error:
            log.warning("pid %d is looked after ten times a second: %s", process.pid, error)
            return False
        return True

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._news.tell()

    def _open(self, index: int, report: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", self.program, "--index", str(index), "--report", str(report)]
        return subprocess.Popen(
            [*command, *(["--debug"] if self.debug else [])],
            env=self.settings.process_environment(),
            preexec_fn=partial(_die_with_parent, os.getpid()),
            start_new_session=True,
            pass_fds=[report],
        )

    def _schedule(self, child: WorkerChild, status: int) -> None:
        pause_s = self._pause(child)
        if status == EXIT_REFUSED and child.report is not None:
            log.error("worker %d is refused: %s; tried again in %.1f s", child.index, child.report.why, pause_s)
        else:
            log.warning("worker %d ended with status %d; started again in %.1f s", child.index, status, pause_s)

    def _pause(self, child: WorkerChild) -> float:
        """Note when it may be started again, and make the next pause longer; the seconds until then."""
        now_s = time.monotonic()
        pause_s = FIRST_PAUSE_S if now_s - child.started > WELL_AFTER_S else child.pause
        child.due, child.pause = now_s + pause_s, min(2 * pause_s, LONGEST_PAUSE_S)
        return pause_s

    def _stop_all(self) -> None:
        running = [child.process for child in self.children if child.process is not None]
        if not running:
            return
        log.info("stopping: the workers commit a last time")
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_PATIENCE_S
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("pid %d does not stop and is killed; uncommitted records are processed again", process.pid)
                process.kill()
                process.wait()
        log.info("stopped")


def run_workers(settings: Settings, workers: int = 1, debug: bool = False) -> int:
    """`caststream worker`: run until SIGTERM or SIGINT. Returns the exit status; the log says why where it is not 0."""
    logs.configure(settings.log_format, "supervisor", debug)
    supervisor = Supervisor(settings, workers, debug)

    def stop(_number: int, _frame: FrameType | None) -> None:
        supervisor.stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        supervisor.run()
    except StartupError as error:
        log.error("%s", error)
        return explain(error)[1]
    return 0
