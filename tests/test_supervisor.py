"""The supervisor: what one process cannot do does not end the others."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import StartupError, UnreachableError
from stream_app.settings import load_settings
from stream_app.worker import supervisor as worker
from stream_app.worker.report import Reporter, WorkerReport
from stream_app.worker.supervisor import Supervisor
from tests.broker import wait_until
from tests.scripted_process import SCRIPT

ROOT = Path(__file__).resolve().parent.parent

PATIENCE_S = 60.0


class Scripted:
    """A supervisor in a thread, over processes that do what a file says."""

    def __init__(self, script: Path, workers: int) -> None:
        self._script = script
        self.supervisor = Supervisor(load_settings(), workers)
        self.supervisor.program = "tests.scripted_process"
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.supervisor.run()
        except StartupError as error:
            self.error = error

    def write(self, *words: str) -> None:
        """What each process does at its next start."""
        changed = self._script.with_suffix(".new")
        changed.write_text("".join(f"{index} {word}\n" for index, word in enumerate(words) if word))
        changed.replace(self._script)

    def start(self, *words: str) -> None:
        self.write(*words)
        self._thread.start()

    def pid(self, index: int) -> int | None:
        process = self.supervisor.children[index].process
        return process.pid if process else None

    def wait_for_end(self) -> BaseException | None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.error

    def stop(self) -> None:
        self.supervisor.stopping.set()
        if self._thread.ident is not None:
            self.wait_for_end()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Scripted]]:
    monkeypatch.setattr(worker, "READY_POLL_S", PATIENCE_S)  # so all that is seen in time is told
    monkeypatch.setattr(worker, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(worker, "LONGEST_PAUSE_S", 0.4)
    monkeypatch.setattr(worker.WorkerChild, "__init__", _with_short_pause(worker.WorkerChild.__init__))
    monkeypatch.setenv(SCRIPT, str(tmp_path / "script"))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    )
    made: list[Scripted] = []

    def make(workers: int) -> Scripted:
        made.append(Scripted(tmp_path / "script", workers))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def _with_short_pause(init: Callable[..., None]) -> Callable[..., None]:
    def short(self: worker.WorkerChild, *arguments: object, **named: object) -> None:
        init(self, *arguments, **{"pause": 0.1, **named})

    return short


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if text in record.getMessage()]


def test_while_all_are_ready_it_looks_seldom_and_before_often(
    scripted: Callable[[int], Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = scripted(2)
    waited: list[float] = []
    stock = service.supervisor._news.wait

    def wait(timeout: float) -> None:
        waited.append(timeout)
        stock(timeout)

    monkeypatch.setattr(service.supervisor._news, "wait", wait)
    service.start("ready", "ready")
    wait_until(lambda: waited and waited[-1] == PATIENCE_S, PATIENCE_S)
    assert waited[0] == worker.POLL_S
    assert all(map(service.pid, range(2)))


def test_where_no_thread_can_be_started_a_process_is_looked_after_and_started_again(
    scripted: Callable[[int], Scripted], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = scripted(1)

    class NoRoom(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    service.write("ready")
    service._thread.start()  # the test's own, before there is no room
    monkeypatch.setattr(threading, "Thread", NoRoom)
    first = wait_until(lambda: service.pid(0), PATIENCE_S)
    wait_until(lambda: service.supervisor._was_ready, PATIENCE_S)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: service.pid(0) not in (None, first), PATIENCE_S)
    assert service.running
    assert lines(caplog, "looked after ten times a second")


def test_a_signal_that_comes_while_news_are_waited_for_wakes_up_and_blocks_nothing() -> None:
    """The handler runs in the thread that waits, at any place of the wait."""
    news = worker.News()
    stop = worker.Stopping(news)
    stock = signal.signal(signal.SIGALRM, lambda *_: stop.set())
    try:
        for _ in range(200):
            news.clear()
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0001)
            news.wait(PATIENCE_S)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, stock)
    assert stop.is_set()


def test_healthy_workers_go_on_while_another_is_refused_and_it_is_told_loudly_and_tried_again(
    scripted: Callable[[int], Scripted], caplog: pytest.LogCaptureFixture
) -> None:
    service = scripted(3)
    service.start("ready", "ready", "ready")
    first = wait_until(lambda: all(map(service.pid, range(3))) and service.pid(1), PATIENCE_S)
    wait_until(lambda: service.supervisor._was_ready, PATIENCE_S)
    others = [service.pid(0), service.pid(2)]

    service.write("ready", "refuse", "ready")
    os.kill(first, signal.SIGKILL)
    said = "worker 1 is refused: the checkpoint is half a file; tried again in"
    wait_until(lambda: len(lines(caplog, said)) >= 3, PATIENCE_S)

    assert {record.levelno for record in lines(caplog, said)} == {logging.ERROR}
    assert [service.pid(0), service.pid(2)] == others
    service.write("ready", "ready", "ready")
    wait_until(lambda: service.supervisor.children[1].report.ready, PATIENCE_S)
    assert [service.pid(0), service.pid(2)] == others
    assert service.running


def test_where_all_are_refused_at_the_first_start_the_supervisor_ends(scripted: Callable[[int], Scripted]) -> None:
    service = scripted(3)
    service.start("refuse", "refuse", "refuse")

    assert type(service.wait_for_end()) is StartupError
    processes = [child.process for child in service.supervisor.children]
    assert all(process is None or process.poll() is not None for process in processes)


def test_one_that_is_refused_at_the_first_start_does_not_stop_those_that_are_starting(
    scripted: Callable[[int], Scripted], caplog: pytest.LogCaptureFixture
) -> None:
    service = scripted(2)
    service.start("refuse", "")
    wait_until(lambda: len(lines(caplog, "worker 0 is refused")) >= 3, PATIENCE_S)
    starting = service.pid(1)
    service.write("refuse", "ready")

    os.kill(starting or 0, signal.SIGKILL)
    wait_until(lambda: service.supervisor._was_ready, PATIENCE_S)

    assert service.running


def test_a_broker_that_is_not_there_at_the_first_start_ends_it_and_later_does_not(
    scripted: Callable[[int], Scripted], caplog: pytest.LogCaptureFixture
) -> None:
    first = scripted(1)
    first.start("unreachable")
    assert type(first.wait_for_end()) is UnreachableError

    later = scripted(1)
    later.start("ready")
    wait_until(lambda: later.supervisor._was_ready, PATIENCE_S)
    later.write("unreachable")
    os.kill(later.pid(0) or 0, signal.SIGKILL)
    wait_until(lambda: len(lines(caplog, "worker 0 ended with status 4")) >= 3, PATIENCE_S)
    assert later.running


def test_readiness_counts_though_the_process_has_ended_before_anybody_looked(
    scripted: Callable[[int], Scripted], caplog: pytest.LogCaptureFixture
) -> None:
    report = WorkerReport()
    child = worker.WorkerChild(0, report=report)
    Reporter(report.writing).ready()
    report.handed_over()
    service = scripted(1)

    service.supervisor._ended(child, status=1)

    assert service.supervisor._was_ready


def test_a_source_that_has_lost_processed_records_ends_all_of_them(scripted: Callable[[int], Scripted]) -> None:
    """A later try could find new records at those offsets, and would take them for processed."""
    service = scripted(2)
    service.start("ready", "lost")

    assert type(service.wait_for_end()) is StartupError
    assert str(service.error).startswith("worker 1 refused to go on")


def test_a_machine_that_can_start_no_process_for_now_ends_nobody(
    scripted: Callable[[int], Scripted], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = scripted(1)
    open_process, full = service.supervisor._open, iter([True, True, False])

    def open_if_room(index: int, report: int) -> object:
        if next(full):
            raise OSError("Resource temporarily unavailable")
        return open_process(index, report)

    monkeypatch.setattr(service.supervisor, "_open", open_if_room)
    service.start("ready")
    wait_until(lambda: service.supervisor._was_ready, PATIENCE_S)

    assert len(lines(caplog, "worker 0 cannot be started: Resource temporarily unavailable; tried again in")) == 2


def test_a_supervisor_that_is_told_to_stop_ends_at_once_in_a_pause_too(scripted: Callable[[int], Scripted]) -> None:
    service = scripted(2)
    service.start("fail", "")
    wait_until(lambda: service.pid(1), PATIENCE_S)
    began_s = time.monotonic()

    service.stop()

    assert service.error is None
    assert time.monotonic() - began_s < 10  # not the 30 s that a worker with something to commit gets


def test_what_is_told_over_the_pipe_is_cut_to_one_line() -> None:
    report = WorkerReport()
    assert not report.ready
    reporter = Reporter(report.writing)

    reporter.ready()
    reporter.ends("a\nb " + "c" * 100_000)
    report.handed_over()
    report.close()

    assert report.ready
    assert report.why.startswith("a b ccc")
    Reporter(None).ready()  # nobody listens


def test_the_last_line_of_an_orderly_end_says_that_all_have_stopped(
    scripted: Callable[[int], Scripted], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    service = scripted(1)
    service.start("ready")
    wait_until(lambda: service.supervisor._was_ready, PATIENCE_S)

    service.stop()

    assert [entry.message for entry in caplog.records][-2:] == ["stopping: the workers commit a last time", "stopped"]
