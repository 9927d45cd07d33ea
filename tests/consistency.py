"""The verdict of ``caststream verify`` on the system of a test."""

from __future__ import annotations

from typing import Any

from stream_app.clients.committed import committed_offsets
from stream_app.clients.topic_reader import TopicReader
from stream_app.routes import routes
from stream_app.settings import Settings
from stream_app.verify import VerifyReport, verify
from tests.broker import DEADLINE_S, wait_until


def assert_consistent(settings: Settings, **options: Any) -> VerifyReport:
    """Everything that came out equals the offline run, nothing is missing and nothing is there again.

    ``options`` are those of `verify`. What was found is in the report.
    """
    report = verify(settings, **options)
    assert report.ok, str(report)
    return report


def drained(settings: Settings, deadline: float = DEADLINE_S) -> None:
    """Wait until the workers have committed every record that the sources hold now."""
    sources = [route.source for route in routes(settings).values()]
    with TopicReader(settings.client_config()) as reader:
        ends = {at: reader.bounds(at)[1] for topic in sources for at in reader.partitions(topic)}

        def behind() -> list[str]:
            committed = committed_offsets(settings)
            return [
                f"{topic}[{partition}]: {committed.get((topic, partition), -1)} of {end}"
                for (topic, partition), end in ends.items()
                if _left(reader, topic, partition, committed.get((topic, partition), 0), end)
            ]

        wait_until(lambda: not behind(), deadline, "all records committed")


def _left(reader: TopicReader, topic: str, partition: int, committed: int, end: int) -> bool:
    """Whether a record is not committed; behind the last one there may be markers of transactions."""
    first, _ = reader.bounds((topic, partition))
    return reader.first((topic, partition), max(first, committed), end) is not None
