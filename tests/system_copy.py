"""A system as it stands in Kafka, copied under other names with something changed: what an audit has to find."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from stream_app.clients.admin import Cluster
from stream_app.routes import DEAD_LETTERS, ROUTES
from stream_app.settings import Settings
from stream_app.topics.plans import planned_topics
from tests.admin import commit, committed
from tests.broker import Received, ToSend, consume_all, produce

Logs = dict[str, list[Received]]
"""Topic or table -> its records, by partition and offset."""


@dataclass
class System:
    """All that Kafka holds of a system."""

    settings: Settings
    logs: Logs
    committed: dict[tuple[str, int], int]
    """Source topic, without prefix, and partition -> committed offset."""

    def copy(self) -> System:
        """Another system of the same records, to be changed."""
        return System(self.settings, {log: list(records) for log, records in self.logs.items()}, dict(self.committed))

    def only(self, log: str, key: str | None = None, **fields: Any) -> Received:
        """The last record of a log of that key and with these fields in its value."""
        found = [record for record in self.logs[log] if key is None or record.key == key.encode()]
        if fields:
            found = [record for record in found if fields.items() <= record.json.items()]
        return found[-1]

    def drop(self, log: str, record: Received) -> None:
        self.logs[log].remove(record)

    def put(self, log: str, record: Received, **changes: Any) -> None:
        """Add a record, changed, to the end of its log."""
        self.logs[log].append(replace(record, **changes))

    def change(self, log: str, record: Received, **changes: Any) -> None:
        """Have other attributes in a record's place."""
        at = self.logs[log].index(record)
        self.logs[log][at] = replace(record, **changes)


def names(settings: Settings) -> dict[str, str]:
    """Log -> its topic on the broker."""
    topics = [name for source, (output, _) in ROUTES.items() for name in (source, output)]
    found = {name: settings.topic(name) for name in (*topics, DEAD_LETTERS)}
    return found | {table: settings.changelog(table) for _, table in ROUTES.values()}


def look_at(settings: Settings) -> System:
    """Read everything of a system that stands still."""
    logs = {log: consume_all(settings, topic) for log, topic in names(settings).items()}
    sources = {settings.topic(source): source for source in ROUTES}
    offsets = {(sources[topic], number): offset for (topic, number), (offset, _) in committed(settings).items()}
    return System(settings, logs, offsets)


def copied(system: System, damage: Callable[[System], None]) -> Settings:
    """The system under names of its own, with the damage done; its append times are as they were."""
    changed = system.copy()
    damage(changed)
    name = f"d{uuid.uuid4().hex[:10]}"
    settings = system.settings.replace(app_id=name, topic_prefix=f"{name}-")
    plans = planned_topics(settings)
    # The producer's times count, so that records keep the append times that are in states and predictions.
    Cluster(settings).create({plan.name: plan.partitions for plan in plans}, 1, {plan.name: {} for plan in plans})
    for log, topic in names(settings).items():
        produce(settings, topic, [_as_sent(record, system.settings, settings) for record in changed.logs[log]])
    offsets = {(settings.topic(source), at): (offset, "") for (source, at), offset in changed.committed.items()}
    if offsets:
        commit(settings, offsets)
    return settings


def _as_sent(record: Received, old: Settings, new: Settings) -> ToSend:
    renamed = {old.app_id.encode(): new.app_id.encode()}
    renamed |= {old.topic(source).encode(): new.topic(source).encode() for source in ROUTES}
    headers = [(name, renamed.get(value, value)) for name, value in record.headers]
    return ToSend(record.key, record.value, headers, record.partition, record.timestamp)


def with_fields(record: Received, **fields: Any) -> bytes:
    """The value of a JSON record with other fields."""
    return msgspec.json.encode({**record.json, **fields})


def with_header(record: Received, name: str, value: bytes) -> list[tuple[str, bytes]]:
    """A record's headers, one of them with another value; a worker's block keeps its order."""
    return [(each, value if each == name else old) for each, old in record.headers]
