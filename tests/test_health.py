"""When a worker counts as stuck: lag that stays, and no commit."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from core.errors import RunError, UnreachableError
from stream_app.kafka.lease import Lease
from stream_app.worker import health
from stream_app.worker.app import CaststreamApp
from stream_app.worker.health import LONGEST_COMMIT_S, MOVED_S, ON_THE_WAY_S, STUCK_S, Health

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
        metrics = SimpleNamespace(last_commit=self.clock.now_s)
        lease, upkeep = SimpleNamespace(held=False), SimpleNamespace(lag={})
        writer = SimpleNamespace(last_ack=self.clock.now_s)
        self.app: Any = SimpleNamespace(ready=True, lease=lease, upkeep=upkeep, metrics=metrics, writer=writer)
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


def test_a_throttled_worker_whose_batches_are_acknowledged_goes_on_but_not_for_ever(worker: Worker) -> None:
    worker.look(0, lag=5)
    for _ in range(10):
        assert worker.look(STUCK_S - 1, lag=5) is None
        worker.app.writer.last_ack = worker.clock.now_s

    assert worker.look(LONGEST_COMMIT_S - 10 * (STUCK_S - 1), lag=5) is None
    assert worker.look(1, lag=5) == "no commit for 601 s with records waiting in signal-samples[0]"


def test_acks_that_stop_count_from_the_last_one(worker: Worker) -> None:
    worker.look(0, lag=5)
    worker.clock.now_s += 30
    worker.app.writer.last_ack = worker.clock.now_s

    assert worker.look(STUCK_S, lag=5) is None
    assert worker.look(1, lag=5) == "no commit for 91 s with records waiting in signal-samples[0]"


def test_time_counts_from_readiness(worker: Worker) -> None:
    worker.app.ready = False
    worker.look(0, lag=5)
    worker.look(1000, lag=5)
    worker.app.ready = True

    assert worker.look(1, lag=5) is None
    assert worker.look(STUCK_S + 1, lag=5) is not None


@pytest.mark.parametrize(
    ("recovered", "held", "partitions", "line"),
    [
        (True, True, 2, "ready"),
        (True, True, 0, "ready: standby, no partitions: other workers have them all"),
        (True, False, 2, "the group's coordinator does not answer"),
        (False, True, 0, "starting or rebalancing"),
        (False, False, 0, "starting or rebalancing"),
    ],
)
def test_a_worker_is_ready_while_it_may_publish_and_says_what_it_waits_for(
    recovered: bool, held: bool, partitions: int, line: str
) -> None:
    app = CaststreamApp.__new__(CaststreamApp)
    app.ready = recovered
    app.lease = Lease(6.0, lambda: 0.0)
    app.pipelines = [SimpleNamespace(next_offset=dict.fromkeys(range(partitions)))]  # type: ignore[list-item]
    if held:
        app.lease.renew(0.0)

    assert Health(app).readiness() == (recovered and held, line)


class HandLease(Lease):
    """A lease that the test gives and takes."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(6.0, clock.monotonic)


class Outsider:
    """A worker whose lease is not held, and a broker that answers or does not."""

    def __init__(self, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.worker, self.answers = worker, True
        self.lease = worker.app.lease = HandLease(worker.clock)
        self.known, self.away = ["10.0.0.1:9092"], False
        worker.app.settings = SimpleNamespace(app_id="plant", client_config=dict, broker="kafka:9092")
        worker.app.chunk_consumer = lambda: SimpleNamespace(known_brokers=lambda: self.known)
        monkeypatch.setattr(health, "check_access", lambda config: self.answers)
        monkeypatch.setattr(health.knock, "away", lambda known: dict.fromkeys(known, "gone") if self.away else {})

    async def wait(self, seconds: float, step_s: float = 5.0) -> None:
        """Look every 5 s."""
        for _ in range(round(seconds / step_s)):
            self.worker.clock.now_s += step_s
            await self.worker.health.check_let_in()


async def test_whom_the_broker_answers_but_no_group_takes_in_has_got_stuck(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    outsider = Outsider(worker, monkeypatch)
    await outsider.wait(ON_THE_WAY_S)

    with pytest.raises(RunError, match="no member of the group 'plant' for 150 s, though the broker answers"):
        await outsider.wait(10)


async def test_an_outage_a_pause_and_a_short_membership_are_no_standing_still(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    outsider = Outsider(worker, monkeypatch)
    await outsider.wait(140)
    outsider.answers = False
    await outsider.wait(500)
    outsider.answers = True
    await outsider.wait(140)
    await outsider.wait(1000, step_s=1000)  # the process stood still
    await outsider.wait(140)
    outsider.lease.renew(worker.clock.now_s)
    outsider.lease.end()  # before the next look
    await outsider.wait(140)


async def test_a_cluster_that_has_come_back_at_other_addresses_is_looked_for_by_another_start(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    outsider = Outsider(worker, monkeypatch)
    outsider.away, outsider.answers = True, False
    await outsider.wait(500)  # an outage
    outsider.answers = True
    await outsider.wait(MOVED_S)
    outsider.away = False
    await outsider.wait(5)
    outsider.away = True
    await outsider.wait(MOVED_S)

    with pytest.raises(RunError, match=r"no broker has answered at 10\.0\.0\.1:9092 .* answers on kafka:9092"):
        await outsider.wait(5)


async def test_a_broker_that_names_addresses_where_nobody_is_is_an_outage_and_no_refusal(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    outsider = Outsider(worker, monkeypatch)

    def unreachable(config: object) -> bool:
        raise UnreachableError("nobody at internal:9092")

    monkeypatch.setattr(health, "check_access", unreachable)

    await outsider.wait(1000)


def test_a_member_whose_partitions_are_not_taken_up_has_got_stuck(worker: Worker) -> None:
    worker.app.ready = False
    worker.app.lease = HandLease(worker.clock)
    worker.app.moved_on_s = worker.clock.now_s

    def look(after_s: float) -> str | None:
        worker.clock.now_s += after_s
        worker.app.lease.renew(worker.clock.now_s)
        return worker.health.stuck()

    assert look(0) is None
    assert look(ON_THE_WAY_S) is None
    worker.app.moved_on_s = worker.clock.now_s  # a recovery has read something
    assert look(ON_THE_WAY_S) is None
    assert look(1) == "partitions were assigned, and for 151 s taking them up has got no further"

    worker.clock.now_s += 1000  # an outage
    assert worker.health.stuck() is None
    assert look(1) is None


@pytest.mark.parametrize(("host", "asked"), [("::", ["127.0.0.1", "::1"]), ("127.0.0.1", ["127.0.0.1"])])
def test_two_colons_listen_on_every_address_those_of_ipv4_too(host: str, asked: list[str]) -> None:
    try:
        listening = health._listen(host, 0)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with listening:
        for address in asked:
            socket.create_connection((address, listening.getsockname()[1]), timeout=10).close()
