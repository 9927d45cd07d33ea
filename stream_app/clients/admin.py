"""Topics and groups on a broker, asked about and changed: confluent-kafka's admin client, with errors that speak."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclOperation,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from core.broker_words import REMEDY
from core.errors import OutageError, StartupError, UnreachableError
from stream_app.clients.access import FIRST_LOOK_S, look, open_admin
from stream_app.clients.asking import patiently
from stream_app.clients.outages import NOT_YET, failure, words
from stream_app.settings import Settings

CONNECT_TIMEOUT_S = 30.0
REQUEST_TIMEOUT_S = 30.0
# On a fresh broker librdkafka may miss that a group's coordinator has come; asked again it finds it.
GROUP_TIMEOUT_S = 3.0

T = TypeVar("T")


class Cluster:
    """A broker that has answered.

    Every method raises OutageError in an outage (`stream_app.clients.outages`), and StartupError when the broker
    refuses.

    Args:
        timeout: how long to wait for the first answer, in seconds.

    Raises:
        UnreachableError: none has come.
        StartupError: the broker refuses us (`stream_app.clients.access`), at once.
    """

    def __init__(self, settings: Settings, timeout: float = CONNECT_TIMEOUT_S) -> None:
        self._heard = heard = list[KafkaError]()
        config = settings.client_config()
        self._admin = open_admin(config, heard)
        end_s = time.monotonic() + timeout
        answered = False
        while not answered:
            answered, why = look(self._admin, config, heard, min(FIRST_LOOK_S, timeout))
            if why is not None:
                raise StartupError(why)
            if not answered and time.monotonic() >= end_s:
                raise UnreachableError(
                    f"no Kafka broker answers on {settings.broker} within {timeout:g} s{_reason(heard)}{REMEDY}"
                )

    def partitions(self, names: Collection[str]) -> dict[str, int]:
        """The number of partitions of those of the topics that are there and that we may see.

        Only these are asked for: the list of all topics grows with the cluster.
        """
        return {name: len(topic.partitions) for name, topic in self.topics(names).items()}

    def topics(self, names: Collection[str]) -> dict[str, Any]:
        """confluent-kafka's descriptions of those of the topics that are there and that we may see."""
        found, _ = self._look(names)
        return found

    def create(
        self, partitions: Mapping[str, int], replication_factor: int, configs: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Create topics by name; returns when they can be used."""
        topics = [
            NewTopic(name, num_partitions=count, replication_factor=replication_factor, config=dict(configs[name]))
            for name, count in partitions.items()
        ]
        futures = self._admin.create_topics(topics, request_timeout=REQUEST_TIMEOUT_S) if topics else {}
        self._answers(futures, "create")
        _wait(lambda: partitions.keys() <= self.partitions(partitions).keys(), "the new topics do not show up")

    def add_partitions(self, totals: Mapping[str, int]) -> None:
        """Raise topics to this number of partitions; return when the broker shows it."""
        wanted = [NewPartitions(name, total) for name, total in totals.items()]
        futures = self._admin.create_partitions(wanted, request_timeout=REQUEST_TIMEOUT_S) if wanted else {}
        self._answers(futures, "add partitions to")
        _wait(lambda: totals.items() <= self.partitions(totals).items(), "the new partitions do not show up")

    def delete(self, names: Collection[str]) -> None:
        """Delete topics; returns when they are gone."""
        futures = self._admin.delete_topics(list(names), request_timeout=REQUEST_TIMEOUT_S) if names else {}
        self._answers(futures, "delete")
        _wait(lambda: not self.partitions(names), "the deleted topics do not go away")

    def describe(self, names: Collection[str]) -> dict[str, Any]:
        """confluent-kafka's descriptions of those of the topics that are there."""
        futures = self._ask(names)
        return self._answers(futures, "describe", unless={KafkaError.UNKNOWN_TOPIC_OR_PART})

    def _ask(self, names: Collection[str]) -> dict[str, Any]:
        topics = TopicCollection(list(names))
        return self._admin.describe_topics(topics, request_timeout=REQUEST_TIMEOUT_S) if names else {}

    def _look(self, names: Collection[str]) -> tuple[dict[str, Any], set[str]]:
        """The descriptions of those of the topics that are there and that we may see; and those that we may not see."""
        found: dict[str, Any] = {}
        hidden: set[str] = set()
        for name, future in self._ask(names).items():
            with self._broker_errors(f"describe topic {name}", unless={KafkaError.UNKNOWN_TOPIC_OR_PART}):
                try:
                    found[name] = future.result()
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                        raise
                    hidden.add(name)
        return found, hidden

    def configs(self, names: Collection[str], unless_refused: Collection[str] = ()) -> dict[str, dict[str, str]]:
        """Return all settings of existing topics, without those of ``unless_refused`` that we may not ask about."""
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        futures = self._admin.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S) if resources else {}
        found = {}
        for resource, future in futures.items():
            doing = f"read the settings of topic {resource.name}"
            unless = {KafkaError.TOPIC_AUTHORIZATION_FAILED} if resource.name in unless_refused else set()
            with self._broker_errors(doing, unless=unless), _still_there(resource.name):
                found[resource.name] = {name: entry.value for name, entry in future.result().items()}
        return found

    def hidden(self, names: Collection[str]) -> set[str]:
        """Return the topics that we may not see: the broker does not say whether they exist."""
        return self._look(names)[1]

    def existing(self, names: Collection[str]) -> set[str]:
        """Return the topics that exist, as far as the broker says: without those that are certainly gone."""
        found, hidden = self._look(names)
        return found.keys() | hidden

    def offsets(self, partitions: Mapping[str, int]) -> dict[str, int]:
        """Offsets from the start to the end of topics: their records, and the commit markers of transactions."""
        specs: Any = OffsetSpec
        ends = self._sum_offsets(partitions, specs.latest())
        starts = self._sum_offsets(partitions, specs.earliest())
        return {name: ends[name] - starts[name] for name in partitions}

    def _sum_offsets(self, partitions: Mapping[str, int], spec: OffsetSpec) -> dict[str, int]:
        asked = {TopicPartition(name, i): spec for name, count in partitions.items() for i in range(count)}
        totals = dict.fromkeys(partitions, 0)

        def ask() -> None:
            futures = self._admin.list_offsets(asked, request_timeout=REQUEST_TIMEOUT_S) if asked else {}
            found = {partition: future.result().offset for partition, future in futures.items()}
            for partition, offset in found.items():
                totals[partition.topic] += offset

        with self._broker_errors("read the offsets"):
            _patiently(ask)
        return totals

    def group_members(self, group: str) -> int:
        """Return how many running consumers the group has; 0 if there is no such group."""

        def ask() -> int:
            future = self._admin.describe_consumer_groups([group], request_timeout=GROUP_TIMEOUT_S)[group]
            return len(future.result().members)

        with self._broker_errors(f"look at group {group}", unless={KafkaError.GROUP_ID_NOT_FOUND}):
            return _patiently(ask)
        return 0

    def allowed_on_topics(self, names: Collection[str]) -> dict[str, Collection[AclOperation] | None]:
        """Return the operations that we may do on topics; None if the broker does not say."""
        futures = self._admin.describe_topics(
            TopicCollection(list(names)), include_authorized_operations=True, request_timeout=REQUEST_TIMEOUT_S
        )
        found: dict[str, Collection[AclOperation] | None] = {}
        for name, future in futures.items():
            try:
                with _still_there(name):
                    found[name] = future.result().authorized_operations
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    raise failure(f"describe topic {name}", error.args[0], self._heard_of()) from error
                found[name] = []
        return found

    def allowed_on_group(self, group: str) -> Collection[AclOperation] | None:
        """Return the operations that we may do on a consumer group; None if the broker does not say."""

        def ask() -> Collection[AclOperation] | None:
            futures = self._admin.describe_consumer_groups(
                [group], include_authorized_operations=True, request_timeout=GROUP_TIMEOUT_S
            )
            found: Collection[AclOperation] | None = futures[group].result().authorized_operations
            return found

        try:
            return _patiently(ask)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                return []
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:  # not there yet
                return None
            raise failure(f"look at group {group}", error.args[0], self._heard_of()) from error

    def delete_group(self, group: str) -> None:
        """Delete a consumer group without members, and with it its committed offsets; none may be there."""

        def ask() -> None:
            self._admin.delete_consumer_groups([group], request_timeout=GROUP_TIMEOUT_S)[group].result()

        with self._broker_errors(f"delete group {group}", unless={KafkaError.GROUP_ID_NOT_FOUND}):
            _patiently(ask)

    def _answers(self, futures: Mapping[str, Any], doing: str, unless: Collection[int] = ()) -> dict[str, Any]:
        """Wait for what the broker says of each topic, without topics that an error of ``unless`` hides."""
        found = {}
        for name, future in futures.items():
            with self._broker_errors(f"{doing} topic {name}", unless=unless):
                found[name] = future.result()
        return found

    @contextmanager
    def _broker_errors(self, doing: str, unless: Collection[int] = ()) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            if error.args[0].code() not in unless:
                raise failure(doing, error.args[0], self._heard_of()) from error

    def _heard_of(self) -> str:
        """The library's last words on its connections since the broker first answered."""
        self._heard.clear()
        self._admin.poll(0)
        return _reason(self._heard)


@contextmanager
def _still_there(topic: str) -> Iterator[None]:
    """Around a question about a topic that the broker has shown: if it is unknown now, the next try will say so.

    Raises:
        OutageError: the topic was deleted meanwhile, or is being created again.
    """
    try:
        yield
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise OutageError(f"topic {topic} was there and has just been deleted") from error
        raise


def _reason(heard: list[KafkaError]) -> str:
    reasons = [words(cause) for cause in heard if cause.code() != KafkaError._ALL_BROKERS_DOWN]
    return f": {reasons[-1]}" if reasons else ""


def _patiently(ask: Callable[[], T]) -> T:
    return patiently(ask, REQUEST_TIMEOUT_S, NOT_YET | {KafkaError._TIMED_OUT})


def _wait(done: Callable[[], bool], complaint: str) -> None:
    """The controller has acted when it answers; the brokers learn of it a moment later, leaders of partitions too."""
    deadline = time.monotonic() + REQUEST_TIMEOUT_S
    while True:
        with suppress(OutageError):
            if done():
                return
        if time.monotonic() > deadline:
            raise OutageError(f"{complaint} after {REQUEST_TIMEOUT_S:g} s")
        time.sleep(0.02)
