"""The topics as they should be: partitions and settings on the broker."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from stream_app.routes import DEAD_LETTERS, routes
from stream_app.settings import Settings

# The append time is the broker's truth for latency, and retention by it does not eat replayed history.
STREAM_CONFIG = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}

# A dead letter carries a whole record and says why: larger than any source's limit, 1 MiB unless changed.
DEAD_LETTER_CONFIG = STREAM_CONFIG | {"max.message.bytes": str(16 * 2**20)}

# A changelog is compacted when a segment rolls, by default after 1 GiB or 7 days: these make recovery read minutes, not
# days. The lag gives a stopped worker's late writes a minute to be seen before compaction hides them. The times are the
# broker's: it refuses records of a worker whose clock is an hour ahead.
CHANGELOG_CONFIG = {
    "cleanup.policy": "compact",  # never with delete: recovery can hang (faust-streaming/faust#176)
    "message.timestamp.type": "LogAppendTime",
    "segment.bytes": str(16 * 2**20),
    "segment.ms": "60000",
    "min.compaction.lag.ms": "60000",
    "max.compaction.lag.ms": "120000",
    "delete.retention.ms": "86400000",
    "min.cleanable.dirty.ratio": "0.1",
}


@dataclass(frozen=True)
class TopicPlan:
    """A topic as `create_topics` makes it."""

    name: str
    partitions: int
    config: dict[str, str]


def planned_topics(settings: Settings, partitions: Mapping[str, int] | None = None) -> list[TopicPlan]:
    """Every topic that the settings name, with the partitions it should have.

    Args:
        partitions: of source topics that are there, by full name; the setting ``partitions`` holds for the others.
    """
    plans = []
    for route in routes(settings).values():
        count = (partitions or {}).get(route.source, settings.partitions)
        plans += [
            TopicPlan(route.source, count, STREAM_CONFIG),
            TopicPlan(route.output, count, STREAM_CONFIG),
            TopicPlan(route.changelog, count, CHANGELOG_CONFIG),
        ]
    largest = max(plan.partitions for plan in plans)
    return [*plans, TopicPlan(settings.topic(DEAD_LETTERS), largest, DEAD_LETTER_CONFIG)]


def create_command(settings: Settings) -> str:
    """The command line that creates the topics of these settings."""
    options = {
        name: getattr(settings, name)
        for name in ("broker", "topic_prefix", "app_id", "partitions", "replication_factor", "tasks")
    }
    given = [
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in options.items()
        if value != Settings.model_fields[name].default
    ]
    return " ".join(["caststream topics create", *given])
