"""When a worker counts as stuck: lag that stays, and no commit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from core.errors import RunError
from stream_app import health
from stream_app.health import OUTSIDE_S, STUCK_S, Health

AT = TopicPartition("signal-samples", 0)


class HandClock:
    """The monotonic clock, moved by hand."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class Worker:
    """What health looks at, at a time that the test decides."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = HandClock()
        monkeypatch.setattr(health, "time", self.clock)
        self.app: Any = SimpleNamespace(
            ready=True, upkeep=SimpleNamespace(lag={}), metrics=SimpleNamespace(last_commit=self.clock.now_s)
        )
        self.health = Health(self.app)

    def look(self, after_s: float, lag: int) -> str | None:
        self.clock.now_s += after_s
        self.app.upkeep.lag = {AT: lag}
        return self.health.stuck()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    return Worker(monkeypatch)


def test_records_that_have_just_come_after_a_quiet_hour_make_no_worker_stuck(worker: Worker) -> None:
    assert worker.look(0, lag=0) is None
    assert worker.look(3600, lag=1) is None
    assert worker.look(5, lag=0) is None
    assert worker.look(3600, lag=1) is None


def test_lag_that_stays_without_a_commit_is_told(worker: Worker) -> None:
    worker.look(0, lag=0)
    worker.look(100, lag=5)

    assert worker.look(STUCK_S, lag=5) is None
    assert worker.look(1, lag=7) == "no commit for 61 s with records waiting in signal-samples[0]"


def test_a_commit_shows_that_it_goes_on(worker: Worker) -> None:
    worker.look(0, lag=5)
    worker.clock.now_s += STUCK_S
    worker.app.metrics.last_commit = worker.clock.now_s

    assert worker.look(STUCK_S, lag=5) is None
    assert worker.look(1, lag=5) is not None


def test_time_counts_from_readiness(worker: Worker) -> None:
    worker.app.ready = False
    worker.look(0, lag=5)
    worker.look(1000, lag=5)
    worker.app.ready = True

    assert worker.look(1, lag=5) is None
    assert worker.look(STUCK_S + 1, lag=5) is not None


async def test_whom_the_broker_answers_but_no_group_takes_in_has_got_stuck(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in an outage, nor while the group has it as a member."""
    answers = {"now": True}
    monkeypatch.setattr(health, "check_access", lambda config: answers["now"])
    worker.app.lease = SimpleNamespace(held=False)
    worker.app.settings = SimpleNamespace(app_id="plant", client_config=dict)

    async def look(after_s: float) -> None:
        worker.clock.now_s += after_s
        await worker.health.check_let_in()

    await look(0)
    answers["now"] = False
    await look(1000)
    answers["now"] = True
    await look(1000)
    worker.app.lease.held = True
    await look(1)
    worker.app.lease.held = False
    await look(1000)
    await look(OUTSIDE_S)

    with pytest.raises(RunError, match="no member of the group 'plant' for 150 s, though the broker answers"):
        await look(1)
