"""The target of records: a Kafka topic, or a list in memory. One interface.

What counts is what was acknowledged. A stream's records are acknowledged in the order in which they were sent (the
producer is idempotent), so their number says how far the stream has got.

Being told of every acknowledgement costs more than sending (0.37 against 0.7 million records per second). So only the
last record that a `send` puts into a partition is asked after: its acknowledgement stands for all before it. Two things
make that true: no record expires (``timeout_s`` is watched here), and a record that the broker refuses ends the
producer (``enable.gapless.guarantee``), where librdkafka would go on with the next one.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from core.broker_words import REMEDY, WAIT_TOLD_S, waiting_for
from core.callbacks import OnNote, unheard
from core.errors import RunError, StartupError
from core.wire.partition import partition_of
from replay.held_interrupts import HeldInterrupts

# A stream's id and an encoded value.
Pair = tuple[bytes, bytes]
OnDelivery = Callable[[KafkaError | None, Message], None]
PRODUCER = {
    "enable.idempotence": True,
    "enable.gapless.guarantee": True,
    "message.timeout.ms": 0,
    "batch.num.messages": 10_000,
    "queue.buffering.max.messages": 40_000,
    "queue.buffering.max.kbytes": 65_536,
}
# librdkafka would write to stderr by itself; what matters comes as errors.
_silent = logging.getLogger(f"{__name__}.librdkafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False
# Live or at a pace: a record is not held back for others. With 1 ms the broker has half the requests of 0.5 ms.
PACED: Mapping[str, float] = {"linger.ms": 1.0}
# Large batches. With librdkafka's 5 requests under way a full queue costs half as much again, in a thread that looks
# for something to send (0.9 against 0.6 million records per second).
FULL_SPEED: Mapping[str, float] = {"linger.ms": 5.0, "max.in.flight.requests.per.connection": 2}
# Between looks at the answers to what was sent.
POLL_RECORDS = 1000
# The most that counts as waiting between two looks.
LONGEST_CHECK_S = 1.0


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
        """Wait up to ``wait_s`` for what is under way, then drop it. Never raises."""


class KafkaSink:
    """Sends to one topic with an idempotent producer; the partition is Java's choice for the key (murmur2).

    Args:
        client_config: librdkafka's configuration of where the broker is.
        topic: an existing topic; it is not created.
        timeout_s: how long nothing may be acknowledged before the run is given up.
        tuning: `PACED` or `FULL_SPEED`.
        on_wait: told once that the broker is waited for.

    Raises:
        RunError: the broker cannot be reached.
        StartupError: the topic does not exist, or the configuration is not accepted.
    """

    def __init__(
        self,
        client_config: Mapping[str, Any],
        topic: str,
        timeout_s: float = 30.0,
        tuning: Mapping[str, float] = PACED,
        on_wait: OnNote = unheard,
    ) -> None:
        self.acked: defaultdict[bytes, int] = defaultdict(int)
        self._topic = topic
        self._broker = client_config.get("bootstrap.servers", "?")
        self._timeout_s = timeout_s
        self._failure: str | None = None
        self._handed = 0  # of the records of the last `send`
        self._silent_s, self._checked_s = 0.0, time.monotonic()
        self._untold: Counter[bytes] = Counter()
        config = PRODUCER | dict(client_config) | dict(tuning)
        try:
            self._producer = Producer(config, logger=_silent)
        except KafkaException as error:
            raise StartupError(f"Kafka settings are not accepted: {_text(error)}") from error
        self._places = _Places(self._count_partitions(on_wait))

    def _count_partitions(self, on_wait: OnNote) -> int:
        # All topics: asking for one by its name would create it on brokers that do so.
        for left_s in range(math.ceil(self._timeout_s), 0, -1):  # in short waits, between which Ctrl-C is heard
            if self._timeout_s - left_s == WAIT_TOLD_S:
                on_wait(waiting_for(self._broker))
            try:
                topics = self._producer.list_topics(timeout=1.0).topics
            except KafkaException as error:
                if left_s == 1:
                    raise RunError(f"no Kafka broker at {self._broker}: {_text(error)}{REMEDY}") from error
            else:
                break
        if self._topic not in topics:
            how = "'caststream topics create', with --tasks FILE for a task of your own"
            raise StartupError(f"topic {self._topic} does not exist: create it with {how}")
        return len(topics[self._topic].partitions)

    def send(self, records: Iterable[Pair]) -> None:
        records = list(records)
        partitions = [self._places[key] for key, _ in records]
        last = dict(zip(partitions, range(len(records)), strict=True))  # of each partition
        self._handed = 0
        try:
            with HeldInterrupts() as held:
                self._produce(zip(records, partitions, self._ask(records, last), strict=True), held)
        except KeyboardInterrupt:
            # Those that would have been asked after were not sent: `close` finds out in another way.
            untold = zip(records[: self._handed], partitions, strict=False)
            self._untold.update(key for (key, _), partition in untold if last[partition] >= self._handed)
            raise

    def _ask(self, records: list[Pair], last: Mapping[int, int]) -> list[OnDelivery | None]:
        """Return, for each record, the callback of its acknowledgement: only for the last of each partition."""
        shares: defaultdict[int, list[tuple[bytes, int]]] = defaultdict(list)
        for key, count in Counter([key for key, _ in records]).items():
            shares[self._places[key]].append((key, count))
        asked: list[OnDelivery | None] = [None] * len(records)
        for partition, index in last.items():
            asked[index] = partial(self._on_delivery, shares[partition])
        return asked

    def _produce(self, waiting: Iterable[tuple[Pair, int, OnDelivery | None]], held: HeldInterrupts) -> None:
        """Hand the records over, and count them: no signal comes between the two."""
        produce, topic = self._producer.produce, self._topic
        for (key, value), partition, asked in waiting:
            try:
                produce(topic, value, key, partition, asked)
            except BufferError:
                self._wait_for_room(key, value, partition, asked, held)
            except KafkaException as error:
                raise self._run_error(_text(error)) from error
            self._handed += 1
            if self._handed % POLL_RECORDS == 1:
                self.poll()
            held.let_go()

    def _wait_for_room(
        self, key: bytes, value: bytes, partition: int, asked: OnDelivery | None, held: HeldInterrupts
    ) -> None:
        while True:
            self._look(0.1)
            held.let_go()
            try:
                self._producer.produce(self._topic, value, key, partition, asked)
            except BufferError:
                continue
            return

    def poll(self) -> None:
        self._look(0.0)

    def flush(self) -> None:
        while len(self._producer):
            self._serve(self._producer.flush, 0.2)
            self._check()
        self._check()

    def close(self, wait_s: float) -> None:
        self._wait(wait_s)
        if not len(self._producer) and self._failure is None:
            for key, count in self._untold.items():
                self.acked[key] += count
        self._untold.clear()
        self._producer.purge()
        self._wait(1.0)

    def _wait(self, wait_s: float) -> None:
        until_s = time.monotonic() + wait_s
        while len(self._producer) and (left_s := until_s - time.monotonic()) > 0:
            self._serve(self._producer.flush, min(left_s, 0.2))

    def _look(self, wait_s: float) -> None:
        self._serve(self._producer.poll, wait_s)
        self._check()

    def _serve(self, wait: Callable[[float], int], wait_s: float) -> None:
        try:
            wait(wait_s)
        except KafkaException as error:  # the producer cannot go on
            self._failure = _text(error)
        except SystemError as error:  # the same, where confluent-kafka has logged with that error still set
            self._failure = _text(error.__cause__ or error)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._run_error(self._failure)
        now_s = time.monotonic()
        # A process that was stopped for a while has not waited all that time.
        self._silent_s += min(now_s - self._checked_s, LONGEST_CHECK_S)
        self._checked_s = now_s
        if not len(self._producer):
            self._silent_s = 0.0
        elif self._silent_s >= self._timeout_s:
            raise self._run_error(f"nothing was acknowledged for {self._timeout_s:g} s")

    def _on_delivery(self, shares: list[tuple[bytes, int]], error: KafkaError | None, _message: Message) -> None:
        """The last record of a send into a partition was acknowledged, or given up."""
        if error is not None:
            self._failure = self._failure or _text(error)
            return
        self._silent_s = 0.0
        for key, count in shares:
            self.acked[key] += count

    def _run_error(self, what: str) -> RunError:
        return RunError(f"lost the Kafka broker at {self._broker}, topic {self._topic}: {what}")


class _Places(dict[bytes, int]):
    """The partition of each key, computed once."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._partitions = partitions

    def __missing__(self, key: bytes) -> int:
        self[key] = place = partition_of(key, self._partitions)
        return place


def _text(error: object) -> str:
    if isinstance(error, KafkaException):
        error = error.args[0]
    return str(error.str() if isinstance(error, KafkaError) else error)
