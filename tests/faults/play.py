"""Plays a schedule: workers, load and faults in time, then calm until everything is committed."""

from __future__ import annotations

import heapq
import itertools
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from aiokafka.errors import KafkaError
from confluent_kafka import Consumer, KafkaException, TopicPartition

from stream_app.routes import routes
from stream_app.settings import Settings, load_settings
from stream_app.topics.administration import create_topics
from tests.admin import committed
from tests.broker import delete_topics, wait_until
from tests.faults.acts import ACTS
from tests.faults.crew import Crew
from tests.faults.load import LiveLoad
from tests.faults.schedule import Fault, Schedule
from tests.faults.stage import LOAD, Stage

TURN_S = 0.02
DRAIN_S = 120.0
LONG_ACT_S = 5.0
"""What takes longer, an administrator with his remedies, puts off everything that comes after."""


class Play:
    """One performance of a schedule, on topics of its own.

    Args:
        schedule: what is played.
        stage: where.
        directory: for the workers' logs and data; made here.
        sabotage: how the workers are broken, a mode of `faults.sabotage`.
    """

    def __init__(self, schedule: Schedule, stage: Stage, directory: Path, sabotage: str = "") -> None:
        self.schedule = schedule
        self.stage = stage
        self.settings = _settings(schedule, stage)
        create_topics(self.settings)
        self.crew = Crew.of(stage, self.settings, directory, sabotage)
        through_proxy = self.settings.replace(broker=stage.proxies[LOAD].address)
        self.load = LiveLoad(schedule.load, through_proxy, schedule.seed)
        self.problems: list[str] = []
        """What the acts found that should not be."""
        self.at_end: list[Callable[[], list[str]]] = []
        """What is to be looked into besides when all is over; each gives problems."""
        self.not_reached: list[str] = []
        """The failure points that no worker came to."""
        self.acted: list[tuple[float, Fault]] = []
        """What happened, and when."""
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._end = 0.0

    def perform(self) -> None:
        """Play it to the end: faults over, everything committed, workers stopped."""
        try:
            self.load.start()
            self.crew.start(self.schedule.workers)
            self._run_to(self.schedule.load.seconds)
            self._calm_down()
        finally:
            self.load.abandon()
            self.crew.kill_all()

    def tidy_up(self) -> None:
        """Its topics go: a broker with those of hundreds of schedules would be slow."""
        delete_topics(self.settings)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something from now on so many seconds later, at the latest when the faults end."""
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), what))

    def wait(self, predicate: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait, and look after the workers meanwhile."""

        def ask() -> bool:
            self.crew.look()
            return predicate()

        wait_until(ask, seconds, what)

    def at_the_end(self) -> bool:
        """True if the group has committed all records of the sources; False while no broker answers.

        A play beside this one may have killed the broker that both stand on.
        """
        try:
            found, ends = committed(self.settings), self.ends()
        except (KafkaException, KafkaError):
            return False
        return all(found.get(at, (0, ""))[0] >= end for at, end in ends.items())

    def ends(self) -> dict[tuple[str, int], int]:
        """The end offset of each source partition."""
        consumer = Consumer({**self.settings.client_config(), "group.id": "faults"})
        try:
            topics = consumer.list_topics(timeout=30).topics
            names = [route.source for route in routes(self.settings).values()]
            return {
                (name, number): consumer.get_watermark_offsets(TopicPartition(name, number), timeout=30)[1]
                for name in names
                for number in topics[name].partitions
            }
        finally:
            consumer.close()

    def _run_to(self, seconds: float) -> None:
        for fault in self.schedule.faults:
            self.later(fault.at_s, partial(self._act, fault))
        self._end = time.monotonic() + seconds
        while self._goes_on(time.monotonic()):
            self._do_what_is_due(time.monotonic())
            self.crew.look()
            time.sleep(TURN_S)

    def _goes_on(self, now: float) -> bool:
        """True if the load's time is not up, or a worker has yet to come to the point that its orders name."""
        return now < self._end or (now < self._end + self.schedule.patience_s and bool(self.crew.waiting()))

    def _act(self, fault: Fault) -> None:
        self.acted.append((time.time(), fault))
        started = time.monotonic()
        ACTS[fault.kind](self, fault)
        if (took_s := time.monotonic() - started) > LONG_ACT_S:
            self._due = [(due + took_s, order, what) for due, order, what in self._due]
            self._end += took_s

    def _do_what_is_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            _, _, what = heapq.heappop(self._due)
            what()

    def _calm_down(self) -> None:
        self._do_what_is_due(float("inf"))  # whatever a fault did is undone by that
        self.not_reached = list(self.crew.waiting())
        self.crew.heal()
        self.load.stop()
        self.wait(self.at_the_end, DRAIN_S, "everything committed")
        self.crew.stop()


def _settings(schedule: Schedule, stage: Stage) -> Settings:
    name = f"f{schedule.number}-{uuid.uuid4().hex[:4]}"  # it may be played again on the same stage
    names = {"app_id": name, "topic_prefix": f"{name}-", "data_dir": stage.data_dir, "tasks": stage.tasks}
    return load_settings(broker=stage.broker.address, **names, **schedule.settings)
