"""Read a fetch's record batches as `Records`, many records at a time, through aiokafka's fetcher.

aiokafka makes a Python object of every record, 1.3 µs each. Its fetcher is kept for positions, errors and leaders. Its
wrapper around a partition's bytes is replaced by `FetchedPartition`, which reads them into one piece of memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from types import FunctionType, MethodType
from typing import Any

from aiokafka.client import ConnectionGroup
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException, NodeNotReadyError, UnsupportedVersionError, for_code
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.structs import TopicPartition

from core.native.records import Records
from stream_app.kafka.coverage import Coverage
from stream_app.kafka.uncompress import CODECS, TooLargeError, uncompress
from stream_app.native.batches import BatchHeader, check_crc, next_header, payload, read_records

READ_UNCOMMITTED, READ_COMMITTED = 0, 1
LATEST = -1  # instead of a time
MARKER_BYTES = 4  # of a marker's key: its version and its kind
MAX_UNCOMPRESSED_BYTES = 64 * 2**20
"""Bytes of one batch, and about the bytes of one fetch, that are held at a time: brokers limit batches by their
compressed size only, and a few KB may stand for gigabytes.
"""
RECORD_BYTES = 48  # what a record takes beside its bytes


class RawBatches:
    """A partition's part of a fetch response, unread; stands for aiokafka's ``MemoryRecords``."""

    def __init__(self, fetched: bytes) -> None:
        self.fetched = bytes(fetched)
        self._first = next_header(self.fetched, 0) if self.fetched else None

    def has_next(self) -> bool:
        """True if a whole batch is there."""
        return self._first is not None

    def size_in_bytes(self) -> int:
        """The size of everything, with a batch that was cut off."""
        return len(self.fetched)


class FetchedPartition:
    """Reads a partition's fetched batches; stands for aiokafka's ``PartitionRecords``."""

    def __init__(
        self,
        tp: TopicPartition,
        records: RawBatches,
        aborted_transactions: Collection[tuple[int, int]] | None,
        fetch_offset: int,
        key_deserializer: Any,
        value_deserializer: Any,
        check_crcs: bool,
        isolation_level: int,
    ) -> None:
        self.next_fetch_offset = fetch_offset
        """Offset at which the next fetch begins: after everything that was taken, markers included."""
        self._tp = tp
        self._fetched = records.fetched
        self._aborted = sorted(aborted_transactions or [], key=lambda transaction: transaction[1])
        self._aborted_producers: set[int] = set()
        self._check_crcs = check_crcs
        self._read_committed = isolation_level == READ_COMMITTED
        self._read: Records | None = None
        self._taken = 0
        self._end = fetch_offset

    def take(self, most: int) -> Records:
        """The next records, ``most`` at most.

        Raises:
            CorruptRecordException: a batch is not what its producer wrote.
        """
        if self._read is None:
            self._read = self._read_all()
        found = self._read[self._taken : self._taken + most]
        self._taken += len(found)
        self.next_fetch_offset = self._end if self.exhausted else found.last_offset + 1
        return found

    @property
    def exhausted(self) -> bool:
        """True if everything has been taken."""
        return self._read is not None and self._taken == len(self._read)

    def _read_all(self) -> Records:
        records, at, taken = None, 0, 0
        # What lies past the limit is skipped: the next fetch begins there.
        while taken < MAX_UNCOMPRESSED_BYTES and (header := next_header(self._fetched, at)) is not None:
            at = header.end
            if header.magic != 2:
                raise UnsupportedVersionError(
                    f"{self._tp.topic}[{self._tp.partition}] holds records of format {header.magic}, from before "
                    "Kafka 0.11: only format 2 is read"
                )
            if self._check_crcs:
                check_crc(self._fetched, header)
            if records is None:
                records = Records(self._tp.partition, header.timestamp_type)
            if self._holds_records(header) and header.records:
                body = self._uncompressed(header)
                taken += len(body) + RECORD_BYTES * header.records
                read_records(body, header, records, self.next_fetch_offset)
            self._end = max(self._end, header.next_offset)
        return Records(self._tp.partition) if records is None else records

    def _uncompressed(self, header: BatchHeader) -> bytes | memoryview:
        body = payload(self._fetched, header)
        if not header.codec:
            return body
        if header.codec not in CODECS:
            raise self._unreadable(header, f"its codec is {header.codec}")
        try:
            left = MAX_UNCOMPRESSED_BYTES - RECORD_BYTES * max(0, header.records)
            return uncompress(header.codec, bytes(body), left)
        except TooLargeError as error:
            limit = f"{MAX_UNCOMPRESSED_BYTES // 2**20} MiB"
            raise self._unreadable(header, f"its {len(body)} bytes take more than {limit} uncompressed") from error
        except Exception as error:  # each codec has errors of its own
            raise self._unreadable(header, repr(error)) from error

    def _unreadable(self, header: BatchHeader, why: str) -> CorruptRecordException:
        return CorruptRecordException(
            f"{self._tp.topic}[{self._tp.partition}]: the batch of {header.records} records at offset "
            f"{header.base_offset} cannot be read: {why}. To go on without it, stop the workers and set the group to "
            f"offset {header.next_offset} (kafka-consumer-groups.sh --reset-offsets --to-offset)"
        )

    def _holds_records(self, header: BatchHeader) -> bool:
        """True unless the batch is a marker or of an aborted transaction, as in Kafka's own consumer."""
        if self._read_committed and header.producer_id >= 0:
            while self._aborted and self._aborted[0][1] <= header.base_offset:
                self._aborted_producers.add(self._aborted.pop(0)[0])
            if header.is_control and self._ends_an_aborted_one(header):
                self._aborted_producers.discard(header.producer_id)
            if header.is_transactional and header.producer_id in self._aborted_producers:
                return False
        return not header.is_control

    def _ends_an_aborted_one(self, header: BatchHeader) -> bool:
        markers = Records(self._tp.partition)
        read_records(self._uncompressed(header), header, markers, 0)
        key = markers[0].key if len(markers) else None
        if key is None or len(key) < MARKER_BYTES:
            raise CorruptRecordException(f"{self._tp}: the marker at {header.base_offset} has the key {key!r}")
        return bool(ControlRecord.parse(key) == ABORT_MARKER)


