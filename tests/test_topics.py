"""The topics on the real broker: made once, described as they are, refused when they do not fit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from core.errors import StartupError
from stream_app.clients.admin import Cluster
from stream_app.local.broker import free_port
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics, describe_topics, reset_state, topic_ids
from stream_app.topics.checks import check_topics
from stream_app.topics.plans import CHANGELOG_CONFIG, create_command, planned_topics
from tests.broker import Received, ToSend, consume_all, consume_until, produce, wait_until

pytestmark = pytest.mark.kafka

SOURCES = ["signal-samples", "casting-samples"]
OUTPUTS = ["signal-predictions", "casting-scores", "dead-letters"]
TABLES = ["signal-states", "casting-windows"]


def test_create_makes_every_topic_with_its_settings(settings: Settings) -> None:
    topics = {topic.name: topic for topic in describe_topics(settings)}

    assert set(topics) == {settings.topic(name) for name in SOURCES + OUTPUTS} | {
        settings.changelog(table) for table in TABLES
    }
    assert {topic.partitions for topic in topics.values()} == {4}
    for name in SOURCES + OUTPUTS:
        config = topics[settings.topic(name)].config
        assert config["message.timestamp.type"] == "LogAppendTime"
        assert config["cleanup.policy"] == "delete"
    for table in TABLES:
        assert CHANGELOG_CONFIG.items() <= topics[settings.changelog(table)].config.items()


def test_create_leaves_the_topics_that_are_there(settings: Settings) -> None:
    before = topic_ids(settings, Cluster(settings))
    Cluster(settings).delete([settings.topic("dead-letters")])

    assert create_topics(settings) == [settings.topic("dead-letters")]
    after = topic_ids(settings, Cluster(settings))
    assert {name for name in before if before[name] != after[name]} == {settings.topic("dead-letters")}
    assert create_topics(settings) == []


def test_create_names_topics_with_another_partition_count_and_makes_none(settings: Settings) -> None:
    Cluster(settings).delete([settings.topic("dead-letters")])

    with pytest.raises(StartupError, match=rf"{settings.topic('signal-samples')} has 4.*--partitions"):
        create_topics(settings.replace(partitions=5))

    assert settings.topic("dead-letters") not in topic_ids(settings, Cluster(settings))


def test_dead_letters_have_as_many_partitions_as_the_largest_source() -> None:
    settings = Settings(partitions=2)

    plans = {plan.name: plan.partitions for plan in planned_topics(settings, {"signal-samples": 3})}

    assert plans["signal-samples"] == plans["signal-predictions"] == plans["caststream-signal-states-changelog"] == 3
    assert plans["casting-samples"] == 2
    assert plans["dead-letters"] == 3


def test_the_check_names_all_missing_topics_and_the_command(settings: Settings) -> None:
    missing = [settings.topic("casting-scores"), settings.changelog("signal-states")]
    Cluster(settings).delete(missing)

    with pytest.raises(StartupError) as caught:
        check_topics(settings, Cluster(settings))

    assert all(name in str(caught.value) for name in missing)
    assert settings.topic("signal-samples") not in str(caught.value)
    assert create_command(settings) in str(caught.value)
    assert f"--app-id {settings.app_id}" in create_command(settings)


def test_the_check_gives_partitions_ids_and_settings_of_two_questions(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each further one is a way to the broker and back, at every start and every rebalance."""
    cluster, asked = Cluster(settings), []
    for name in ("describe_topics", "describe_configs"):
        ask = getattr(cluster._admin, name)

        def counted(*arguments: Any, ask: Any = ask, name: str = name, **named: Any) -> Any:
            asked.append(name)
            return ask(*arguments, **named)

        monkeypatch.setattr(cluster._admin, name, counted)

    found = check_topics(settings, cluster)

    assert asked == ["describe_topics", "describe_configs"]
    assert found.partitions == {settings.topic(name): 4 for name in SOURCES}
    assert found.ids == topic_ids(settings, Cluster(settings))
    assert found.configs.keys() == found.ids.keys()
    assert found.configs[settings.changelog("signal-states")]["cleanup.policy"] == "compact"


@pytest.mark.parametrize("name", ["output", "changelog"])
def test_the_check_refuses_partition_counts_that_differ(settings: Settings, name: str) -> None:
    full_name = settings.topic("signal-predictions") if name == "output" else settings.changelog("signal-states")
    cluster = Cluster(settings)
    cluster.delete([full_name])
    cluster.create({full_name: 3}, 1, {full_name: {"cleanup.policy": "compact"}})

    with pytest.raises(StartupError, match=f"{full_name} has 3 partitions and its source 4"):
        check_topics(settings, Cluster(settings))


def test_the_check_refuses_a_changelog_that_forgets(settings: Settings) -> None:
    name = settings.changelog("casting-windows")
    cluster = Cluster(settings)
    cluster.delete([name])
    cluster.create({name: 4}, 1, {name: {"cleanup.policy": "delete"}})

    with pytest.raises(StartupError, match=f"{name} has cleanup.policy=delete"):
        check_topics(settings, Cluster(settings))


