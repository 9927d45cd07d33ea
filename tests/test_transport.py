"""What the driver asks the broker between two fetches."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

from aiokafka.structs import TopicPartition

from stream_app.transport import ConsumerService

KEPT, REVOKED = TopicPartition("source", 0), TopicPartition("source", 1)


class RevokedMeanwhile:
    """aiokafka's consumer, as far as it is asked here; while the ends are on their way a partition is revoked."""

    def __init__(self) -> None:
        self.assigned = {KEPT, REVOKED}

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        self.assigned = {KEPT}
        return dict.fromkeys(partitions, 7)

    def highwater(self, partition: TopicPartition) -> int:
        assert partition in self.assigned, "Partition is not assigned"
        return 7

    async def position(self, partition: TopicPartition) -> int:
        return 7


async def test_a_partition_that_is_revoked_while_the_ends_are_asked_for_is_left_out() -> None:
    consumer = RevokedMeanwhile()
    service: Any = SimpleNamespace(_ensure_consumer=lambda: consumer, handed={KEPT: 6, REVOKED: 6})

    assert await ConsumerService.read_to_end(service, [REVOKED, KEPT]) == {KEPT: 6}
