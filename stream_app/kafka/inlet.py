"""The way of chunks into an agent: through its queue, or at once where nothing is to be waited for.

At low load the queue, the agent's step and two turns of the event loop cost as much as applying the record does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from stream_app.kafka.chunks import Chunk

SMALL_RECORDS = 200
"""A larger chunk takes so long that the next fetch is to be on its way meanwhile."""


class Inlet:
    """The agent's end of a queue of chunks.

    Args:
        apply: applies a chunk; False, and nothing is done, where that has to wait.
    """

    def __init__(self, apply: Callable[[Chunk], bool]) -> None:
        self._apply = apply
        self._queue: Any = None
        self._waits = False

    async def chunks(self, stream: Any) -> AsyncIterator[Chunk]:
        """The chunks that the transport puts into the queue of an agent's stream.

        Faust's own iterator takes events out of it, with sensors and acknowledgements of single messages. They took as
        long as a small chunk itself, and `stream_app.flow.commits` needs none of them.
        """
        await stream.maybe_start()
        self._queue = stream.channel.queue
        while True:
            try:
                chunk = await self._next()
            except StopAsyncIteration:  # so Faust ends an agent
                return
            yield chunk

    async def _next(self) -> Chunk:
        self._waits = True
        try:
            chunk: Chunk = await self._queue.get()
            return chunk
        finally:
            self._waits = False

    @property
    def is_free(self) -> bool:
        """True if the agent waits for a chunk, and none is on its way to it: what comes now overtakes nothing."""
        return self._waits and self._queue.empty()

    def take(self, chunk: Chunk) -> bool:
        """Apply a small chunk now, in place of the agent; False where it has to go through the queue."""
        return self.is_free and sum(map(len, chunk.records.values())) <= SMALL_RECORDS and self._apply(chunk)
