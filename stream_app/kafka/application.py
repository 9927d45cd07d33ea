"""The part of the application that the transport uses. `stream_app.worker.app` is in a room above, so it is not
imported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Protocol

from faust.types import TP

from stream_app.kafka.chunks import Chunk
from stream_app.kafka.lease import Lease
from stream_app.settings import Settings


class Application(Protocol):
    """A Faust application that takes chunks."""

    settings: Settings
    lease: Lease
    assignor: Any
    conf: Any
    """Faust's own settings."""
    flow_control: Any
    """Faust's: whether events are taken out of queues."""
    consumer_generation_id: int
    """The group's generation, as the last assignment named it."""

    @property
    def should_stop(self) -> bool:
        """True once the application is being stopped."""

    @property
    def takes_chunks(self) -> bool:
        """True if chunks of the group's generation would be applied."""

    @property
    def source_topics(self) -> Collection[str]:
        """Return the topics whose records are processed."""

    def full_topics(self) -> Collection[str]:
        """Return the sources whose records are not wanted now."""

    def has_place(self, topic: str) -> bool:
        """True if a chunk of a source can be handed on without waiting."""

    def hand(self, chunks: Iterable[Chunk]) -> None:
        """Hand chunks on, whose sources have a place."""

    def queue_of(self, topic: str) -> Any:
        """Return the queue of the agent that takes the chunks of a source."""

    def taken_up(self, partitions: Iterable[TP]) -> set[TP]:
        """Return the source partitions whose records may be applied."""
