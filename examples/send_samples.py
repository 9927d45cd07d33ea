"""Send a sensor's samples to caststream, one record per sample, as they come.

    caststream topics create
    python examples/send_samples.py --stream press-7 --samples 5000
    python examples/read_predictions.py --count 5000

The sensor is made up here: `read_sensor` gives a noisy mixture of four sinusoids. Put your own in its place.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from confluent_kafka import KafkaError, Message, Producer

SAMPLES_PER_SECOND = 1000.0
# Which of the four components (1, 3, 5 and 7 Hz) the model shall extract: here the second.
CONDITION = [0.0, 1.0, 0.0, 0.0]


def read_sensor(samples: int) -> Iterator[float]:
    """The value of each sample, 1 ms apart, when it is due."""
    waves = [(frequency, random.uniform(0.5, 2.0), random.uniform(0.0, 2 * math.pi)) for frequency in (1, 3, 5, 7)]
    start = time.monotonic()
    for step in range(samples):
        seconds = step / SAMPLES_PER_SECOND
        while time.monotonic() < start + seconds:
            time.sleep(0.001)
        mixture = sum(amplitude * math.sin(2 * math.pi * f * seconds + phase) for f, amplitude, phase in waves) / 4
        yield mixture + random.gauss(0.0, 0.1)


class SampleSender:
    """Sends the samples of one stream; `failed` counts those that Kafka did not take."""

    def __init__(self, broker: str, topic: str, stream: str) -> None:
        self.failed = 0
        self._topic = topic
        self._stream = stream
        self._producer = Producer(
            {
                "bootstrap.servers": broker,
                # A retry neither repeats nor reorders a record.
                "enable.idempotence": True,
                # Java's choice of partition for a key, so that every producer of a stream uses the same one.
                "partitioner": "murmur2_random",
                "linger.ms": 5,
            }
        )

    def send(self, sequence: str, step: int, signal: float) -> None:
        """Hand one sample over; it is on its way when this returns."""
        value = {
            "sequence": sequence,  # a run of samples that belong together; the model starts again with the next one
            "step": step,  # counts the samples of the sequence, from 0: repeats and gaps are found by it
            "timestamp_ms": time.time_ns() // 1_000_000,
            "signal": signal,
            "condition_vector": CONDITION,
        }
        self._producer.produce(self._topic, json.dumps(value), key=self._stream, on_delivery=self._delivered)
        self._producer.poll(0)

    def close(self) -> None:
        """Wait until Kafka has everything."""
        self.failed += self._producer.flush(30.0)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed += 1
            print(f"not delivered: {error.str()}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", default="127.0.0.1:9092")
    parser.add_argument("--topic", default="signal-samples")
    parser.add_argument("--stream", default="press-7", help="the feed's name: the record key")
    parser.add_argument("--samples", type=int, default=5000)
    given = parser.parse_args()

    sender = SampleSender(given.broker, given.topic, given.stream)
    sequence = datetime.now(UTC).isoformat(timespec="milliseconds")  # a name that does not come again
    for step, signal in enumerate(read_sensor(given.samples)):
        sender.send(sequence, step, signal)
    sender.close()
    print(f"sent {given.samples - sender.failed:,} samples of {given.stream}, sequence {sequence}")
    return 1 if sender.failed else 0


if __name__ == "__main__":
    sys.exit(main())
