"""A producer that sends only while the lease is held, and that can be thrown away with its unsent records."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from typing import Any

import aiokafka
from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import TopicPartition

from stream_app.kafka.connections import read_by_frames
from stream_app.kafka.lease import Lease
from stream_app.kafka.sending import Sending
from stream_app.kafka.shipment import Arrived, Refused

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 0.05
LOOK_AT_LEAST_S = 0.5  # the lease's clock counts while a machine sleeps, the loop's does not
DISCARD_PATIENCE_S = 5.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: what the kernel still holds is not sent


async def throw_away(producer: aiokafka.AIOKafkaProducer) -> None:
    """Close a producer and drop its unsent records. aiokafka's ``stop`` would wait for them, for ever if a broker is
    away.
    """
    producer._closed = True
    for close in (producer._sender.close, producer.client.close):
        with contextlib.suppress(Exception):
            await asyncio.wait_for(close(), DISCARD_PATIENCE_S)


class QuietProducer(aiokafka.AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
    """An idempotent aiokafka producer whose sender may end by an error without asyncio warning of it with a traceback.

    The error is set on futures that may have nobody waiting for them. Whoever does wait gets it all the same.
    """

    async def start(self) -> None:
        await super().start()
        if self._txn_manager._transaction_waiter is None:  # outside of transactions; the sender's own end fails on that
            self._txn_manager._transaction_waiter = asyncio.get_running_loop().create_future()
        self._sender.sender_task.add_done_callback(self._retrieve_errors)  # after the sender's own, which sets them

    def _retrieve_errors(self, sender: asyncio.Task[None]) -> None:
        """Retrieve the errors of the sender's futures. The attributes are those of aiokafka 0.14."""
        if sender.cancelled() or sender.exception() is None:
            return
        accumulator = self._message_accumulator
        batches = {batch for queue in accumulator._batches.values() for batch in queue} | accumulator._pending_batches
        for future in (*(batch._drain_waiter for batch in batches), self._txn_manager._transaction_waiter):
            if future.done() and not future.cancelled():
                future.exception()


class FencedProducer(QuietProducer):
    """An idempotent producer whose produce requests leave only while the lease is held.

    Without it they wait, in order. At the lease's end connections are cut, so that bytes that are stuck on their way
    do not arrive later.

    Args:
        lease: asked right before each request, after a connection was waited for.
        config: aiokafka's own arguments.
    """

    def __init__(self, lease: Lease, **config: Any) -> None:
        super().__init__(**config)
        self._lease = lease
        self._discarded = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._stock_drain, self._stock_send = self._message_accumulator.drain_by_nodes, self.client.send
        self._message_accumulator.drain_by_nodes = self._drain
        self.client.send = self._send_request
        read_by_frames(self.client)
        self._sending = Sending(self._sender, self._may_send)

    def _may_send(self) -> bool:
        return self._lease.held and not self._discarded.is_set()

    async def start(self) -> None:
        await super().start()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Send the remaining records, as far as the lease allows, and close."""
        if self._watching is not None:
            self._watching.cancel()
        await super().stop()

    async def flush(self) -> None:
        """Wait until everything is delivered, or until it never will be.

        aiokafka's sender, once closed, leaves the batches that it still has as they are: neither sent nor failed.
        """
        flushing = asyncio.ensure_future(super().flush())
        discarding = asyncio.ensure_future(self._discarded.wait())
        try:
            await asyncio.wait((flushing, discarding), return_when=asyncio.FIRST_COMPLETED)
        finally:
            flushing.cancel()
            discarding.cancel()

    def put(self, batch: Any, topic: str, partition: int, arrived: Arrived, refused: Refused) -> bool:
        """Take a batch without a wait and without a future, to be sent with `go`; False where it has to wait.

        Args:
            batch: holds the records.
            topic: where it goes.
            partition: of the topic.
            arrived: called with the base offset when the broker has it.
            refused: called with the error when it never will.
        """
        known = partition in (self.client.cluster.partitions_for_topic(topic) or ())
        return known and self._sending.put(batch, TopicPartition(topic, partition), arrived, refused)

    def go(self) -> None:
        """Send what was put, as far as nothing has to be waited for; the rest leaves as soon as it can."""
        self._sending.go()

    def discard(self) -> None:
        """Send nothing more, from now on; connections are cut. Returns at once."""
        if self._discarded.is_set():
            return
        self._discarded.set()
        self._closed = True
        self._cut_connections()
        if self._watching is not None:
            self._watching.cancel()
        self._watching = asyncio.create_task(throw_away(self))

    async def _watch(self) -> None:
        held, told = self._lease.held, False
        while True:
            await asyncio.sleep(min(max(self._lease.left, LOOK_AGAIN_S), LOOK_AT_LEAST_S))
            if held and not self._lease.held:
                log.warning("no answer from the group's coordinator: nothing is published until there is one")
                self._cut_connections()
                told = True
            held = self._lease.held
            if held and told:
                log.info("the group's coordinator answers again")
                told = False

    # What aiokafka's sender calls.

    def _drain(self, ignore_nodes: Any, muted_partitions: Any = frozenset()) -> Any:
        """The batches that may be sent now, by node; batches get their sequence numbers here."""
        if self._may_send():
            return self._stock_drain(ignore_nodes, muted_partitions)
        accumulator, loop = self._message_accumulator, asyncio.get_running_loop()
        accumulator._waiter_future = loop.create_future()
        loop.call_later(LOOK_AGAIN_S, accumulator._wakeup, accumulator._waiter_future)
        return {}, False

    async def _send_request(self, node_id: int, request: Any, **options: Any) -> Any:
        # A connection may take its time. From the question to the bytes' way out nothing is waited for.
        if isinstance(request, ProduceRequest) and not (await self.client.ready(node_id) and self._may_send()):
            raise NodeNotReadyError("no connection, or no member of the group at this moment")
        return await self._stock_send(node_id, request, **options)

    def _cut_connections(self) -> None:
        for connection in list(self.client._conns.values()):
            writer = connection._writer
            if writer is not None:
                raw = writer.get_extra_info("socket")
                with contextlib.suppress(OSError, AttributeError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                writer.transport.abort()
                connection.close()
