"""The member that assigns the group's partitions says which topics it does not see: their partitions have no worker."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocol, ConsumerProtocolMemberMetadata
from faust import App
from faust.assignor import PartitionAssignor

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


# Groups of many workers, and of workers of different versions.

TOPICS = {"signal-samples": 1000, "caststream-signal-states-changelog": 1000}
BROKERS_LIMIT = 1_048_588  # max.message.bytes of Kafka's topic of offsets: a group is one record in it


def member(kind: type[PartitionAssignor], number: int) -> Any:
    """An assignor of a worker on a host of its own."""
    host = f"http://caststream-6d4cf56db6-{number:05d}:6066"
    return kind(App("test", broker="memory://", store="memory://", canonical_url=host, web_enabled=False))


def balance(group: dict[str, Any], leader: Any, topics: dict[str, int] = TOPICS) -> dict[str, set[int]]:
    """Rebalance as the members of a group do it, over the wire; the source partitions of each."""
    cluster: Any = SimpleNamespace(partitions_for_topic=lambda topic: set(range(topics[topic])))
    said = {name: decoded(ConsumerProtocol.METADATA, one.metadata(set(topics))) for name, one in group.items()}
    given = leader.assign(cluster, said)
    for name, one in group.items():
        one.on_assignment(decoded(ConsumerProtocol.ASSIGNMENT, given[name]))
    return {name: set(dict(found.assignment).get("signal-samples", ())) for name, found in given.items()}


def decoded(kind: Any, message: Any) -> Any:
    """The message as the broker hands it on."""
    return kind.decode(message.encode())


def test_the_record_of_a_group_of_250_over_1000_partitions_is_far_below_the_broker_s_limit() -> None:
    group = {f"member-{number}": member(LoudAssignor, number) for number in range(250)}
    leader = group["member-0"]
    balance(group, leader)

    cluster: Any = SimpleNamespace(partitions_for_topic=lambda topic: set(range(TOPICS[topic])))
    said = {name: one.metadata(set(TOPICS)) for name, one in group.items()}
    given = leader.assign(cluster, said)

    assert sum(len(said[name].encode()) + len(given[name].encode()) for name in group) < BROKERS_LIMIT / 4


def test_a_worker_does_not_hand_on_what_an_older_one_has_told_it_of_others() -> None:
    group = {"old": member(PartitionAssignor, 0), "new": member(LoudAssignor, 1)}
    balance(group, group["old"])

    assert group["new"].external_topic_distribution
    assert not group["new"]._metadata.external_topic_distribution
    assert not group["new"]._metadata.changelog_distribution


@pytest.mark.parametrize("leads", ["old", "new"])
def test_workers_of_an_older_version_and_of_this_one_share_a_group(leads: str) -> None:
    group = {
        "old": member(PartitionAssignor, 0),
        "new": member(LoudAssignor, 1),
        "another": member(LoudAssignor, 2),
    }
    first = balance(group, group[leads])
    again = balance(group, group[leads])
    without = balance({name: one for name, one in group.items() if name != "another"}, group[leads])

    assert [len(mine) for mine in first.values()] == [len(mine) for mine in again.values()]
    for shares in (first, again, without):
        assert sorted(at for mine in shares.values() for at in mine) == list(range(1000))
    assert first["old"] <= without["old"]
    assert first["new"] <= without["new"]


def test_a_partition_of_a_source_and_of_its_changelog_go_to_the_same_worker() -> None:
    cluster: Any = SimpleNamespace(partitions_for_topic=lambda topic: set(range(TOPICS[topic])))
    group = {f"member-{number}": member(LoudAssignor, number) for number in range(3)}

    given = group["member-0"].assign(cluster, {name: one.metadata(set(TOPICS)) for name, one in group.items()})

    for found in given.values():
        source, changelog = (dict(found.assignment)[topic] for topic in TOPICS)
        assert source == changelog


def test_a_rebalance_that_divides_unevenly_moves_no_partition_of_those_that_stay() -> None:
    group = {f"member-{number}": member(LoudAssignor, number) for number in range(30)}
    before = balance(group, group["member-0"])
    group.popitem()

    after = balance(group, group["member-0"])

    assert all(before[name] <= mine for name, mine in after.items())
