"""Where records go: a Kafka topic, or a list in memory. One interface.

What counts is what was acknowledged. A stream's records are acknowledged in the order in which they were sent (the
producer is idempotent), so their number says how far the stream has got.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from core.errors import RunError, StartupError

# A stream's id and an encoded value.
Pair = tuple[bytes, bytes]
PRODUCER = {
    "enable.idempotence": True,
    # Batches fill for so long; it is little beside the 10 ms that a prediction takes.
    "linger.ms": 5,
    "batch.num.messages": 10_000,
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 65_536,
    # librdkafka writes to stderr by itself; what matters comes as errors.
    "log_level": 0,
}
# Between looks at the answers to what was sent.
POLL_RECORDS = 1000


class Sink(Protocol):
    """Takes records of one topic."""

    @property
    def acked(self) -> Mapping[bytes, int]:
        """The number of acknowledged records of each stream."""

    def send(self, records: Iterable[Pair]) -> None:
        """Take the records, in order; waits while too much is under way. Raises RunError, as `poll`."""

    def poll(self) -> None:
        """Look after what is under way, without waiting.

        Raises:
            RunError: a record was given up, or the producer cannot go on.
        """

    def flush(self) -> None:
        """Wait until everything is acknowledged. Raises RunError, as `poll`."""

    def close(self, wait_s: float) -> None:
        """Wait up to ``wait_s`` for what is under way, then let go of it. Never raises."""


class MemorySink:
    """Keeps the records in a list; acknowledges at once. ``fails_after`` records it behaves as a lost broker."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.records: list[Pair] = []
        self.acked: defaultdict[bytes, int] = defaultdict(int)
        self.flushes = 0
        self._fails_after = fails_after

    def send(self, records: Iterable[Pair]) -> None:
        for record in records:
            if len(self.records) == self._fails_after:
                raise RunError("the sink takes no more records")
            self.records.append(record)
            self.acked[record[0]] += 1

    def poll(self) -> None:
        return

    def flush(self) -> None:
        self.flushes += 1

    def close(self, wait_s: float) -> None:
        return


class KafkaSink:
    """Sends to one topic with an idempotent producer; the partition is Java's choice for the key (murmur2).

    Args:
        client_config: librdkafka's configuration of where the broker is.
        topic: an existing topic; it is not created.
        timeout_s: how long the broker may be away before the run is given up.

    Raises:
        RunError: the broker cannot be reached.
        StartupError: the topic does not exist, or the configuration is not accepted.
    """

    def __init__(self, client_config: Mapping[str, Any], topic: str, timeout_s: float = 30.0) -> None:
        self.acked: defaultdict[bytes, int] = defaultdict(int)
        self._topic = topic
        self._broker = client_config.get("bootstrap.servers", "?")
        self._timeout_s = timeout_s
        self._failure: str | None = None
        config = PRODUCER | dict(client_config) | {"message.timeout.ms": int(timeout_s * 1000)}
        # librdkafka's own choice is CRC-32: a stream would change its partition when a Java producer feeds it.
        config |= {"partitioner": "murmur2_random", "error_cb": self._on_error}
        try:
            self._producer = Producer(config)
        except KafkaException as error:
            raise StartupError(f"Kafka settings are not accepted: {_text(error.args[0])}") from error
        self._require_topic()

    def _require_topic(self) -> None:
        # All topics: asking for one by its name would create it on brokers that do so.
        for left_s in range(math.ceil(self._timeout_s), 0, -1):  # in short waits, between which Ctrl-C is heard
            try:
                topics = self._producer.list_topics(timeout=1.0).topics
            except KafkaException as error:
                if left_s == 1:
                    raise RunError(
                        f"no Kafka broker at {self._broker}: {_text(error.args[0])}; "
                        "start one with: caststream broker, or name yours with --broker"
                    ) from error
            else:
                break
        if self._topic not in topics:
            raise StartupError(f"topic {self._topic} does not exist: create it with 'caststream topics create'")

    def send(self, records: Iterable[Pair]) -> None:
        produce, topic, delivered = self._producer.produce, self._topic, self._on_delivery
        for number, (key, value) in enumerate(records):
            try:
                produce(topic, value, key, on_delivery=delivered)
            except BufferError:
                self._wait_for_room(key, value)
            except KafkaException as error:
                raise self._run_error(_text(error.args[0])) from error
            if number % POLL_RECORDS == 0:
                self.poll()

    def _wait_for_room(self, key: bytes, value: bytes) -> None:
        while True:
            self._producer.poll(0.1)
            self._check()
            try:
                self._producer.produce(self._topic, value, key, on_delivery=self._on_delivery)
            except BufferError:
                continue
            return

    def poll(self) -> None:
        self._producer.poll(0)
        self._check()

    def flush(self) -> None:
        while self._producer.flush(0.2):
            self._check()
        self._check()

    def close(self, wait_s: float) -> None:
        self._producer.flush(wait_s)
        self._producer.purge()
        self._producer.flush(1.0)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.acked[message.key() or b""] += 1
        elif self._failure is None:
            self._failure = _text(error)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() and self._failure is None:
            self._failure = _text(error)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._run_error(self._failure)

    def _run_error(self, what: str) -> RunError:
        return RunError(f"lost the Kafka broker at {self._broker}, topic {self._topic}: {what}")


def _text(error: Any) -> str:
    return str(error.str() if isinstance(error, KafkaError) else error)
