"""The committed offsets of the workers' group: read them, and set them while it has no members. Nobody joins it.

By aiokafka: confluent-kafka 2.16 reads past the end of the metadata that stand beside the offsets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from core.errors import StartupError, UnreachableError
from stream_app.clients.security import aiokafka_config
from stream_app.routes import Partition
from stream_app.settings import Settings

TIMEOUT_S = 30.0


def committed_offsets(settings: Settings) -> dict[Partition, int]:
    """Ask for the offsets that the group has committed. Must not be called where an event loop runs.

    Raises:
        StartupError: the broker refuses to tell.
        UnreachableError: it does not answer.
    """
    found = visible_offsets(settings)
    if found is None:
        raise StartupError(
            f"cannot read the offsets of group {settings.app_id}: our user lacks the permission to Describe it"
        )
    return found


def visible_offsets(settings: Settings) -> dict[Partition, int] | None:
    """Return the committed offsets; None if we lack the permission. Raises as `visible_commits`."""
    found = visible_commits(settings)
    return None if found is None else {at: kept.offset for at, kept in found.items()}


def commit(settings: Settings, commits: Mapping[Partition, OffsetAndMetadata]) -> None:
    """Commit offsets for a group that has no members. Must not be called where an event loop runs.

    Raises:
        KafkaError: the broker takes none.
    """
    asyncio.run(_commit(settings, {TopicPartition(*at): one for at, one in commits.items()}))


async def _commit(settings: Settings, commits: dict[TopicPartition, OffsetAndMetadata]) -> None:
    consumer = AIOKafkaConsumer(group_id=settings.app_id, enable_auto_commit=False, **aiokafka_config(settings))
    await consumer.start()
    try:
        consumer.assign(list(commits))
        await consumer.commit(commits)
    finally:
        await consumer.stop()


def visible_commits(settings: Settings) -> dict[Partition, OffsetAndMetadata] | None:
    """Return the committed offsets with their metadata; None if we lack the permission.

    Raises:
        StartupError: the broker refuses for another reason.
        UnreachableError: it does not answer.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return asyncio.run(_ask(settings))
        except GroupAuthorizationFailedError:
            return None
        except (KafkaError, OSError) as error:
            # A broker that has only just come up has no coordinator yet.
            what = f"cannot read the offsets of group {settings.app_id}: {error!r}"
            if isinstance(error, KafkaError) and not error.retriable:
                raise StartupError(what) from error
            if time.monotonic() > deadline:
                raise UnreachableError(what) from error
        time.sleep(0.1)


async def _ask(settings: Settings) -> dict[Partition, OffsetAndMetadata]:
    client = AIOKafkaAdminClient(**aiokafka_config(settings))
    try:
        await client.start()
        found = await client.list_consumer_group_offsets(settings.app_id)
    finally:
        await client.close()
    return {(at.topic, at.partition): kept for at, kept in found.items()}
