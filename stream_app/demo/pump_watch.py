"""Read the samples and the outputs of the pumps' task with a plain Kafka client."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass, field

import msgspec
import numpy as np
from confluent_kafka import Message

from core.arrays import Int64s
from stream_app.demo.topic_watcher import TopicWatcher, append_times, source_offset
from stream_app.routes import Route
from stream_app.settings import Settings

StreamKey = tuple[str, int]
"""A sequence and a step in it."""


class PumpOutput(msgspec.Struct, frozen=True):
    """The part of an output that the demo shows and judges."""

    stream: str
    sequence: str
    step: int
    timestamp_ms: int
    score: float | None = None
    leading: str | None = None
    alarm: bool | None = None

    @property
    def key(self) -> StreamKey:
        return self.sequence, self.step


DECODER = msgspec.json.Decoder(PumpOutput)


@dataclass
class PumpsWatched:
    """Everything that was read so far; ``values`` are the records' values as they are."""

    values: dict[StreamKey, bytes] = field(default_factory=dict)
    latest: dict[str, PumpOutput] = field(default_factory=dict)
    alarms: dict[str, list[PumpOutput]] = field(default_factory=lambda: defaultdict(list))
    """Stream -> its outputs under alarm, in order."""
    appended_ms: dict[int, array[int]] = field(default_factory=lambda: defaultdict(lambda: array("q")))
    """Partition of the samples -> append time by offset."""
    published: list[tuple[int, int, int]] = field(default_factory=list)
    """The partition and offset of each output's sample, and the output's own append time."""
    sent: int = 0
    repeated: int = 0
    dead_letters: int = 0

    def add(self, value: bytes) -> bool:
        """Take an output; False if it was there already."""
        found = DECODER.decode(value)
        if found.key in self.values:
            self.repeated += 1
            return False
        self.values[found.key] = value
        self.latest[found.stream] = found
        if found.alarm:
            self.alarms[found.stream].append(found)
        return True

    def latencies_ms(self, skip_ms: int = 1000) -> Int64s:
        """Return the time from each sample's append to its output's, without samples of the first ``skip_ms``."""
        times, first = append_times(self.appended_ms)
        pairs = [
            (times[part][offset], done)
            for part, offset, done in list(self.published)
            if part in times and offset < len(times[part]) and times[part][offset] >= first + skip_ms
        ]
        return np.array([done - begun for begun, done in pairs], np.int64)


class PumpWatcher(TopicWatcher):
    """Reads the topics of the pumps' task."""

    def __init__(self, settings: Settings, route: Route) -> None:
        self.watched = PumpsWatched()
        super().__init__(
            settings,
            {
                route.source: self._on_sample,
                route.output: self._on_output,
                route.dead_letters: self._on_dead_letter,
            },
        )

    def _on_sample(self, message: Message) -> None:
        self.watched.appended_ms[message.partition() or 0].append(message.timestamp()[1])
        self.watched.sent += 1

    def _on_output(self, message: Message) -> None:
        if self.watched.add(message.value() or b""):
            self.watched.published.append((message.partition() or 0, source_offset(message), message.timestamp()[1]))

    def _on_dead_letter(self, message: Message) -> None:
        self.watched.dead_letters += 1
