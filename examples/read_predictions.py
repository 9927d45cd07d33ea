"""Read predictions, each once, and print them as JSON lines.

    python examples/read_predictions.py --count 5000
    python examples/read_predictions.py --topic casting-scores

Each output stands once, but for what the network held back for more than a quarter of a worker's session. The
outputs of a stream stand in the order of their source records, so a repeat is known by its header `source-offset`. With
the setting `processing_guarantee = exactly_once` there are no such repeats.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from confluent_kafka import Consumer, Message

Place = tuple[int, bool]


class Repeats:
    """Knows the outputs that were seen before, at the price of one entry per stream."""

    def __init__(self) -> None:
        self._latest: dict[tuple[int, bytes], Place] = {}

    def seen(self, partition: int, stream: bytes, source_offset: int, final: bool) -> bool:
        """Whether an output came before. A cast's final score may follow a score of the same sample."""
        place = (source_offset, final)
        if place <= self._latest.get((partition, stream), (-1, False)):
            return True
        self._latest[partition, stream] = place
        return False


def source_offset(message: Message) -> int:
    """The offset of the sample behind an output."""
    return int(dict(message.headers() or [])["source-offset"])


def read(consumer: Consumer, count: int | None) -> None:
    repeats, shown = Repeats(), 0
    while count is None or shown < count:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error() is not None:
            raise SystemExit(f"cannot read: {message.error().str()}")
        output: dict[str, Any] = json.loads(message.value())
        if repeats.seen(message.partition(), message.key(), source_offset(message), output.get("final", False)):
            continue
        print(json.dumps(output), flush=True)
        shown += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", default="127.0.0.1:9092")
    parser.add_argument("--topic", default="signal-predictions")
    parser.add_argument("--group", help="its readers share the partitions; by default one per topic")
    parser.add_argument("--count", type=int, help="end after so many outputs")
    given = parser.parse_args()

    consumer = Consumer(
        {
            "bootstrap.servers": given.broker,
            "group.id": given.group or f"read-{given.topic}",
            "auto.offset.reset": "earliest",
            # Under exactly_once, outputs of an aborted transaction are never shown.
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([given.topic])
    try:
        read(consumer, given.count)
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()  # commits what was read, so that the group goes on after it
    return 0


if __name__ == "__main__":
    sys.exit(main())
