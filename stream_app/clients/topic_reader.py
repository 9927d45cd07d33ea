"""Topics read from given offsets to their ends as they are now, without a group: for commands that look at a log."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from core.errors import RunError, StartupError
from stream_app.clients.access import check_access
from stream_app.clients.outages import NOT_ALLOWED, run_failure, words
from stream_app.routes import Partition

BEGINNING = 0
_BATCH = 1000
_QUIET_S = 30.0

T = TypeVar("T")


class TopicReader:
    """A consumer of committed records, for as long as the context is open.

    Args:
        client_config: librdkafka's configuration of where the broker is.
        timeout_s: how long to wait for any answer.

    Raises:
        StartupError: the broker refuses us, or a setting is not accepted.
    """

    def __init__(self, client_config: Mapping[str, Any], timeout_s: float = _QUIET_S) -> None:
        self._broker = client_config.get("bootstrap.servers", "?")
        self._client_config = client_config
        self._timeout_s = timeout_s
        self._consumer = open_consumer(client_config, "read", {"enable.partition.eof": True})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def partitions(self, topic: str) -> list[Partition]:
        """The partitions of a topic.

        Raises:
            StartupError: there is no such topic, or this user may not read it.
            RunError: no answer.
        """
        try:
            topics = patiently(lambda: self._consumer.list_topics(timeout=1.0), self._timeout_s).topics
        except KafkaException as error:
            raise self._failed(topic, words(error.args[0]), error.args[0]) from error
        found = topics.get(topic)
        if found is None:
            raise missing(topic, self._client_config)
        return [(topic, partition) for partition in sorted(found.partitions)]

    def bounds(self, at: Partition) -> tuple[int, int]:
        """The first offset that the broker still holds, and the one after the last.

        Raises:
            RunError: no answer.
        """
        place = TopicPartition(*at)
        try:
            low, high = patiently(lambda: self._consumer.get_watermark_offsets(place, timeout=1.0), self._timeout_s)
        except KafkaException as error:
            raise self._failed(at[0], words(error.args[0]), error.args[0]) from error
        return low, high

    def offsets_since(self, places: Iterable[Partition], time_ms: int) -> dict[Partition, int]:
        """Find, by partition, the offset of the first record of that time or later; the end where there is none.

        Raises:
            RunError: no answer.
        """
        asked = [TopicPartition(*at, time_ms) for at in places]
        try:
            found = patiently(lambda: self._consumer.offsets_for_times(asked, timeout=1.0), self._timeout_s)
        except KafkaException as error:
            raise self._failed(asked[0].topic, words(error.args[0])) from error
        offsets = {(place.topic, place.partition): place.offset for place in found}
        return {at: offset if offset >= 0 else self.bounds(at)[1] for at, offset in offsets.items()}

    def read(self, starts: Mapping[Partition, int]) -> Iterator[Message]:
        """The records of each partition from its start, or the first one that it still holds, to its end now.

        Raises:
            RunError: nothing came for a while.
        """
        places = []
        for at, start in starts.items():
            low, high = self.bounds(at)
            if max(low, start) < high:
                places.append(TopicPartition(*at, max(low, start)))
        waiting = {(place.topic, place.partition) for place in places}
        self._consumer.assign(places)
        heard_s = time.monotonic()
        while waiting:
            messages = self._consumer.consume(1, timeout=0.1)  # more would be waited for
            messages += self._consumer.consume(_BATCH, timeout=0)
            if messages:
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > self._timeout_s:
                raise self._failed(next(iter(waiting))[0], f"nothing came for {self._timeout_s:g} s")
            for message in messages:
                if (error := message.error()) is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    waiting.discard(place_of(message))
                elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # asked after by the library: we use none
                    raise self._failed(message.topic(), error.str(), error)
        self._consumer.unassign()  # whatever is asked next would wait behind fetches on the same connection

    def _failed(self, topic: str | None, why: str, error: KafkaError | None = None) -> StartupError | RunError:
        text = f"cannot read {topic or 'topics'} from the Kafka broker at {self._broker}: {why}"
        return RunError(text) if error is None else run_failure(text, error)


def open_consumer(client_config: Mapping[str, Any], purpose: str, more: Mapping[str, Any] = {}) -> Consumer:
    """A consumer of committed records that commits nothing and disturbs nobody.

    Args:
        client_config: librdkafka's configuration of where the broker is.
        purpose: part of the name of its group.
        more: of the configuration.

    Raises:
        StartupError: the broker refuses us, or a setting is not accepted.
    """
    check_access(client_config)
    own = {
        "group.id": f"caststream-{purpose}-{uuid.uuid4().hex[:8]}",  # asked for by the library; nothing is committed
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 100,
        "log_level": 0,
        **more,
    }
    try:
        return Consumer(dict(client_config) | own)
    except KafkaException as error:
        raise StartupError(f"Kafka settings are not accepted: {words(error.args[0])}") from error


def patiently(ask: Callable[[], T], timeout_s: float) -> T:
    """Return the answer of ``ask``, waited for in short turns for ``timeout_s``, so that Ctrl-C is heard.

    Brokers that start, or have just been told to make the topic, have no answer for a while.

    Raises:
        KafkaException: there was none, or we are not allowed to ask.
    """
    end_s = time.monotonic() + timeout_s
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() in NOT_ALLOWED or time.monotonic() >= end_s:
                raise
            time.sleep(0.1)


def missing(topic: str, client_config: Mapping[str, Any]) -> StartupError:
    """The error where a topic is not among those that the broker shows."""
    known = str(client_config.get("security.protocol", "")).startswith("SASL")
    user = f"the user {client_config['sasl.username']!r}" if "sasl.username" in client_config else "our user"
    hidden = f", or {user} may not see it" if known else ""
    return StartupError(f"topic {topic} does not exist{hidden}: create it with 'caststream topics create'")


def place_of(message: Message) -> Partition:
    """The partition that a record was read from."""
    return str(message.topic()), int(message.partition() or 0)


def key_of(message: Message) -> bytes | None:
    """A record's key."""
    key: Any = message.key()
    return None if key is None else bytes(key)
