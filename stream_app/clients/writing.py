"""Writing a few records with a producer of its own: all of them are acknowledged, or a reason is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, Producer

from stream_app.headers import Headers


class Written(NamedTuple):
    """A record to write."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: Headers


def write_records(config: Mapping[str, Any], records: Iterable[Written], timeout_s: float) -> str | None:
    """Write records; None when all are acknowledged, else the reason why one is not.

    Args:
        config: librdkafka's settings of the connection, and of the producer besides.
        timeout_s: for the acknowledgements after the last record.
    """
    producer = Producer({**config, "acks": "all", "log_level": 0})
    failures: list[str] = []

    def note(error: KafkaError | None, _: object) -> None:
        if error is not None:
            failures.append(error.str())

    for record in records:
        _produce(producer, record, note)
    left = producer.flush(timeout_s)
    if failures:
        return failures[0]
    return "no answer" if left else None


def _produce(producer: Producer, record: Written, on_delivery: Any) -> None:
    topic, partition, key, value, headers = record
    while True:
        try:
            producer.produce(topic, value, key, partition, headers=[*headers], on_delivery=on_delivery)
            return
        except BufferError:  # the queue is full
            producer.poll(0.1)
