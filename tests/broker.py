"""Helpers on the real broker: produce, consume, wait. All read committed records only and give up at a deadline."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

from stream_app.clients.admin import Cluster
from stream_app.settings import PREFIX, Settings
from stream_app.topics.plans import planned_topics

DEADLINE_S = 30.0

# Where Kafka's jars are kept, and only that, is taken from the developer's environment.
JARS_DIR = Path(os.environ.get(f"{PREFIX}DATA_DIR") or "~/.local/share/caststream").expanduser()

T = TypeVar("T")


@dataclass(frozen=True)
class ToSend:
    """One record for `produce`. A value that is neither bytes nor None is sent as JSON; a key may be text."""

    key: bytes | str | None
    value: Any
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None
    timestamp_ms: int | None = None


@dataclass(frozen=True)
class Received:
    """One record as it was read; the attributes that a `core.engines.results` record has."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.value or b"null")

    def header(self, name: str) -> bytes | None:
        return dict(self.headers).get(name)


def produce(
    settings: Settings, topic: str, records: Iterable[ToSend], config: Mapping[str, Any] | None = None
) -> list[tuple[int, int]]:
    """Send records to the topic of this full name, in order; returns (partition, offset) of each.

    ``config`` is more of librdkafka's configuration, such as ``compression.type``.
    """
    places: dict[int, tuple[int, int]] = {}
    failures: list[KafkaError] = []
    producer = _producer(tuple(sorted({**settings.client_config(), **(config or {})}.items())))
    count = 0
    for number, record in enumerate(records):

        def delivered(error: KafkaError | None, message: Any, number: int = number) -> None:
            if error is not None:
                failures.append(error)
            else:
                places[number] = (message.partition(), message.offset())

        value = record.value
        options: dict[str, Any] = {"on_delivery": delivered, "headers": list(record.headers)}
        if record.partition is not None:
            options["partition"] = record.partition
        if record.timestamp_ms is not None:
            options["timestamp"] = record.timestamp_ms
        producer.produce(
            topic,
            key=record.key.encode() if isinstance(record.key, str) else record.key,
            value=value if isinstance(value, bytes | None) else json.dumps(value).encode(),
            **options,
        )
        producer.poll(0)
        count += 1
    left = producer.flush(DEADLINE_S)
    assert not failures, failures[0]
    assert left == 0, f"{left} records were not acknowledged within {DEADLINE_S:g} s"
    return [places[number] for number in range(count)]


@lru_cache(maxsize=8)
def _producer(config: tuple[tuple[str, Any], ...]) -> Producer:
    """One for all calls: the first record of an idempotent producer waits half a second for the producer's id."""
    return Producer(
        {
            "enable.idempotence": True,
            "linger.ms": 2,
            "queue.buffering.max.messages": 10**6,
            "log_level": 0,  # it outlives the brokers of single tests
            **dict(config),
        }
    )


def delete_topics(settings: Settings) -> None:
    """Delete those that the settings name: a broker with hundreds of topics is slow, and so are its clients."""
    cluster = Cluster(settings)
    cluster.delete(cluster.partitions([plan.name for plan in planned_topics(settings)]))


def consume_all(settings: Settings, topic: str, deadline: float = DEADLINE_S) -> list[Received]:
    """Everything in the topic of this full name, up to its end now, by partition and offset."""
    at_end: set[int] = set()
    with _Reader(settings, topic, at_end) as reader:
        reader.read_until(lambda: len(at_end) == reader.partitions, deadline, f"the end of {topic}")
        return sorted(reader.records, key=lambda record: (record.partition, record.offset))


def consume_until(
    settings: Settings,
    topic: str,
    enough: int | Callable[[list[Received]], bool],
    deadline: float = DEADLINE_S,
) -> list[Received]:
    """Read the topic from its start until there are ``enough`` records: a number, or a predicate on what was read."""
    with _Reader(settings, topic, set()) as reader:
        done = (lambda: len(reader.records) >= enough) if isinstance(enough, int) else (lambda: enough(reader.records))
        reader.read_until(done, deadline, f"enough records in {topic}")
        return reader.records


def wait_until(predicate: Callable[[], T], deadline: float = DEADLINE_S, what: str = "") -> T:
    """Ask until the answer is true, and return it; fails after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    pause = threading.Event()
    while not (answer := predicate()):
        assert time.monotonic() < end, f"not within {deadline:g} s: {what or predicate}"
        pause.wait(0.05)
    return answer


class _Reader:
    def __init__(self, settings: Settings, topic: str, at_end: set[int]) -> None:
        self._consumer = Consumer(
            {
                **settings.client_config(),
                "group.id": "tests",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
            }
        )
        self._at_end = at_end
        self.records: list[Received] = []
        metadata = self._consumer.list_topics(topic, timeout=DEADLINE_S).topics[topic]
        assert metadata.error is None, f"{topic}: {metadata.error}"
        self.partitions = len(metadata.partitions)
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in metadata.partitions])

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read_until(self, done: Callable[[], bool], deadline: float, what: str) -> None:
        end = time.monotonic() + deadline
        while not done():
            assert time.monotonic() < end, f"not within {deadline:g} s: {what}; read {len(self.records)} records"
            for message in self._consumer.consume(10_000, timeout=0.05):
                self._take(message)

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is None:
            kind, timestamp = message.timestamp()
            self.records.append(
                Received(
                    topic=message.topic(),
                    partition=message.partition(),
                    offset=message.offset(),
                    timestamp=-1 if kind == TIMESTAMP_NOT_AVAILABLE else timestamp,
                    key=message.key(),
                    value=message.value(),
                    headers=message.headers() or [],
                )
            )
        elif error.code() == KafkaError._PARTITION_EOF:
            self._at_end.add(message.partition())
        elif error.fatal():
            raise KafkaException(error)