def test_describe_counts_records_and_shows_what_is_missing(settings: Settings) -> None:
    produce(settings, settings.topic("signal-samples"), [ToSend("a", {"x": i}) for i in range(7)])
    Cluster(settings).delete([settings.topic("dead-letters")])

    topics = {topic.name: topic for topic in describe_topics(settings)}

    assert topics[settings.topic("signal-samples")].records == 7
    assert topics[settings.topic("signal-samples")].replication_factor == 1
    assert topics[settings.topic("casting-samples")].records == 0
    assert topics[settings.topic("dead-letters")].partitions == 0


def test_reset_state_empties_the_changelogs_and_keeps_the_rest(settings: Settings) -> None:
    changelog = settings.changelog("signal-states")
    produce(settings, changelog, [ToSend("a", b"state", partition=2)])
    produce(settings, settings.topic("signal-samples"), [ToSend("a", b"{}")])
    before = topic_ids(settings, Cluster(settings))

    assert set(reset_state(settings)) == {settings.changelog(table) for table in TABLES}

    after = topic_ids(settings, Cluster(settings))
    assert {name for name in before if before[name] != after[name]} == {settings.changelog(table) for table in TABLES}
    assert [record for record in consume_all(settings, changelog) if record.value is not None] == []
    assert len(consume_all(settings, settings.topic("signal-samples"))) == 1
    check_topics(settings, Cluster(settings))


def test_reset_state_deletes_the_offsets_that_belong_to_the_states(settings: Settings) -> None:
    at = TopicPartition(settings.topic("signal-samples"), 1, 5)
    consumer = Consumer({**settings.client_config(), "group.id": settings.app_id})
    wait_until(lambda: not consumer.commit(offsets=[at], asynchronous=False)[0].error, what="a committed offset")

    reset_state(settings)

    assert consumer.committed([at], 10)[0].offset == OFFSET_INVALID
    consumer.close()


def test_reset_state_refuses_while_workers_run(settings: Settings) -> None:
    before = topic_ids(settings, Cluster(settings))
    consumer = Consumer({**settings.client_config(), "group.id": settings.app_id})
    consumer.subscribe([settings.topic("signal-samples")])
    wait_until(lambda: consumer.poll(0.1) is None and consumer.assignment(), what="an assignment")

    with pytest.raises(StartupError, match=f"group {settings.app_id} has 1 running members"):
        reset_state(settings)

    consumer.close()
    assert topic_ids(settings, Cluster(settings)) == before


def test_no_broker_is_one_line_with_address_and_remedy() -> None:
    address = f"127.0.0.1:{free_port()}"

    with pytest.raises(StartupError) as caught:
        check_topics(Settings(broker=address), Cluster(Settings(broker=address), 0.5))

    assert f"no Kafka broker answers on {address} within 0.5 s" in str(caught.value)
    assert "caststream broker" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_helpers_give_back_what_was_sent(settings: Settings) -> None:
    topic = settings.topic("casting-samples")

    places = produce(
        settings,
        topic,
        [
            ToSend("a", {"x": 1}, partition=1),
            ToSend(b"\xff", b"raw", headers=[("h", b"1")], partition=1),
            ToSend(None, None, partition=0),
        ],
    )

    assert places == [(1, 0), (1, 1), (0, 0)]
    last, first, second = consume_all(settings, topic)
    assert (first.key, first.json) == (b"a", {"x": 1})
    assert (second.key, second.value, second.header("h")) == (b"\xff", b"raw", b"1")
    assert (last.key, last.value, last.partition) == (None, None, 0)
    assert consume_until(settings, topic, 3)
    with pytest.raises(AssertionError, match="read 3 records"):
        consume_until(settings, topic, 4, deadline=0.5)


def test_reading_until_enough_goes_on_while_records_arrive(settings: Settings) -> None:
    topic = settings.topic("signal-predictions")
    found: list[Received] = []
    enough: Callable[[list[Received]], bool] = lambda records: any(record.key == b"last" for record in records)  # noqa: E731
    reader = threading.Thread(target=lambda: found.extend(consume_until(settings, topic, enough)))
    reader.start()

    # One partition: between two of them there is no order in which a reader sees records.
    produce(settings, topic, [ToSend("a", b"1", partition=0), ToSend("last", b"2", partition=0)])
    reader.join()

    assert {record.key for record in found} == {b"a", b"last"}


def test_a_reset_keeps_the_number_of_copies(settings: Settings) -> None:
    """One broker holds one copy: with the setting's three the topics could not be made."""
    reset_state(settings.replace(replication_factor=3))

    copies = {topic.name: topic.replication_factor for topic in describe_topics(settings)}
    assert copies[settings.changelog("signal-states")] == 1


@pytest.mark.parametrize("said", [KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.NOT_LEADER_FOR_PARTITION])
def test_offsets_of_a_topic_that_is_only_just_set_up_are_asked_for_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, said: int
) -> None:
    cluster, name = Cluster(settings), settings.topic("signal-samples")
    answer = cluster._admin.list_offsets
    calls = 0

    def list_offsets(asked: dict[TopicPartition, OffsetSpec], **options: Any) -> dict[TopicPartition, Any]:
        nonlocal calls
        calls += 1
        if calls > 1:
            return answer(asked, **options)
        refused: Future[None] = Future()
        refused.set_exception(KafkaException(KafkaError(said)))
        return dict.fromkeys(asked, refused)

    monkeypatch.setattr(cluster, "_admin", SimpleNamespace(list_offsets=list_offsets))

    assert cluster.offsets({name: settings.partitions}) == {name: 0}
    assert calls > 2  # the ends at least twice, then the starts
