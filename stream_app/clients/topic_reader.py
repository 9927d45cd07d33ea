"""Topics read from given offsets to their ends as they are now, without a group: for commands that look at a log."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from core.broker_words import REMEDY, waiting_for
from core.callbacks import OnCount, OnNote, unheard
from core.errors import RunError, StartupError, UnreachableError
from stream_app.clients.access import check_access
from stream_app.clients.asking import PASSING, patiently
from stream_app.clients.outages import remedy, run_failure, words
from stream_app.routes import Partition

BEGINNING = 0
_BATCH = 10_000
_PATIENCE_S = 30.0
_STALLED_S = 30.0


class TopicReader:
    """A consumer of committed records, for as long as the context is open.

    Args:
        client_config: librdkafka's configuration of where the broker is.
        purpose: part of the name of its group, which it never joins.
        patience_s: how long to wait for the answer to a question.
        stalled_s: how long `read` waits for the next record.
        on_read: called by `read` with the number of offsets passed, as they are.
        more: of librdkafka's configuration.
        on_wait: told once, in a line, that there was no answer for a while.

    Raises:
        StartupError: the broker refuses us, or a setting is not accepted.
    """

    def __init__(
        self,
        client_config: Mapping[str, Any],
        purpose: str = "read",
        patience_s: float = _PATIENCE_S,
        stalled_s: float = _STALLED_S,
        on_read: OnCount = unheard,
        more: Mapping[str, Any] = {},
        on_wait: OnNote = unheard,
    ) -> None:
        check_access(client_config)
        self._broker = client_config.get("bootstrap.servers", "?")
        self._client_config = client_config
        self._patience_s, self._stalled_s = patience_s, stalled_s
        self._on_read, self._on_wait = on_read, on_wait
        own = {
            "group.id": f"caststream-{purpose}-{uuid.uuid4().hex[:8]}",  # asked for by the library
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",  # what retention has deleted is missing: nobody may jump over it unawares
            "fetch.wait.max.ms": 100,
            "log_level": 0,
        }
        self._config = {**client_config, **own, **more}
        self._consumer = self._open("read_committed")
        self._uncommitted: Consumer | None = None

    def _open(self, isolation: str) -> Consumer:
        try:
            return Consumer({**self._config, "isolation.level": isolation})
        except KafkaException as error:
            raise StartupError(f"Kafka settings are not accepted: {words(error.args[0])}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()
        if self._uncommitted is not None:
            self._uncommitted.close()

    # Questions.

    def topics(self, timeout_s: float) -> dict[str, int]:
        """Return every topic that this user may see, with the number of its partitions.

        Raises:
            UnreachableError: no broker answers within ``timeout_s``.
        """
        try:
            topics = self._consumer.list_topics(timeout=timeout_s).topics
        except KafkaException as error:
            raise UnreachableError(
                f"no Kafka broker answers on {self._broker} within {timeout_s:g} s: {words(error.args[0])}{REMEDY}"
            ) from error
        return {name: len(topic.partitions) for name, topic in topics.items()}

    def partitions(self, topic: str) -> list[Partition]:
        """The partitions of a topic.

        Raises:
            StartupError: there is no such topic, or this user may not read it.
            RunError: no answer.
        """
        found = self._ask(topic, lambda: self._consumer.list_topics(timeout=1.0)).topics.get(topic)
        if found is None:
            raise missing(topic, self._client_config)
        return [(topic, partition) for partition in sorted(found.partitions)]

    def bounds(self, at: Partition) -> tuple[int, int]:
        """The first offset that the broker still holds, and the one after the last that no open transaction hides.

        Raises:
            RunError: no answer.
        """
        return self._bounds(self._consumer, at)

    def full_bounds(self, at: Partition) -> tuple[int, int]:
        """Return the bounds with the records behind open transactions, which must end before these can be read."""
        if self._uncommitted is None:
            self._uncommitted = self._open("read_uncommitted")
        return self._bounds(self._uncommitted, at)

    def _bounds(self, consumer: Consumer, at: Partition) -> tuple[int, int]:
        low, high = self._ask(at[0], lambda: consumer.get_watermark_offsets(TopicPartition(*at), timeout=1.0))
        return low, high

    def offsets_since(self, places: Iterable[Partition], time_ms: int) -> dict[Partition, int]:
        """Find, by partition, the offset of the first record of that time or later; the end where there is none.

        Raises:
            RunError: no answer.
        """
        asked = [TopicPartition(*at, max(0, time_ms)) for at in places]
        found = self._ask(asked[0].topic, lambda: self._consumer.offsets_for_times(asked, timeout=1.0))
        offsets = {(place.topic, place.partition): place.offset for place in found}
        return {at: offset if offset >= 0 else self.bounds(at)[1] for at, offset in offsets.items()}

    def _ask(self, topic: str, ask: Callable[[], Any]) -> Any:
        try:
            return patiently(ask, self._patience_s, on_wait=self._tell_wait)
        except KafkaException as error:
            text = f"cannot read {topic} from the Kafka broker at {self._broker}: {words(error.args[0])}"
            raise run_failure(text + remedy(error.args[0]), error.args[0]) from error

    def _tell_wait(self) -> None:
        self._on_wait(waiting_for(self._broker))
        self._on_wait = unheard

    # Records.

    def read_from(self, starts: Mapping[Partition, int]) -> Iterator[Message]:
        """The records of each partition from its start, or the first one that it still holds, to its end now.

        Raises:
            RunError: as `read`.
        """
        bounds = {at: self.bounds(at) for at in starts}
        return self.read({at: (max(low, starts[at]), high) for at, (low, high) in bounds.items()})

    def first(self, at: Partition, start: int, end: int) -> Message | None:
        """The first record of ``[start, end)`` of a partition."""
        found = next(self.read({at: (start, end)}), None)
        self._consumer.unassign()
        return found

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Message]:
        """The records of ``[start, end)`` of each partition, in order within a partition.

        Raises:
            RunError: the broker fails, a transaction stays open, or retention deletes what is to be read.
        """
        reached = {at: start for at, (start, end) in ranges.items() if start < end}
        if not reached:
            return
        self._consumer.assign([TopicPartition(*at, start) for at, start in reached.items()])
        heard_s, why = time.monotonic(), "a transaction is open"
        while reached:
            passed = 0
            for message in self._some():
                at, error = place_of(message), message.error()
                if at not in reached:  # one of a partition that has been read, or of the connection
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:
                        why = _why_not(message, error, None) or why
                    continue
                before, end = reached[at], ranges[at][1]
                if error is None:
                    after = (message.offset() or 0) + 1
                    if after <= end:
                        yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    after = max(before, message.offset() or 0)
                else:
                    why, after = _why_not(message, error, before) or why, before
                reached[at] = after
                passed += min(after, end) - before
                if after >= end:
                    del reached[at]
            if passed:
                heard_s = time.monotonic()
                self._on_read(passed)
            elif time.monotonic() - heard_s > self._stalled_s:
                (topic, partition), offset = next(iter(reached.items()))
                place = f"{topic}[{partition}]"
                raise RunError(f"{place}: nothing can be read at offset {offset} for {self._stalled_s:g} s: {why}")
        self._consumer.unassign()  # whatever is asked next would wait behind fetches on the same connection

    def follow(self, starts: Mapping[Partition, int], at_once: int) -> Iterator[list[Message]]:
        """Yield the records from these offsets on, without an end; an empty list if none came for a while.

        Args:
            starts: offsets, or librdkafka's words for them.
            at_once: how many at most in a list.

        Raises:
            RunError: the broker fails.
        """
        self._consumer.assign([TopicPartition(*at, start) for at, start in starts.items()])
        while True:
            messages = []
            for message in self._consumer.consume(at_once, timeout=0.1):
                if (error := message.error()) is None:
                    messages.append(message)
                elif error.code() not in _OF_THE_LIBRARY:
                    raise run_failure(f"reading {message.topic() or 'the broker'} failed: {error.str()}", error)
            yield messages

    def _some(self) -> list[Message]:
        """Return the records that have come. Asked for several, the library waits for all or until the time is over."""
        return [*self._consumer.consume(1, timeout=0.1), *self._consumer.consume(_BATCH, timeout=0)]


# The end of a partition, and that we may not use the group that the library asks after: we use none.
_OF_THE_LIBRARY = {KafkaError._PARTITION_EOF, KafkaError.GROUP_AUTHORIZATION_FAILED}


def _why_not(message: Message, error: KafkaError, at: int | None) -> str | None:
    """Say what keeps a partition from being read for now; None if nothing does.

    Raises:
        RunError: it will not get better.
    """
    place = message.topic() if at is None else f"{message.topic()}[{message.partition()}]"
    if error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise RunError(f"{place}: offset {at} is gone: retention deleted it, or the topic was created again; try again")
    if error.code() in _OF_THE_LIBRARY:
        return None
    if error.fatal() or error.code() not in PASSING:
        raise run_failure(f"reading {place or 'the broker'} failed: {error.str()}", error)
    return error.str()


def missing(topic: str, client_config: Mapping[str, Any]) -> StartupError:
    """The error where a topic is not among those that the broker shows."""
    known = str(client_config.get("security.protocol", "")).startswith("SASL")
    user = f"the user {client_config['sasl.username']!r}" if "sasl.username" in client_config else "our user"
    hidden = f", or {user} may not see it" if known else ""
    how = "'caststream topics create', with --tasks FILE for a task of your own"
    return StartupError(f"topic {topic} does not exist{hidden}: create it with {how}")


def place_of(message: Message) -> Partition:
    """The partition that a record was read from."""
    return str(message.topic()), int(message.partition() or 0)


def key_of(message: Message) -> bytes | None:
    """A record's key."""
    key: Any = message.key()
    return None if key is None else bytes(key)
