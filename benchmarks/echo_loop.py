"""The floor of a Kafka round trip here: takes records from one topic, puts their values into another, and does no more.

    python benchmarks/echo_loop.py {confluent,aiokafka} BROKER SOURCE OUTPUT OFFSETS

OFFSETS, by partition with commas between, say where it starts. Each output has the header ``source-offset`` and goes
to the partition of its source, as caststream's do.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any


def confluent(broker: str, source: str, output: str, starts: list[int]) -> None:
    """Until killed."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    consumer = Consumer({"bootstrap.servers": broker, "group.id": "echo", "enable.auto.commit": False})
    sending = {"linger.ms": 0, "enable.idempotence": True, "delivery.report.only.error": True, "on_delivery": _failed}
    producer = Producer({"bootstrap.servers": broker, **sending})
    producer.list_topics(output, timeout=30)  # connected before the first record comes
    consumer.assign([TopicPartition(source, partition, start) for partition, start in enumerate(starts)])
    while True:
        first = consumer.poll(1.0)
        if first is None:
            continue
        for message in (first, *consumer.consume(4000, 0)):  # what has arrived, without waiting for more
            if message.error() is not None:
                _failed(message.error(), message)
            else:
                header: Any = [("source-offset", b"%d" % (message.offset() or 0))]
                producer.produce(output, message.value(), message.key(), message.partition() or 0, headers=header)
        producer.poll(0)


def _failed(error: object, _: object) -> None:
    if error is not None:
        print(f"echo: {error}", file=sys.stderr, flush=True)
        os._exit(1)


async def with_aiokafka(broker: str, source: str, output: str, starts: list[int]) -> None:
    """Until killed."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

    consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False)
    producer = AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=True)
    await consumer.start()
    await producer.start()
    consumer.assign([TopicPartition(source, partition) for partition in range(len(starts))])
    for partition, start in enumerate(starts):
        consumer.seek(TopicPartition(source, partition), start)
    while True:
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            for record in records:
                header = [("source-offset", b"%d" % record.offset)]
                await producer.send(output, record.value, record.key, record.partition, headers=header)


if __name__ == "__main__":
    kind, broker, source, output, offsets = sys.argv[1:]
    starts = [int(offset) for offset in offsets.split(",")]
    if kind == "confluent":
        confluent(broker, source, output, starts)
    else:
        asyncio.run(with_aiokafka(broker, source, output, starts))
