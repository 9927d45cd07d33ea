"""What an administrator, a broker or time can do to topics and groups behind a worker's back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from stream_app.settings import Settings

TIMEOUT_S = 30.0

At = tuple[str, int]
"""Full topic name and partition."""


def alter_topic(settings: Settings, topic: str, **config: str) -> None:
    """Change settings of the topic of this full name; underscores stand for dots."""
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    client = _client(settings)
    _finish(client.incremental_alter_configs([resource]))


def committed(settings: Settings) -> dict[At, tuple[int, str]]:
    """What the workers' group has committed: offset and metadata."""
    client = _client(settings)
    (found,) = _finish(client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(settings.app_id)]))
    return {(at.topic, at.partition): (at.offset, at.metadata or "") for at in found.topic_partitions or []}


def commit(settings: Settings, offsets: Mapping[At, tuple[int, str]]) -> None:
    """Commit offsets with metadata for the workers' group, which must have no members."""
    partitions = [
        TopicPartition(topic, partition, offset, metadata) for (topic, partition), (offset, metadata) in offsets.items()
    ]
    request = ConsumerGroupTopicPartitions(settings.app_id, partitions)
    client = _client(settings)
    (done,) = _finish(client.alter_consumer_group_offsets([request]))
    for at in done.topic_partitions:
        assert at.error is None, at


def delete_group(settings: Settings) -> None:
    """Forget the workers' group with all it has committed."""
    client = _client(settings)
    _finish(client.delete_consumer_groups([settings.app_id]))


def delete_records(settings: Settings, topic: str, partition: int, before: int) -> None:
    """What retention does: the partition begins at the offset ``before`` from now on."""
    client = _client(settings)
    _finish(client.delete_records([TopicPartition(topic, partition, before)]))


def add_partitions(settings: Settings, topic: str, total: int) -> None:
    """Give the topic ``total`` partitions."""
    client = _client(settings)
    _finish(client.create_partitions([NewPartitions(topic, total)]))


def _finish(futures: Mapping[Any, Any]) -> list[Any]:
    return [future.result(TIMEOUT_S) for future in futures.values()]


def _client(settings: Settings) -> AdminClient:
    """To be kept until the answers are there: they die with it."""
    return AdminClient({**settings.client_config(), "log_level": 0})