def read_raw(fetcher: Any, batches: type[FetchedPartition] = FetchedPartition) -> None:
    """Make a consumer's fetcher keep its batches as ``batches``.

    Its method is given our classes in place of aiokafka's; other consumers of the process keep theirs.
    """
    ours = {**vars(aiokafka_fetcher), "MemoryRecords": RawBatches, "PartitionRecords": batches}
    stock = type(fetcher)._proc_fetch_request
    fetcher._proc_fetch_request = MethodType(FunctionType(stock.__code__, ours, stock.__name__), fetcher)


async def wait_for_fetched(
    fetcher: Any,
    partitions: Collection[TopicPartition],
    most: int,
    timeout_s: float,
    may_take: Callable[[], bool] = lambda: True,
    coverage: Coverage | None = None,
) -> dict[TopicPartition, Records]:
    """Return the records fetched of these partitions, as soon as there are any; nothing after ``timeout_s``.

    Args:
        fetcher: of an aiokafka consumer, after `read_raw`.
        partitions: those that are wanted.
        most: records to take.
        timeout_s: how long to wait.
        may_take: asked in the step in which records would be taken; if not, there are none, and no position moves.
        coverage: told how the positions move.

    Raises:
        KafkaError: what the broker answered instead.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        if fetcher._subscriptions.reassignment_in_progress:
            await fetcher._subscriptions.wait_for_assignment()
        if not may_take():
            return {}
        taken = take_fetched(fetcher, partitions, most, coverage)
        left = deadline - time.monotonic()
        if taken or left <= 0:
            return taken
        if not await _news(fetcher, left) or fetcher._closed:
            return {}


async def _news(fetcher: Any, timeout_s: float) -> bool:
    """Wait until something was fetched; False after ``timeout_s``. Raises what the coordinator has found, such as a
    topic that may not be read.
    """
    waiter = fetcher._create_fetch_waiter()
    late: list[bool] = []

    def give_up() -> None:
        late.append(True)
        fetcher._notify(waiter)

    timer = asyncio.get_running_loop().call_later(timeout_s, give_up)
    try:
        await waiter
    finally:
        timer.cancel()
    return not late


def is_behind(fetcher: Any, taken: Mapping[TopicPartition, Records]) -> bool:
    """True if there is more than was taken: fetched already, or in the log when it was fetched."""
    if any(partition in fetcher._records for partition in taken):
        return True
    assignment = fetcher._subscriptions.subscription.assignment
    states = (assignment.state_value(partition) for partition in taken)
    return any(state.lso is not None and state.position < state.lso for state in states)


async def high_watermarks(client: Any, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the ends of logs now, with open transactions; without partitions that have no leader now.

    aiokafka's ``end_offsets`` counts them only where uncommitted records are read, and its ``highwater`` is as old as
    the last fetch, which is not repeated while records wait to be taken.

    Raises:
        KafkaError: a broker did not answer, or refused.
    """
    by_node: dict[int, dict[str, list[tuple[int, int]]]] = {}
    for at in partitions:
        node = client.cluster.leader_for_partition(at)
        if node is not None and node >= 0:
            by_node.setdefault(node, {}).setdefault(at.topic, []).append((at.partition, LATEST))
    found = {}
    for answer in await asyncio.gather(
        *(
            client.send(node, OffsetRequest(LATEST, READ_UNCOMMITTED, list(topics.items())))
            for node, topics in by_node.items()
        )
    ):
        for topic, answered in answer.topics:
            for partition, error_code, _, offset, *_ in answered:
                if error_code:
                    raise for_code(error_code)(f"{topic}[{partition}]")
                found[TopicPartition(topic, partition)] = offset
    return found


