"""A batch on its way to the broker, without the futures of aiokafka's.

aiokafka's batch has two futures, and whoever gave it adds a third that is told in a later turn of the loop. A
`Shipment` calls back, in the turn in which the answer comes; whoever asks for a future gets one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiokafka.structs import TopicPartition

Arrived = Callable[[int], None]
Refused = Callable[[BaseException], None]


class Shipment:
    """Stands where aiokafka's accumulator, sender and handler have a `MessageBatch`; their names are kept.

    Args:
        at: where it goes.
        builder: holds the records.
        arrived: called with the base offset when the broker has it.
        refused: called with the error when it never will, in a later turn of the loop.
        patience_s: it fails where its partition has no leader for so long.
        pending: holds it from when it leaves until it has arrived or is refused.
    """

    __slots__ = (
        "_arrived",
        "_builder",
        "_drained",
        "_error",
        "_expires",
        "_future",
        "_pending",
        "_refused",
        "retry_count",
        "tp",
    )

    def __init__(
        self,
        at: TopicPartition,
        builder: Any,
        arrived: Arrived,
        refused: Refused,
        patience_s: float,
        pending: set[Any],
    ) -> None:
        self.tp = at
        self.retry_count = 0
        self._builder = builder
        self._arrived, self._refused = arrived, refused
        self._expires = time.monotonic() + patience_s
        self._pending = pending
        self._future: asyncio.Future[Any] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    # On its way.

    def leave(self, transactions: Any) -> None:
        """It is sent now, the first time with the next sequence number of its partition, later with the same."""
        if self.retry_count == 0:
            number, count = transactions.sequence_number(self.tp), self._builder.record_count()
            transactions.increment_sequence_number(self.tp, count)
            self._builder._set_producer_state(*transactions._pid_and_epoch, number)
        self.retry_count += 1
        self._pending.add(self)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def done(self, base_offset: int, *_: object) -> None:
        """The broker has it."""
        self._pending.discard(self)
        if self._future is not None and not self._future.done():
            self._future.set_result(base_offset)
        self._arrived(base_offset)

    def failure(self, exception: BaseException) -> None:
        """The broker never will have it. Told later: aiokafka goes through the pending ones meanwhile."""
        loop = asyncio.get_running_loop()
        loop.call_soon(self._pending.discard, self)
        loop.call_soon(self._refused, exception)
        self._error = exception
        for future in (self._future, self._drained):
            if future is not None and not future.done():
                _fail(future, exception)

    # What aiokafka asks for.

    @property
    def future(self) -> asyncio.Future[Any]:
        """Done when the broker has it, or with the error."""
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
            if self._error is not None:  # until a later turn it is among the pending ones, for which a flush waits
                _fail(self._future, self._error)
        return self._future

    @property
    def _drain_waiter(self) -> asyncio.Future[None]:
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
        return self._drained

    async def wait_drain(self, timeout: float | None = None) -> None:  # aiokafka's signature
        """Wait until it leaves, or fails."""
        await asyncio.wait([self._drain_waiter], timeout=timeout)
        if self._drain_waiter.done():
            self._drain_waiter.result()

    def reset_drain(self) -> None:
        """It is to leave again."""
        self._drained = None

    def remaining_linger(self) -> None:
        """Return None: it never waits for more records."""

    def expired(self) -> bool:
        """True if a leader was looked for in vain for long enough."""
        return time.monotonic() > self._expires

    def is_empty(self) -> bool:
        """False: it was given with its records."""
        return False

    def get_data_buffer(self) -> Any:
        """Return its bytes."""
        return self._builder._build()


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    future.set_exception(error)
    future.exception()  # retrieved: whoever waits gets it too, nobody is warned in vain
