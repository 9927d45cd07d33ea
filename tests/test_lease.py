"""The lease: held only while the group's coordinator surely counts this worker as a member."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalGenerationError, KafkaConnectionError, RebalanceInProgressError
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

from stream_app.kafka.lease import SESSION_SHARE, Lease, keep

SESSION = 6.0


class Coordinator:
    """As much of aiokafka's as the lease looks at; each answer takes a second of the clock."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.answer: int | Exception = 0
        self.generation = 5

    def now(self) -> float:
        return self.clock

    async def _send_req(self, request: Any) -> Any:
        self.clock += 1.0
        if isinstance(self.answer, Exception):
            raise self.answer
        return SimpleNamespace(error_code=self.answer)

    def reset_generation(self) -> None:
        self.generation = -1


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def lease(coordinator: Coordinator) -> Lease:
    lease = Lease(SESSION, coordinator.now)
    keep(lease, coordinator)
    return lease


def heartbeat() -> HeartbeatRequest:
    return HeartbeatRequest("group", 5, "member")


def test_a_worker_that_has_not_joined_holds_none(lease: Lease) -> None:
    assert not lease.held


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (heartbeat(), 0),
        (heartbeat(), RebalanceInProgressError.errno),
        (SyncGroupRequest("group", 5, "member", None, []), 0),
    ],
)
async def test_it_counts_from_when_the_coordinator_was_asked(
    coordinator: Coordinator, lease: Lease, request_: Any, error: int
) -> None:
    """The coordinator starts the session anew when it is asked; when its answer comes, some of it is over."""
    coordinator.answer = error

    await coordinator._send_req(request_)

    assert lease.held
    assert lease.left == pytest.approx(SESSION_SHARE * SESSION - 1.0)
    coordinator.clock += SESSION_SHARE * SESSION - 1.0
    assert not lease.held


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (heartbeat(), IllegalGenerationError.errno),
        (SyncGroupRequest("group", 5, "member", None, []), RebalanceInProgressError.errno),
        (JoinGroupRequest("group", 6000, 60000, "member", None, "consumer", []), 0),
    ],
)
async def test_no_other_answer_renews_it(coordinator: Coordinator, lease: Lease, request_: Any, error: int) -> None:
    coordinator.answer = error

    await coordinator._send_req(request_)

    assert not lease.held


async def test_a_request_that_fails_renews_nothing_and_its_error_passes_through(
    coordinator: Coordinator, lease: Lease
) -> None:
    coordinator.answer = KafkaConnectionError()

    with pytest.raises(KafkaConnectionError):
        await coordinator._send_req(heartbeat())

    assert not lease.held


async def test_a_late_answer_to_an_older_question_takes_nothing_away(coordinator: Coordinator, lease: Lease) -> None:
    await coordinator._send_req(heartbeat())
    left = lease.left

    lease.renew(asked=-100.0)

    assert lease.left == left


async def test_it_ends_with_the_membership(coordinator: Coordinator, lease: Lease) -> None:
    await coordinator._send_req(heartbeat())

    coordinator.reset_generation()

    assert coordinator.generation == -1
    assert not lease.held
