"""Topics read by a plain client: no group, committed records only, from one offset up to another."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from core.errors import RunError, UnreachableError
from stream_app.clients.outages import NOT_YET, OUTAGES, run_failure, words
from stream_app.settings import Settings

CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 30.0
# A transaction that is not complete hides what stands behind it. A worker that was killed in one leaves it open until
# its successor, or the broker after a minute, aborts it.
STALLED_S = 90.0
AT_ONCE = 10_000

# What a client hears while a broker restarts, or a topic has just been made.
PASSING = NOT_YET | OUTAGES


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
            raise UnreachableError(
                f"no Kafka broker answers on {settings.broker} within {CONNECT_TIMEOUT_S:g} s: {words(error.args[0])}"
            ) from error

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection to the broker."""
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
        low, high = _patiently(topic, lambda: consumer.get_watermark_offsets(at, timeout=REQUEST_TIMEOUT_S))
        return low, high

    def offset_at(self, topic: str, partition: int, time_ms: int, otherwise: int) -> int:
        """The first record at or after a time; ``otherwise`` where there is none."""
        if partition >= self.partitions.get(topic, 0):
            return otherwise
        at = TopicPartition(topic, partition, max(0, time_ms))
        (found,) = _patiently(topic, lambda: self._consumer.offsets_for_times([at], timeout=REQUEST_TIMEOUT_S))
        return int(found.offset) if found.offset >= 0 else otherwise

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
        self._consumer.assign([TopicPartition(topic, partition, start)])
        at, heard, why = start, time.monotonic(), "a transaction is open"
        while at < end:
            before = at
            for message in self._consumer.consume(min(AT_ONCE, end - at), timeout=0.1):
                error = message.error()
                if error is None:
                    at = (message.offset() or 0) + 1
                    if at <= end:
                        yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    at = max(at, message.offset() or 0)
                else:
                    why = _why_not(message, error, at)
            if at > before:
                heard = time.monotonic()
                self._on_read(min(at, end) - before)
            elif time.monotonic() - heard > STALLED_S:
                raise RunError(f"{topic}[{partition}]: nothing can be read at offset {at} for {STALLED_S:g} s: {why}")


def _why_not(message: Message, error: KafkaError, at: int) -> str:
    """Say what keeps a partition from being read for now.

    Raises:
        RunError: it will not get better.
    """
    place = f"{message.topic()}[{message.partition()}]"
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise RunError(f"{place}: offset {at} is gone: retention deleted it, or the topic is a new one; verify again")
    if error.fatal() or error.code() not in PASSING:
        raise run_failure(f"reading {place} failed: {error.str()}", error)
    return error.str()


def _patiently(topic: str, ask: Callable[[], Any]) -> Any:
    """Return a broker's answer; ask again while the broker has only just come up.

    Raises:
        RunError: it does not answer, or refuses.
    """
    deadline = time.monotonic() + REQUEST_TIMEOUT_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in PASSING or time.monotonic() > deadline:
                raise run_failure(f"cannot read {topic}: {words(error.args[0])}", error.args[0]) from error
        time.sleep(0.1)
