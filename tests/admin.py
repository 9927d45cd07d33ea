"""What an administrator, a broker or time can do to topics and groups behind a worker's back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import confluent_kafka
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from stream_app.settings import Settings
from tests.broker import wait_until

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

    def shown() -> bool:
        (found,) = _finish(client.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
        return all(found[entry.name].value == entry.value for entry in entries)

    # The controller acknowledges before the broker has heard of it.
    wait_until(shown, TIMEOUT_S, f"the settings of {topic}")


# Offsets by aiokafka: confluent-kafka 2.16 writes a zero byte behind metadata and reads past their end.


def committed(settings: Settings) -> dict[At, tuple[int, str]]:
    """What the workers' group has committed: offset and metadata."""
    return asyncio.run(_committed(settings))


async def _committed(settings: Settings) -> dict[At, tuple[int, str]]:
    client = AIOKafkaAdminClient(bootstrap_servers=settings.broker)
    await client.start()
    try:
        found = await client.list_consumer_group_offsets(settings.app_id)
    finally:
        await client.close()
    return {(at.topic, at.partition): (kept.offset, kept.metadata) for at, kept in found.items()}


def commit(settings: Settings, offsets: Mapping[At, tuple[int, str]]) -> None:
    """Commit offsets with metadata for the workers' group, which must have no members."""
    asyncio.run(_commit(settings, {TopicPartition(*at): OffsetAndMetadata(*kept) for at, kept in offsets.items()}))


async def _commit(settings: Settings, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.broker, group_id=settings.app_id, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(offsets))
        await consumer.commit(dict(offsets))
    finally:
        await consumer.stop()


def delete_records(settings: Settings, topic: str, partition: int, before: int) -> None:
    """What retention does: the partition begins at the offset ``before`` from now on."""
    client = _client(settings)
    _finish(client.delete_records([confluent_kafka.TopicPartition(topic, partition, before)]))


def add_partitions(settings: Settings, topic: str, total: int) -> None:
    """Give the topic ``total`` partitions."""
    client = _client(settings)
    _finish(client.create_partitions([NewPartitions(topic, total)]))

    def there() -> int:
        return len(client.list_topics(topic, 10).topics[topic].partitions)

    wait_until(lambda: there() == total, TIMEOUT_S, "the partitions")


def _finish(futures: Mapping[Any, Any]) -> list[Any]:
    return [future.result(TIMEOUT_S) for future in futures.values()]


def _client(settings: Settings) -> AdminClient:
    """To be kept until the answers are there: they die with it."""
    return AdminClient({**settings.client_config(), "log_level": 0})
