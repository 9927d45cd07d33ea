"""The member that assigns the group's partitions says which topics it does not see: their partitions have no worker."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust import App

from stream_app.kafka.assignor import LoudAssignor
from stream_app.settings import Settings
from stream_app.worker.build import build_app
from tests.own_tasks import write_task


def assigned(seen: dict[str, int], *subscriptions: list[str]) -> dict[str, list[tuple[str, list[int]]]]:
    """What members get of topics of which the assigning one sees these, with so many partitions."""
    assignor = LoudAssignor(App("test", broker="memory://", store="memory://"))
    cluster: Any = SimpleNamespace(
        partitions_for_topic=lambda topic: set(range(seen[topic])) if topic in seen else None
    )
    user_data = assignor.metadata(set()).user_data
    members = {
        f"member-{number}": ConsumerProtocolMemberMetadata(0, topics, user_data)
        for number, topics in enumerate(subscriptions)
    }
    return {member: found.assignment for member, found in assignor.assign(cluster, members).items()}


def test_a_topic_that_it_does_not_see_is_named_and_the_others_are_assigned(caplog: pytest.LogCaptureFixture) -> None:
    found = assigned({"signal-samples": 2}, ["signal-samples"], ["signal-samples", "pump-samples"])

    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error.getMessage().startswith("nobody processes pump-samples: ")
    assert "topics permissions" in error.getMessage()
    assert sorted(number for topics in found.values() for _, numbers in topics for number in numbers) == [0, 1]


def test_without_such_a_topic_it_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    found = assigned({"signal-samples": 2, "pump-samples": 1}, ["signal-samples"], ["signal-samples", "pump-samples"])

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert ("pump-samples", [0]) in found["member-1"]


def test_a_worker_assigns_in_this_way(settings: Settings, tmp_path: Any) -> None:
    app = build_app(settings.replace(tasks=str(write_task(tmp_path, "press"))))

    assert isinstance(app.assignor, LoudAssignor)
