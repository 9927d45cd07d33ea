"""The routine that asks brokers for records, in place of aiokafka's.

aiokafka's starts a task for every request, looks at all partitions three times per fetch, and five times a second
without one. This one wakes up when there is something to do: an answer, records that were taken, a pause that is over.
What each partition needs is still decided by aiokafka's fetcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from aiokafka.errors import KafkaError, NodeNotReadyError
from aiokafka.structs import TopicPartition

from stream_app.kafka.connections import ask, connected
from stream_app.kafka.fetch_answers import keep_answer
from stream_app.kafka.pause import Pause
from stream_app.kafka.shared_timer import SharedTimer
from stream_app.logs import SELDOM
from stream_app.native.fetches import Fetch, LogPlace, ready_by_node

log = logging.getLogger(__name__)

# Requests for records have connections of their own. A question on the same one would wait behind a fetch that waits
# for records, and a fetch that nobody wants any more is ended by closing it.
FETCHES = 2
# A broker holds a fetch that finds nothing for so long. The short time is for a fetch that leaves partitions out, which
# are to be fetched as soon as they may.
LONG_WAIT_MS = 1000
SHORT_WAIT_MS = 100
LOOK_AGAIN_S = 1.5  # an answer comes before it as a rule: then it costs no timer


class FetchLoop:
    """Asks for the records of one consumer.

    Args:
        fetcher: aiokafka's, after `stream_app.kafka.fetching.read_raw` and before the first assignment.
        pause: says when the next fetches begin.
        topics: those whose records are wanted. Faust subscribes to changelogs, too.
        deliver: takes what was fetched; False where it leaves some to whoever waits for records.
    """

    def __init__(self, fetcher: Any, pause: Pause, topics: Collection[str], deliver: Callable[[], bool]) -> None:
        self._fetcher = fetcher
        self._client = fetcher._client
        self._pause = pause
        self._topics = topics
        self._deliver = deliver
        self._asked: dict[int, Fetch] = {}
        """Node -> the request that it has not answered yet."""
        self._places: dict[Any, LogPlace] = {}
        """The partitions that are fetched."""
        self._order: deque[LogPlace] = deque()
        """The same, in the order in which they are asked for next."""
        self._known: Any = None
        """The cluster's partitions when the leaders of the places were last looked up."""
        self._assignment: Any = None
        self._over: asyncio.Future[None] | None = None
        """Done when the assignment is over, or with what has gone wrong."""
        self._looking: asyncio.Handle | None = None
        self._handing = False
        """True while records are handed on, after which the routine looks anyhow."""
        self._loop = asyncio.get_running_loop()
        # The pause comes and goes in every turn, and must not move the other's time.
        self._soon, self._later = SharedTimer(self._look), SharedTimer(self._look)

    def start(self) -> None:
        """Take the place of aiokafka's routine."""
        self._fetcher._fetch_task.cancel()
        self._fetcher._fetch_task = self._loop.create_task(self._run())

    def wake(self, _: object = None) -> None:
        """Have the routine look what is to be done, once in a turn of the event loop."""
        if self._looking is None and not self._handing:
            self._looking = self._loop.call_soon(self._look)

    async def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            try:
                while True:
                    await self._serve(await self._assigned())
            except Exception as error:
                log.exception("records can no longer be fetched")
                raise KafkaError("records can no longer be fetched") from error

    async def _assigned(self) -> Any:
        subscriptions = self._fetcher._subscriptions
        while True:
            subscription = subscriptions.subscription
            if subscription is not None and subscription.assignment is not None and subscription.assignment.active:
                return subscription.assignment
            with contextlib.suppress(KafkaError):  # whoever waits for records is told of it
                await subscriptions.wait_for_assignment()

    async def _serve(self, assignment: Any) -> None:
        """Fetch until the assignment is over."""
        self._places = {
            at: LogPlace(at, assignment.state_value(at)) for at in assignment.tps if at.topic in self._topics
        }
        self._order, self._known = deque(self._places.values()), None
        self._assignment, self._over = assignment, self._loop.create_future()
        self._fetcher._wait_consume_future = _Knock(self.wake)
        assignment.unassign_future.add_done_callback(self.wake)
        self.wake()
        try:
            await self._over
        finally:
            assignment.unassign_future.remove_done_callback(self.wake)
            if self._looking is not None:
                self._looking.cancel()
            self._soon.stop()
            self._later.stop()
            self._assignment = self._over = self._looking = None
            await self._give_up()

    def _look(self) -> None:
        """Do what is to be done now, and look again when there may be more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._over is None or self._over.done():
            return
        if not self._assignment.active:
            self._over.set_result(None)
            return
        try:
            wait_s = self._turn(self._assignment)
        except Exception as error:
            self._over.set_exception(error)
        else:
            (self._soon if wait_s < LOOK_AGAIN_S else self._later).set(wait_s)

    async def _give_up(self) -> None:
        """End what was asked for an assignment that is over."""
        for node_id in list(self._asked):
            self._hang_up(node_id)
        fetcher = self._fetcher
        for task in list(fetcher._pending_tasks):
            task.cancel()
        await asyncio.gather(*fetcher._pending_tasks, return_exceptions=True)
        for of_assignment in (fetcher._pending_tasks, fetcher._in_flight, fetcher._records):
            of_assignment.clear()

    def _hang_up(self, node_id: int) -> None:
        """Close a connection, so that the next fetch need not wait behind one that nobody wants."""
        del self._asked[node_id]
        self._fetcher._in_flight.discard(node_id)
        connection = self._client._conns.pop((node_id, FETCHES), None)
        if connection is not None:
            connection.close()

    def _turn(self, assignment: Any) -> float:
        """Ask for what may be asked for now; return in how many seconds to look again."""
        left = self._pause.due - time.monotonic()
        if left > 0:
            return left
        fetcher = self._fetcher
        for node_id in [node_id for node_id, request in self._asked.items() if request.is_stale()]:
            self._hang_up(node_id)
        requests, resets, backoff, leaderless, resumed = self._actions(assignment)
        self._asked.update(requests)
        asked_for = sum(map(len, self._asked.values()))
        for node_id, request in requests:
            request.max_wait_ms = LONG_WAIT_MS if asked_for == len(self._order) else SHORT_WAIT_MS
            self._fetch(assignment, node_id, request)
        for node_id, partitions in resets.items():
            fetcher._in_flight.add(node_id)
            self._begin(self._find_positions(assignment, node_id, partitions))
        for future in resumed:
            future.remove_done_callback(self.wake)  # of a turn before
            future.add_done_callback(self.wake)
        if leaderless:
            self._client.force_metadata_update()
            return float(fetcher._retry_backoff)
        return min(backoff, LOOK_AGAIN_S) if fetcher._records else LOOK_AGAIN_S

    def _actions(self, assignment: Any) -> Any:
        """Return what is to be done now, in the form of aiokafka's fetcher."""
        ready = self._all_ready()
        if ready is not None:
            return [(node_id, self._request(places)) for node_id, places in ready.items()], {}, LOOK_AGAIN_S, False, ()
        requests, *others = self._fetcher._get_actions_per_node(assignment)
        wanted = [(node_id, self._wanted(request)) for node_id, request in requests]
        return [(node_id, self._request(places)) for node_id, places in wanted if places], *others

    def _all_ready(self) -> dict[int, list[LogPlace]] | None:
        """Return the partitions to be fetched from their positions, by node, None where there is more to do: then
        aiokafka's fetcher finds out what, which takes longer.
        """
        fetcher = self._fetcher
        if fetcher._records or fetcher._pending_tasks:
            return None
        cluster = self._client.cluster
        if cluster._partitions is not self._known:  # it is another one after each look at the brokers
            self._known = cluster._partitions
            for at, place in self._places.items():
                place.leader = cluster.leader_for_partition(at)
        self._order.rotate(1)  # a full answer has no room for the last ones
        return ready_by_node(self._order, fetcher._in_flight)

    def _wanted(self, request: Any) -> list[LogPlace]:
        """Return the places that an aiokafka request names, without those of changelogs."""
        named = (TopicPartition(topic, number) for topic, of_topic in request.topics for number, _, _ in of_topic)
        return [self._places[at] for at in named if at in self._places]

    def _request(self, places: list[LogPlace]) -> Fetch:
        fetcher = self._fetcher
        least, most, of_place = fetcher._fetch_min_bytes, fetcher._fetch_max_bytes, fetcher._max_partition_fetch_bytes
        return Fetch(places, least, most, of_place, fetcher._isolation_level)

    def _fetch(self, assignment: Any, node_id: int, request: Fetch) -> None:
        self._fetcher._in_flight.add(node_id)
        self._pause.began()
        connection = connected(self._client, node_id, FETCHES)
        if connection is None:
            self._begin(self._connect(assignment, node_id, request))
            return

        def answered(response: Any) -> None:
            if self._asked.get(node_id) is request and assignment.active:
                self._answered(assignment, node_id, request, response)

        def failed(error: BaseException) -> None:
            if self._asked.get(node_id) is request:
                self._failed(node_id, error)

        try:
            ask(connection, request, answered, failed)
        except KafkaError as error:
            self._failed(node_id, error)

    async def _connect(self, assignment: Any, node_id: int, request: Fetch) -> None:
        """Open a connection and fetch over it."""
        ready = await self._client.ready(node_id, group=FETCHES)
        if self._asked.get(node_id) is request:
            if ready and connected(self._client, node_id, FETCHES) is not None:
                self._fetch(assignment, node_id, request)
            else:
                self._failed(node_id, NodeNotReadyError(f"no connection to node {node_id}"))

    async def _find_positions(self, assignment: Any, node_id: int, partitions: Any) -> None:
        """Find out where partitions are to be read from."""
        if await self._fetcher._update_fetch_positions(assignment, node_id, partitions):
            self._tell_waiters()
        self._release(node_id, 0.0)

    def _answered(self, assignment: Any, node_id: int, request: Fetch, response: Any) -> None:
        fetcher = self._fetcher
        del self._asked[node_id]
        refused = True
        try:
            refused = keep_answer(fetcher, assignment, request, response)
        finally:  # an answer that makes no sense closes the connection: the node is asked again all the same
            if refused:
                self._release(node_id, fetcher._retry_backoff)
            else:
                fetcher._in_flight.discard(node_id)
        self._handing = True
        self._hand_on()
        self._handing = False
        self._look()

    def _hand_on(self) -> None:
        try:
            if self._fetcher._records and not self._deliver():
                self._tell_waiters()
        except Exception as error:  # what was taken may be lost: to go on would leave it out
            self._end(error)

    def _failed(self, node_id: int, error: BaseException) -> None:
        del self._asked[node_id]
        log.error("records cannot be fetched from node %s: %r", node_id, error, extra=SELDOM)
        self._release(node_id, self._fetcher._retry_backoff)

    def _release(self, node_id: int, after_s: float) -> None:
        """Let the node be asked again."""
        if after_s:
            self._loop.call_later(after_s, self._release, node_id, 0.0)
            return
        if node_id not in self._asked:
            self._fetcher._in_flight.discard(node_id)
        self.wake()

    def _tell_waiters(self) -> None:
        for waiter in self._fetcher._fetch_waiters:
            self._fetcher._notify(waiter)

    def _begin(self, waiting: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(waiting)
        self._fetcher._pending_tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._fetcher._pending_tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """End the routine."""
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)


class _Knock:
    """Stands where aiokafka's fetcher has a future by which it is told that there may be something to do."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def done(self) -> bool:
        """False: it can be told again and again."""
        return False

    def set_result(self, _: object) -> None:
        self._wake()
