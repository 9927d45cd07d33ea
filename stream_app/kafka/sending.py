"""Produce requests that leave and are answered without a task for each.

aiokafka's sender starts a task for every request and wakes up when it ends. `Sending` takes the place of its routine:
batches leave in the turn of the loop in which they are given, and are done in the one in which the answer comes.
What has first to wait (for a connection, for a leader, or after an error) takes aiokafka's own way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
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
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import TopicPartition

from stream_app.kafka.connections import ask, connected
from stream_app.kafka.shipment import Arrived, Refused, Shipment

log = logging.getLogger(__name__)

Batches = Mapping[TopicPartition, Any]


class Sending:
    """The routine of an idempotent producer's sender, and the way around it.

    Args:
        sender: aiokafka's, before its start.
        may_send: asked right before a request leaves.
    """

    def __init__(self, sender: Sender, may_send: Callable[[], bool]) -> None:
        self._sender = sender
        self._may_send = may_send
        self._waiting: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        self._accumulator = sender._message_accumulator
        self._stock_pop = self._accumulator._pop_batch
        self._accumulator._pop_batch = self._pop
        sender._sender_routine = self.run

    def put(self, builder: Any, at: TopicPartition, arrived: Arrived, refused: Refused) -> bool:
        """Take a batch, which leaves with the next `go`, or as soon as it can; False where others wait before it, or
        nothing is taken any more.
        """
        accumulator = self._accumulator
        if accumulator._closed or accumulator._exception is not None or at in accumulator._batches:
            return False
        shipment = Shipment(at, builder, arrived, refused, accumulator._batch_ttl, accumulator._pending_batches)
        accumulator._batches[at].append(shipment)
        return True

    def go(self) -> None:
        """Send at once what has been put, as far as nothing has to be waited for."""
        if not self._accumulator._batches:
            return
        if not self._may_send() or self._failure is not None:
            self._wake()
            return
        try:
            self._send_ready()
        except Exception as error:  # whoever calls, an answer for one, cannot tell it
            self._fail(error)

    def _send_ready(self) -> None:
        found, others = self._ready()
        for node_id, batches in found.items():
            self._send(node_id, batches)
        if others:
            self._wake()

    def _ready(self) -> tuple[dict[int, dict[TopicPartition, Any]], bool]:
        """Take what can be sent now, by node; True if the routine has to look after others."""
        sender, leader = self._sender, self._sender.client.cluster.leader_for_partition
        found: dict[int, dict[TopicPartition, Any]] = {}
        others = False
        for at, queue in list(self._accumulator._batches.items()):
            if at in sender._muted_partitions:
                continue  # until the answer that it waits for
            node_id = leader(at)
            if node_id is None or node_id < 0 or not isinstance(queue[0], Shipment):
                others = True
            elif node_id not in sender._in_flight:
                found.setdefault(node_id, {})[at] = self._pop(at)
        return found, others

    def _pop(self, at: TopicPartition) -> Any:
        """Take the next batch of a partition, as aiokafka's accumulator does."""
        batches = self._accumulator._batches
        if not isinstance(batches[at][0], Shipment):
            return self._stock_pop(at)
        shipment = batches[at].popleft()
        if not batches[at]:
            del batches[at]
        shipment.leave(self._sender._txn_manager)
        return shipment

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

    def _send(self, node_id: int, batches: Batches) -> None:
        sender = self._sender
        sender._in_flight.add(node_id)
        sender._muted_partitions.update(batches)
        connection = connected(sender.client, node_id)
        if connection is None:
            self._begin(self._send_later(node_id, batches))
            return
        answered, failed = partial(self._answered, node_id, batches), partial(self._failed, node_id, batches)
        try:
            if not self._may_send():
                raise NodeNotReadyError("no member of the group at this moment")
            ask(connection, _request(sender, batches), answered, failed)
        except Exception as error:
            asyncio.get_running_loop().call_soon(failed, error)

    def _answered(self, node_id: int, batches: Batches, response: Any) -> None:
        """Take the broker's word. What it does not just confirm is aiokafka's handler's to judge."""
        left = dict(batches)
        try:
            _take_confirmed(left, response)
        except Exception as error:
            self._fail(error)
        if not left:
            self._free(node_id, batches)
            return
        handler = SendProduceReqHandler(self._sender, left)
        self._guarded(partial(_take_answer, handler), response)
        self._ended(node_id, batches, handler)

    def _failed(self, node_id: int, batches: Batches, error: BaseException) -> None:
        handler = SendProduceReqHandler(self._sender, dict(batches))
        self._refused(handler, error)
        self._ended(node_id, batches, handler)

    async def _send_later(self, node_id: int, batches: Batches) -> None:
        await self._sender._send_produce_req(node_id, batches)
        self._go_on()

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

    def _ended(self, node_id: int, batches: Batches, handler: SendProduceReqHandler) -> None:
        if handler._to_reenqueue:
            self._begin(self._again(node_id, batches, handler))
        else:
            self._free(node_id, batches)

    async def _again(self, node_id: int, batches: Batches, handler: SendProduceReqHandler) -> None:
        await asyncio.sleep(handler._default_backoff)
        for batch in handler._to_reenqueue:
            self._accumulator.reenqueue(batch)
        await self._sender.client._maybe_wait_metadata()
        self._free(node_id, batches)

    def _free(self, node_id: int, partitions: Collection[Any]) -> None:
        self._sender._in_flight.discard(node_id)
        self._sender._muted_partitions.difference_update(partitions)
        self._go_on()

    def _go_on(self) -> None:
        if self._failure is not None:
            self._wake()
        else:
            self.go()

    def _wake(self) -> None:
        """Have the routine look."""
        self._accumulator._wakeup(self._accumulator.waiter())

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
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._wake()


def _request(sender: Sender, batches: Batches) -> ProduceRequest:
    topics: dict[str, list[tuple[int, Any]]] = {}
    for at, batch in batches.items():
        topics.setdefault(at.topic, []).append((at.partition, batch.get_data_buffer()))
    return ProduceRequest(
        transactional_id=sender._txn_manager.transactional_id,
        required_acks=sender._acks,
        timeout=sender._request_timeout_ms,
        topics=list(topics.items()),
    )


def _take_confirmed(batches: dict[TopicPartition, Any], response: Any) -> None:
    """Remove the batches that the broker has, and tell them."""
    for topic, partitions in response.topics:
        for number, error, offset, *_ in partitions:
            if error == 0 and (batch := batches.pop((topic, number), None)) is not None:
                batch.done(offset)


def _take_answer(handler: SendProduceReqHandler, response: Any) -> None:
    """Do what the broker says of each batch; one of which it says nothing is sent again, which repeats nothing."""
    handler.handle_response(response)
    told = {(topic, partition[0]) for topic, partitions in response.topics for partition in partitions}
    for at, batch in handler._batches.items():
        if at not in told:
            log.warning("%s[%d]: the broker's answer says nothing of this partition", *at)
            handler._to_reenqueue.append(batch)


def _raise(error: BaseException) -> None:
    raise error
