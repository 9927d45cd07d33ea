"""A system's logs in memory, read as `TopicReader` reads them from a broker: for audits of many damaged copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME

from stream_app.routes import Partition
from stream_app.verify import VerifyReport
from stream_app.verify.run import Verification
from tests.broker import Received
from tests.system_copy import System, names

Range = tuple[int, int]


@dataclass(frozen=True)
class Read:
    """A record with the methods of confluent-kafka's Message."""

    record: Received
    at: int

    def topic(self) -> str:
        return self.record.topic

    def partition(self) -> int:
        return self.record.partition

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_CREATE_TIME, self.record.timestamp

    def key(self) -> bytes | None:
        return self.record.key

    def value(self) -> bytes | None:
        return self.record.value

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self.record.headers or None


class LogReader:
    """Answers what `verify` asks a `TopicReader`. Offsets begin at 0 in each partition, as in a copy on the broker."""

    def __init__(self, system: System) -> None:
        self._logs: dict[Partition, list[Read]] = {}
        self._topics = dict.fromkeys(names(system.settings).values(), system.settings.partitions)
        for log, topic in names(system.settings).items():
            for record in system.logs[log]:
                partition = self._logs.setdefault((topic, record.partition), [])
                partition.append(Read(record, len(partition)))

    def topics(self, timeout_s: float) -> dict[str, int]:
        return self._topics

    def bounds(self, at: Partition) -> Range:
        return 0, len(self._logs.get(at, []))

    full_bounds = bounds

    def offsets_since(self, places: Iterable[Partition], time_ms: int) -> dict[Partition, int]:
        return {at: self._since(at, time_ms) for at in places}

    def _since(self, at: Partition, time_ms: int) -> int:
        later = (read.at for read in self._logs.get(at, []) if read.record.timestamp >= time_ms)
        return next(later, self.bounds(at)[1])

    def first(self, at: Partition, start: int, end: int) -> Read | None:
        return next(self.read({at: (start, end)}), None)

    def read(self, ranges: Mapping[Partition, Range]) -> Iterator[Read]:
        for at, (start, end) in ranges.items():
            yield from self._logs.get(at, [])[start:end]


def verified(system: System, damage: Callable[[System], None], **options: Any) -> VerifyReport:
    """The report of `verify` on a copy in memory with the damage done; ``options`` are those of `verify`."""
    copy = system.copy()
    damage(copy)
    committed = {(copy.settings.topic(source), at): offset for (source, at), offset in copy.committed.items()}
    reader: Any = LogReader(copy)
    return Verification(copy.settings, **options).compare(reader, lambda: committed)