async def partition_counts(client: Any, topics: Collection[str]) -> dict[str, int]:
    """Ask a broker how many partitions topics have now; topics that it does not know are left out.

    Over the connections of the group: on those of fetches it would wait behind the one that is under way.

    Raises:
        KafkaError: no answer.
    """
    node = client.get_random_node()
    if node is None:
        raise NodeNotReadyError("no broker is known")
    answer = await client.send(node, MetadataRequest(list(topics)), group=ConnectionGroup.COORDINATION)
    now = ClusterMetadata()
    now.update_metadata(answer)
    return {topic: len(found) for topic in topics if (found := now.partitions_for_topic(topic))}


def take_fetched(
    fetcher: Any,
    partitions: Collection[TopicPartition],
    most: int,
    coverage: Coverage | None = None,
    leave_errors: bool = False,
) -> dict[TopicPartition, Records]:
    """Return the records fetched of these partitions, at most ``most``; their positions move behind them.

    The same steps as in aiokafka's ``fetched_records``. A broker's error is raised once and is gone then, unless
    ``leave_errors`` leaves it to another call.
    """
    taken: dict[TopicPartition, Records] = {}
    for partition, result in list(fetcher._records.items()):
        if partition not in partitions:
            if not fetcher._subscriptions.is_assigned(partition):
                del fetcher._records[partition]
            continue
        if most == 0:
            break
        if type(result) is not FetchResult:
            if taken or leave_errors:
                break  # its error is raised by the next call
            _done_with(fetcher, partition)
            result.check_raise()
        elif not result.check_assignment(partition):
            _done_with(fetcher, partition)
        else:
            fetched: FetchedPartition = result._partition_records
            start = fetched.next_fetch_offset
            try:
                records = fetched.take(most)
            except Exception:
                if taken:
                    break  # the same error is raised by the next call: positions have moved behind what was taken
                raise
            result._update_position()
            if coverage is not None:
                coverage.passed(partition, start, fetched.next_fetch_offset)
            if fetched.exhausted:
                _done_with(fetcher, partition)
            if len(records):
                taken[partition] = records
                most -= len(records)
    return taken


def _done_with(fetcher: Any, partition: TopicPartition) -> None:
    """The partition may be fetched again."""
    del fetcher._records[partition]
    fetcher._notify(fetcher._wait_consume_future)
