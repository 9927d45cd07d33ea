"""Connections to brokers that take an answer in the turn of the loop in which its bytes arrive.

aiokafka reads each connection in a task, through a stream's buffer, and waits for each answer in another task with a
timeout: at low load that was a third of a worker's time. Here `Frames` cuts the answers out of the received bytes, and
`ask` calls back with them. All else stays aiokafka's: opening, versions, SASL, and requests that are awaited.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Callable
from typing import Any

from aiokafka.client import ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import CorrelationIdError, RequestTimedOutError

from stream_app.kafka.shared_timer import SharedTimer
from stream_app.kafka.wire import Message, message_of
from stream_app.native.frames import FrameCutter

log = logging.getLogger(__name__)

ROOM_BYTES = 2**16
# Five times what a fetch asks for. A larger size is no size: room for it is not made.
LARGEST_BYTES = 2**28
_INT32 = struct.Struct(">i")
Answered = Callable[[Any], None]
Failed = Callable[[BaseException], None]


class Reply:
    """Takes the answer to a request of `ask`, or the error; stands in a connection's queue where aiokafka has a future.

    Args:
        message: knows how its answer is read.
        answered: called with the answer when it arrives.
        failed: called with the error, in a later turn of the loop.
        due: time of the loop at which the wait for the answer ends.
    """

    __slots__ = ("_answered", "_failed", "_message", "_over", "due")

    def __init__(self, message: Message, answered: Answered, failed: Failed, due: float) -> None:
        self._message, self._answered, self._failed, self.due = message, answered, failed, due
        self._over = False

    def done(self) -> bool:
        """True once it is answered or has failed."""
        return self._over

    def take(self, frame: memoryview) -> None:
        """Read the answer and call back. Raises whatever reading it raises."""
        try:
            response = self._message.read(frame)
        except Exception as error:
            self.set_exception(error)
            raise
        if self._end():
            self._answered(response)

    def set_exception(self, error: BaseException) -> None:
        """No answer will come."""
        if self._end():
            asyncio.get_running_loop().call_soon(self._failed, error)

    def _end(self) -> bool:
        first, self._over = not self._over, True
        return first


class Frames(FrameCutter, asyncio.BufferedProtocol):
    """Cuts what a broker sends into answers; stands for aiokafka's stream reader and its task.

    Args:
        connection: whose requests are answered.
        closed: set when the connection is closed.
    """

    def __init__(self, connection: Any, closed: asyncio.Future[None]) -> None:
        super().__init__(ROOM_BYTES, LARGEST_BYTES)
        self._connection = connection
        self._closed = closed
        self.loop = asyncio.get_running_loop()
        self._late = SharedTimer(self._look_for_late)

    def watch(self) -> None:
        """A request of `ask` was sent: see that its answer comes in time. The oldest is the first that can be late."""
        if not self._late.is_set:
            self._late.set(self._connection._request_timeout)

    def _look_for_late(self) -> None:
        replies = (reply for *_, reply in self._connection._requests if isinstance(reply, Reply))
        oldest = next(replies, None)
        if oldest is None:
            return
        left = oldest.due - self.loop.time()
        if left > 0:
            self._late.set(left)
        else:
            oldest.set_exception(RequestTimedOutError())
            self._connection.close(reason=CloseReason.CONNECTION_TIMEOUT)

    def take_frame(self, frame: memoryview) -> None:
        connection = self._connection
        if not connection.connected():
            return  # closed by what an answer before it has caused
        try:
            if isinstance(connection._requests[0][2], Reply):
                self._call_back(frame)
            else:
                connection._handle_frame(bytes(frame))
        except Exception as error:
            log.exception("%s:%d: an answer cannot be read", connection.host, connection.port)
            connection.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)

    def _call_back(self, frame: memoryview) -> None:
        connection = self._connection
        (found,) = _INT32.unpack_from(frame)
        expected, _, reply = connection._requests.popleft()
        connection._last_action = time.monotonic()
        if found != expected:
            error = CorrelationIdError(f"sent {expected}, received {found}")
            reply.set_exception(error)
            raise error
        reply.take(frame)

    def eof_received(self) -> None:
        self.end(EOFError("the broker has closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.stop()
        self.end(exc or EOFError("the connection is closed"))
        if not self._closed.done():
            self._closed.set_result(None)

    def end(self, error: Exception) -> None:
        if self._connection.connected():
            self._connection.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)


def read_by_frames(client: Any) -> None:
    """Have the connections of an aiokafka client, those that it opens from now on, read by `Frames`."""
    stock = client._get_conn

    async def get(node_id: Any, *, group: int = ConnectionGroup.DEFAULT, no_hint: bool = False) -> Any:
        connection = await stock(node_id, group=group, no_hint=no_hint)
        if connection is not None and not isinstance(connection._protocol, Frames):
            _exchange(connection)
        return connection

    client._get_conn = get


def _exchange(connection: Any) -> None:
    """Give a connection that was just opened, and waits for no answer, to `Frames`."""
    if connection._requests or connection._reader is None:
        return
    connection._protocol = Frames(connection, connection._closed_fut)
    connection._read_task.cancel()
    connection._writer.transport.set_protocol(connection._protocol)


def connected(client: Any, node_id: int, group: int = ConnectionGroup.DEFAULT) -> Any:
    """Return a client's open connection to a node, read by `Frames`; None where it has to be opened first."""
    connection = client._conns.get((node_id, group))
    if connection is None or not connection.connected() or not isinstance(connection._protocol, Frames):
        return None
    return connection


def ask(connection: Any, request: Any, answered: Answered, failed: Failed) -> None:
    """Send a request at once, and call back with its answer or the error.

    Raises:
        KafkaError: nothing was sent.
    """
    message = message_of(request, connection._versions)
    number = connection._next_correlation_id()
    connection._writer.write(message.write(number, connection._client_id))
    frames = connection._protocol
    due = frames.loop.time() + connection._request_timeout
    connection._requests.append((number, None, Reply(message, answered, failed, due)))
    frames.watch()
