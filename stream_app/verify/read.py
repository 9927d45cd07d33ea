"""Topics read by a plain client: no group, committed records only, from one offset up to another."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError as AioKafkaError
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from core.errors import RunError, StartupError, UnreachableError
from stream_app.security import aiokafka_config
from stream_app.settings import Settings

CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 30.0
# A transaction that is not complete hides what stands behind it. A worker that was killed in one leaves it open until
# its successor, or the broker after a minute, aborts it.
STALLED_S = 90.0
AT_ONCE = 10_000

Source = tuple[str, int]


class LogReader:
    """Reads partitions, one at a time.

    Args:
        settings: where the broker is.
        on_read: called with the number of offsets passed, as they are.

    Raises:
        UnreachableError: no broker answers.
    """

    def __init__(self, settings: Settings, on_read: Callable[[int], None] = lambda count: None) -> None:
        self._settings = settings
        self._on_read = on_read
        own = {
            "group.id": f"caststream-verify-{uuid.uuid4().hex[:8]}",  # asked for by the library; it never joins
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
            "queued.max.messages.kbytes": 64 * 1024,
            "log_level": 0,
        }
        config = {**settings.client_config(), **own}
        self._consumer = Consumer({**config, "isolation.level": "read_committed"})
        # Asks where logs end, open transactions included.
        self._uncommitted = Consumer({**config, "isolation.level": "read_uncommitted"})
        try:
            self.partitions = {
                name: len(topic.partitions)
                for name, topic in self._consumer.list_topics(timeout=CONNECT_TIMEOUT_S).topics.items()
            }
        except KafkaException as error:
            self.close()
            raise UnreachableError(f"no Kafka broker answers on {settings.broker}: {_words(error)}") from error

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
        self._uncommitted.close()

    def range(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset, and the one after the last record that is not behind an open transaction."""
        return self._watermarks(self._consumer, topic, partition)

    def full_range(self, topic: str, partition: int) -> tuple[int, int]:
        """The same with what stands behind open transactions: when it is read, they must have come to an end."""
        return self._watermarks(self._uncommitted, topic, partition)

    def _watermarks(self, consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
        if partition >= self.partitions.get(topic, 0):
            return 0, 0
        at = TopicPartition(topic, partition)
        with _reading(topic):
            low, high = consumer.get_watermark_offsets(at, timeout=REQUEST_TIMEOUT_S)
        return low, high

    def offset_at(self, topic: str, partition: int, time_ms: int, otherwise: int) -> int:
        """The first record at or after a time; ``otherwise`` where there is none."""
        if partition >= self.partitions.get(topic, 0):
            return otherwise
        with _reading(topic):
            (found,) = self._consumer.offsets_for_times(
                [TopicPartition(topic, partition, max(0, time_ms))], timeout=REQUEST_TIMEOUT_S
            )
        return found.offset if found.offset >= 0 else otherwise

    def first(self, topic: str, partition: int, start: int, end: int) -> Message | None:
        """The first record of a range."""
        return next(self.read(topic, partition, start, end), None)

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Message]:
        """The records of ``[start, end)``, in order.

        Raises:
            RunError: the broker fails, a transaction stays open, or retention deletes what is to be read.
        """
        if start >= end:
            return
        with _reading(topic):
            self._consumer.assign([TopicPartition(topic, partition, start)])
            at, heard = start, time.monotonic()
            while at < end:
                for message in self._consumer.consume(min(AT_ONCE, end - at), timeout=0.1):
                    reached = self._reached(message, at)
                    if message.error() is None and reached <= end:
                        yield message
                    if reached > at:
                        heard = time.monotonic()
                        self._on_read(min(reached, end) - at)
                        at = reached
                    if at >= end:
                        break
                if time.monotonic() - heard > STALLED_S:
                    raise RunError(
                        f"{topic}[{partition}]: nothing can be read behind offset {at}: a transaction has been open "
                        f"for {STALLED_S:g} s"
                    )

    @staticmethod
    def _reached(message: Message, at: int) -> int:
        """The offset after what a message stands for."""
        error = message.error()
        if error is None:
            return int(message.offset() or 0) + 1
        if error.code() == KafkaError._PARTITION_EOF:
            return int(message.offset() or 0)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise RunError(
                f"{message.topic()}[{message.partition()}]: offset {at} is gone: retention deleted it, or the topic "
                "was made anew; verify again"
            )
        if error.fatal() or not error.retriable():
            raise RunError(f"reading {message.topic()} failed: {error.str()}")
        return at


@contextmanager
def _reading(topic: str) -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise RunError(f"cannot read {topic}: {_words(error)}") from error


def _words(error: KafkaException) -> str:
    found = error.args[0]
    return re.sub(r" \(after .*\)$", "", str(found.str() if hasattr(found, "str") else found))


def committed_offsets(settings: Settings) -> dict[Source, int]:
    """What the workers' group has committed, by topic and partition. Nobody joins the group.

    By aiokafka: confluent-kafka 2.16 reads past the end of the metadata that stand beside the offsets.

    Raises:
        StartupError: the broker does not tell.
    """
    try:
        return asyncio.run(_committed_offsets(settings))
    except (AioKafkaError, OSError) as error:
        raise StartupError(f"cannot read the offsets of group {settings.app_id}: {error!r}") from error


async def _committed_offsets(settings: Settings) -> dict[Source, int]:
    client = AIOKafkaAdminClient(**aiokafka_config(settings))
    await client.start()
    try:
        found = await client.list_consumer_group_offsets(settings.app_id)
    finally:
        await client.close()
    return {(at.topic, at.partition): kept.offset for at, kept in found.items()}
