"""Whose a changelog and a group are: two deployments with one application id never share them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.errors import StartupError
from stream_app.clients.admin import Cluster
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics, reset_state, topic_ids
from stream_app.topics.checks import check_topics
from stream_app.topics.ownership import CLAIM, check_owner, claim, owner_in
from tests.admin import alter_topic, commit, committed
from tests.broker import ToSend, consume_all, produce

pytestmark = pytest.mark.kafka

SOURCE = "signal-samples"


def neighbour(settings: Settings) -> Settings:
    """Another deployment that differs in its prefix alone."""
    return settings.replace(topic_prefix=f"other-{settings.topic_prefix}")


def unclaimed(settings: Settings) -> None:
    """The changelogs as an earlier version has made them."""
    cluster = Cluster(settings)
    names = [settings.changelog(table) for table in ("signal-states", "casting-windows")]
    cluster.delete(names)
    cluster.create(dict.fromkeys(names, 4), 1, {name: {"cleanup.policy": "compact"} for name in names})


def leave_state(settings: Settings, source: str | None, partition: int = 1) -> None:
    headers = [("source-offset", b"5"), *([("source-topic", source.encode())] if source else [])]
    produce(settings, settings.changelog("signal-states"), [ToSend("s", b"state", headers, partition)])


def test_create_of_another_deployment_refuses_before_there_is_any_state(settings: Settings) -> None:
    with pytest.raises(StartupError, match=rf"app_id.*belongs.*{settings.topic(SOURCE)}.*--app-id") as caught:
        create_topics(neighbour(settings))

    assert neighbour(settings).topic(SOURCE) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert neighbour(settings).topic(SOURCE) not in topic_ids(neighbour(settings), Cluster(neighbour(settings)))


@pytest.mark.parametrize("refuse", [check_owner, claim])
def test_states_of_another_source_are_never_taken(settings: Settings, refuse: Callable[..., None]) -> None:
    unclaimed(settings)
    leave_state(settings, neighbour(settings).topic(SOURCE))

    with pytest.raises(StartupError, match=f"belongs to the deployment of {neighbour(settings).topic(SOURCE)}"):
        refuse(settings, Cluster(settings))


def test_states_count_more_than_claims(settings: Settings) -> None:
    """A claim that lost stays in the log, and compaction may have taken the one that won."""
    unclaimed(settings)
    claim(neighbour(settings), Cluster(settings))
    leave_state(settings, settings.topic(SOURCE))
    leave = [("source-offset", b"5"), ("source-topic", settings.topic("casting-samples").encode())]
    produce(settings, settings.changelog("casting-windows"), [ToSend("s", b"state", leave, 3)])

    check_owner(settings, Cluster(settings))


def test_of_two_claims_the_first_counts(settings: Settings) -> None:
    unclaimed(settings)
    other = neighbour(settings)
    claim(other, Cluster(settings))

    with pytest.raises(StartupError, match="belongs to the deployment of"):
        claim(settings, Cluster(settings))
    claim(other, Cluster(settings))

    found = consume_all(settings, settings.changelog("signal-states"))
    assert [record.key for record in found] == [CLAIM + other.topic(SOURCE).encode()]


def test_changelogs_of_an_earlier_version_belong_to_whom_the_group_knows(settings: Settings) -> None:
    unclaimed(settings)
    leave_state(settings, None)
    other = neighbour(settings)
    Cluster(settings).create({other.topic(SOURCE): 4}, 1, {other.topic(SOURCE): {}})
    commit(settings, {(other.topic(SOURCE), 1): (6, "")})

    with pytest.raises(StartupError, match=f"holds offsets for {other.topic(SOURCE)}"):
        claim(settings, Cluster(settings))


def test_an_earlier_versions_deployment_goes_on_without_a_step(settings: Settings) -> None:
    unclaimed(settings)
    leave_state(settings, None)
    commit(settings, {(settings.topic(SOURCE), 1): (6, "")})

    claim(settings, Cluster(settings))

    with pytest.raises(StartupError, match="belongs to the deployment of"):
        create_topics(neighbour(settings))


def test_reset_state_of_another_deployment_deletes_nothing(settings: Settings) -> None:
    leave_state(settings, settings.topic(SOURCE))
    commit(settings, {(settings.topic(SOURCE), 1): (6, "")})
    before = topic_ids(settings, Cluster(settings))

    with pytest.raises(StartupError, match="belongs to the deployment of"):
        reset_state(neighbour(settings))

    assert topic_ids(settings, Cluster(settings)) == before
    assert committed(settings)[settings.topic(SOURCE), 1][0] == 6


def test_reset_state_gives_up_what_deleted_topics_have_left(settings: Settings) -> None:
    """Whoever has renamed the topics keeps the application id if he wants to."""
    leave_state(settings, settings.topic(SOURCE))
    renamed = neighbour(settings)
    Cluster(settings).delete([settings.topic(name) for name in (SOURCE, "casting-samples")])
    with pytest.raises(StartupError, match="is gone, `caststream topics reset-state` gives its states up"):
        create_topics(renamed)

    reset_state(renamed)

    create_topics(renamed)
    with pytest.raises(StartupError, match="belongs to the deployment of"):
        create_topics(settings)


def test_a_source_made_anew_keeps_its_changelog(settings: Settings) -> None:
    Cluster(settings).delete([settings.topic(SOURCE)])

    create_topics(settings)

    check_owner(settings, Cluster(settings))


@pytest.mark.parametrize("name", ["signal-samples", "casting-scores", "dead-letters"])
def test_a_topic_that_is_compacted_is_refused(settings: Settings, name: str) -> None:
    alter_topic(settings, settings.topic(name), cleanup_policy="compact,delete")

    with pytest.raises(StartupError, match=rf"{settings.topic(name)} has cleanup.policy=.*set it to delete"):
        check_topics(settings, Cluster(settings))


def test_no_record_has_no_owner() -> None:
    assert owner_in([]) == (None, False)
