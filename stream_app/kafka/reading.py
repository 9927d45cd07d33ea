"""Read parts of topics from one offset to another: changelogs, and the outputs of a former owner."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping

import aiokafka
from aiokafka.structs import TopicPartition

from core.native.records import Records
from stream_app.clients.security import aiokafka_config
from stream_app.kafka.fetching import FetchedPartition, read_raw, wait_for_fetched
from stream_app.settings import Settings

log = logging.getLogger(__name__)

PROGRESS_S = 2.0
FETCH_TIMEOUT_S = 0.2
RECORDS_AT_ONCE = 5_000  # of 1 KiB: some 5 ms of work between two looks at the loop

Ends = dict[TopicPartition, int]


class Reading:
    """A consumer without a group, for as long as the context is open.

    Args:
        settings: where the broker is.
        what: for the log, such as "changelog records".
        committed: leave out what stands behind a transaction that is not complete, and what an aborted one has written.
        batches: how fetched batches are read.
    """

    def __init__(
        self,
        settings: Settings,
        what: str,
        committed: bool = True,
        batches: type[FetchedPartition] = FetchedPartition,
    ) -> None:
        self._what = what
        self._batches = batches
        self._consumer = aiokafka.AIOKafkaConsumer(
            isolation_level="read_committed" if committed else "read_uncommitted",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **aiokafka_config(settings),
        )

    async def __aenter__(self) -> Reading:
        await self._consumer.start()
        read_raw(self._consumer._fetcher, self._batches)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def ends(self, partitions: Collection[TopicPartition]) -> Ends:
        """Return the ends of partitions. Ask before the first fetch: behind one that waits for records, on the same
        connection, it takes 0.5 s.
        """
        await self._know(partitions)
        found: Ends = await self._consumer.end_offsets(list(partitions))
        return found

    async def beginnings(self, partitions: Collection[TopicPartition]) -> Ends:
        """The first offset that the broker still holds, per partition."""
        await self._know(partitions)
        found: Ends = await self._consumer.beginning_offsets(list(partitions))
        return found

    async def _know(self, partitions: Collection[TopicPartition]) -> None:
        """Ask for the leaders of all topics at once. aiokafka would ask for one after the other, 0.1 s for each."""
        client = self._consumer._client
        await client.set_topics(client._topics.union(at.topic for at in partitions))

    async def read(
        self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncIterator[tuple[TopicPartition, Records]]:
        """The records of each partition from its start, or from its first record if that is gone, up to its end."""
        left = {partition for partition, start in starts.items() if start < ends[partition]}
        if not left:
            return
        self._consumer.assign(list(left))
        for partition in left:
            self._consumer.seek(partition, starts[partition])
        count, reported = 0, time.monotonic()
        while True:
            # By position, not by record: the last offsets may be transaction markers or compacted away.
            left = {partition for partition in left if await self._consumer.position(partition) < ends[partition]}
            if not left:
                return
            fetched = await wait_for_fetched(self._consumer._fetcher, left, RECORDS_AT_ONCE, FETCH_TIMEOUT_S)
            for partition, records in fetched.items():
                count += len(records)
                yield partition, records
            if time.monotonic() - reported > PROGRESS_S:
                reported = time.monotonic()
                log.info("recovering: %d %s read, %d partitions to go", count, self._what, len(left))
