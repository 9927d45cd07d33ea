"""Read a demo's topics beside it, with a plain Kafka client in a thread of its own."""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Message

from core.arrays import Int64s
from stream_app.clients.topic_reader import TopicReader
from stream_app.headers import SOURCE_OFFSET
from stream_app.settings import Settings

READ_AT_ONCE = 5000
WATCHER_NICE = 10
# Few large fetches: whoever watches must not take the processor from what is watched.
LARGE_FETCHES = {"fetch.min.bytes": 200_000, "fetch.wait.max.ms": 100, "queued.min.messages": 20_000}


class TopicWatcher(threading.Thread):
    """Reads topics from their beginning until `stop`.

    Args:
        settings: the broker, and how many partitions each topic has.
        handlers: topic -> called with each of its messages, in this thread.

    Attributes:
        error: what ended the thread before `stop`, if anything did.
    """

    def __init__(self, settings: Settings, handlers: Mapping[str, Callable[[Message], None]]) -> None:
        super().__init__(name="watcher", daemon=True)
        self.error: BaseException | None = None
        self._settings, self._handlers = settings, handlers
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End reading and wait for it."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        """Thread body."""
        os.nice(WATCHER_NICE)  # of this thread, and of the client's threads, which it starts
        try:
            with TopicReader(self._settings.client_config(), "demo", more=LARGE_FETCHES) as reader:
                partitions = range(self._settings.partitions)
                starts = {(topic, partition): OFFSET_BEGINNING for topic in self._handlers for partition in partitions}
                for messages in reader.follow(starts, READ_AT_ONCE):
                    for message in messages:
                        self._handlers[message.topic() or ""](message)
                    if self._stopping.is_set():
                        break
        except Exception as error:
            self.error = error


def append_times(held: Mapping[int, array[int]]) -> tuple[dict[int, Int64s], int]:
    """The append times that a watcher has read so far, by partition, and the first of them all.

    They are copied by the arrays themselves, in one step: the reader appends meanwhile, which a view would forbid.
    """
    times = {partition: np.frombuffer(each.tobytes(), np.int64) for partition, each in list(held.items())}
    return times, min((each[0] for each in times.values() if len(each)), default=0)


def source_offset(message: Message) -> int:
    """The offset of the record that an output was made of."""
    headers: Any = message.headers() or []
    return int(dict(headers)[SOURCE_OFFSET])
