"""Produce requests that leave and are answered without a task for each.

aiokafka's sender starts a task for every request and wakes up when it ends. `Sending` takes the place of its routine:
batches leave in the turn of the loop in which the sender takes them, and are done in the one in which the answer comes.
What has first to wait (for a connection, or after an error) takes aiokafka's own way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from aiokafka.errors import (
    KafkaError,
    NodeNotReadyError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.producer.sender import Sender, SendProduceReqHandler

from stream_app.kafka.connections import ask, connected

log = logging.getLogger(__name__)


class Sending:
    """The routine of an idempotent producer's sender.

    Args:
        sender: aiokafka's, before its start.
        may_send: asked right before a request leaves.
    """

    def __init__(self, sender: Sender, may_send: Callable[[], bool]) -> None:
        self._sender = sender
        self._may_send = may_send
        self._waiting: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        sender._sender_routine = self.run

    async def run(self) -> None:
        """Send batches as they come, until it is cancelled. Raises what makes further sending impossible."""
        try:
            while True:
                await self._sender._maybe_wait_for_pid()
                await self._wait(self._drain())
                if self._failure is not None:
                    raise self._failure
        except asyncio.CancelledError:
            for task in list(self._waiting):
                await task
        except (ProducerFenced, OutOfOrderSequenceNumber, TransactionalIdAuthorizationFailed):
            raise
        except Exception as error:
            log.exception("batches can no longer be sent")
            raise KafkaError("batches can no longer be sent") from error

    def _drain(self) -> bool:
        """Send the batches that may be sent now; True if leaders are to be looked for."""
        sender = self._sender
        batches, unknown = sender._message_accumulator.drain_by_nodes(
            ignore_nodes=sender._in_flight, muted_partitions=sender._muted_partitions
        )
        for node_id, of_node in batches.items():
            self._send(node_id, of_node)
        return bool(unknown)

    async def _wait(self, look_for_leaders: bool) -> None:
        waiter = self._sender._message_accumulator.waiter()
        if look_for_leaders:
            found = self._sender.client.force_metadata_update()
            await asyncio.wait({found, waiter}, return_when=asyncio.FIRST_COMPLETED)
        else:
            await waiter

    def _send(self, node_id: int, batches: dict[Any, Any]) -> None:
        sender = self._sender
        sender._in_flight.add(node_id)
        sender._muted_partitions.update(batches)
        connection = connected(sender.client, node_id)
        if connection is None:
            self._begin(self._send_later(node_id, batches))
            return
        handler = SendProduceReqHandler(sender, batches)

        def answered(response: Any) -> None:
            self._guarded(partial(_take_answer, handler), response)
            self._ended(node_id, handler)

        def failed(error: BaseException) -> None:
            self._refused(handler, error)
            self._ended(node_id, handler)

        try:
            if not self._may_send():
                raise NodeNotReadyError("no member of the group at this moment")
            ask(connection, handler.create_request(), answered, failed)
        except Exception as error:
            asyncio.get_running_loop().call_soon(failed, error)

    async def _send_later(self, node_id: int, batches: dict[Any, Any]) -> None:
        await self._sender._send_produce_req(node_id, batches)
        self._wake()

    def _refused(self, handler: SendProduceReqHandler, error: BaseException) -> None:
        """Do as aiokafka's handler does with an error that is not the broker's word on a batch."""
        if not isinstance(error, KafkaError):
            self._guarded(_raise, error)
            return
        log.warning("batches were not sent: %r", error)
        if getattr(error, "invalid_metadata", False):
            self._sender.client.force_metadata_update()
        for batch in handler._batches.values():
            if handler._can_retry(error, batch):
                handler._to_reenqueue.append(batch)
            else:
                batch.failure(exception=error)

    def _ended(self, node_id: int, handler: SendProduceReqHandler) -> None:
        if handler._to_reenqueue:
            self._begin(self._again(node_id, handler))
        else:
            self._free(node_id, handler._batches)

    async def _again(self, node_id: int, handler: SendProduceReqHandler) -> None:
        await asyncio.sleep(handler._default_backoff)
        for batch in handler._to_reenqueue:
            self._sender._message_accumulator.reenqueue(batch)
        await self._sender.client._maybe_wait_metadata()
        self._free(node_id, handler._batches)

    def _free(self, node_id: int, partitions: Collection[Any]) -> None:
        self._sender._in_flight.discard(node_id)
        self._sender._muted_partitions.difference_update(partitions)
        self._wake()

    def _wake(self) -> None:
        accumulator = self._sender._message_accumulator
        if accumulator._batches or self._failure is not None:
            accumulator._wakeup(accumulator.waiter())

    def _begin(self, waiting: Any) -> None:
        task = asyncio.get_running_loop().create_task(waiting)
        self._waiting.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._waiting.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._guarded(_raise, task.exception())

    def _guarded(self, run: Callable[[Any], Any], value: Any) -> None:
        """Run it; an error ends the routine."""
        try:
            run(value)
        except Exception as error:
            self._failure = error
            self._wake()


def _take_answer(handler: SendProduceReqHandler, response: Any) -> None:
    """Do what the broker says of each batch; one of which it says nothing is sent again, which repeats nothing."""
    handler.handle_response(response)
    for at, batch in handler._batches.items():
        if not batch.future.done() and batch not in handler._to_reenqueue:
            log.warning("%s[%d]: the broker's answer says nothing of this partition", *at)
            handler._to_reenqueue.append(batch)


def _raise(error: BaseException) -> None:
    raise error
