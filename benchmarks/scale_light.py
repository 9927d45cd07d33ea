"""Light members: a worker's part in the consumer group, many in one process, and nothing else of a worker.

    python benchmarks/scale_light.py '{"group": "g", "topics": ["in", "changelog"]}'

`scale_crowd.py` starts it, with the settings in the environment. Each member has the consumer that a worker has, with
its assignor and all its settings, fetches from the first topic, and commits its offsets when it gives its partitions
up. Commands come on stdin, one a line: ``start NUMBER ...``, ``stop NUMBER ...``, ``count``. Events go to stdout, one
JSON object a line, with the time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.assignor import PartitionAssignor

from stream_app.flow.published import LogEnds
from stream_app.kafka.assignor import LoudAssignor
from stream_app.kafka.transport import ConsumerService
from stream_app.settings import Settings, load_settings

CHUNK_RECORDS = 4000
ASSIGNORS: dict[str, type[PartitionAssignor]] = {"ours": LoudAssignor, "faust": PartitionAssignor}
TOPIC_ID = "A" * 22  # of the length of a real one
METADATA = json.dumps({"topic_id": TOPIC_ID, "changelog_id": TOPIC_ID, **LogEnds(1_000_000, 1_000)._asdict()})

Tell = Callable[..., None]


@dataclass(frozen=True)
class Plan:
    """The group and the topics of a process of members."""

    group: str
    topics: list[str]
    """The source first, then the changelog."""
    assignor: str = "ours"


def light_assignor(kind: str, number: int) -> Any:
    """An assignor with as much of an application as it asks for; its worker has a host name as on Kubernetes."""
    sensors = SimpleNamespace(**{f"on_assignment_{what}": lambda *_: None for what in ("start", "error", "completed")})
    app: Any = SimpleNamespace(
        tables=SimpleNamespace(data={}, changelog_topics=set()),
        conf=SimpleNamespace(canonical_url=f"http://caststream-6d4cf56db6-{number:05d}:6066"),
        tracer=None,
        sensors=sensors,
    )
    return ASSIGNORS[kind](app)


class Member(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One member of the group."""

    def __init__(self, plan: Plan, settings: Settings, number: int, tell: Tell) -> None:
        self.plan = plan
        self.number = number
        self._tell = tell
        assignor = light_assignor(plan.assignor, number)
        self._assign, assignor.assign = assignor.assign, self._led
        app = SimpleNamespace(
            settings=settings, assignor=assignor, conf=SimpleNamespace(broker_max_poll_records=CHUNK_RECORDS)
        )
        worker: Any = SimpleNamespace(app=app)
        self.consumer: AIOKafkaConsumer = ConsumerService._create_worker_consumer(worker, None)

    async def start(self) -> None:
        """Join."""
        await self.consumer.start()
        self.consumer.subscribe(self.plan.topics, listener=self)

    async def stop(self) -> None:
        """Commit and leave, as a worker does on SIGTERM."""
        await self.on_partitions_revoked(self.consumer.assignment())
        await self.consumer.stop()
        self.tell("left")

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Commit the offsets of the source partitions, with metadata as a worker's."""
        self.tell("revoked")
        offsets = {at: OffsetAndMetadata(0, METADATA) for at in revoked if at.topic == self.plan.topics[0]}
        if offsets:
            try:
                await self.consumer.commit(offsets)
            except KafkaError as error:
                self.tell("refused", error=repr(error))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Fetch no changelog: a worker does so only while it recovers."""
        source = self.plan.topics[0]
        self.consumer.pause(*(at for at in assigned if at.topic != source))
        mine = sorted(at.partition for at in assigned if at.topic == source)
        self.tell("assigned", generation=self.consumer._coordinator.generation, partitions=mine)

    def tell(self, event: str, **more: Any) -> None:
        """Tell an event of this member."""
        self._tell(event, member=self.number, **more)

    def _led(self, cluster: Any, members: Any) -> Any:
        """Assign for the group, and tell what it has cost."""
        started = time.thread_time()
        found = self._assign(cluster, members)
        self.tell(
            "led",
            cpu_s=time.thread_time() - started,
            members=len(members),
            metadata_bytes=sum(len(one.encode()) for one in members.values()),
            assignment_bytes=sum(len(one.encode()) for one in found.values()),
        )
        return found


class Requests:
    """Counts the requests of this process by name, whoever sends them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        send = AIOKafkaConnection.send

        def counted(connection: Any, request: Any, *arguments: Any, **options: Any) -> Any:
            self.counts[type(request).__name__.partition("Request")[0]] += 1
            return send(connection, request, *arguments, **options)

        AIOKafkaConnection.send = counted


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Crowd:
    """The members of this process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.settings = load_settings(app_id=plan.group)
        self.members: dict[int, Member] = {}
        self.requests = Requests()

    def tell(self, event: str, **more: Any) -> None:
        """Write an event."""
        print(json.dumps({"at": time.time(), "event": event, **more}), flush=True)

    async def obey(self, command: str, *numbers: str) -> None:
        """Carry out a command."""
        if command == "count":
            self.tell("counts", requests=dict(self.requests.counts), cpu_s=cpu_s())
        elif command == "start":
            started = {int(number): Member(self.plan, self.settings, int(number), self.tell) for number in numbers}
            self.members |= started
            await asyncio.gather(*(member.start() for member in started.values()))
        else:
            await asyncio.gather(*(self.members.pop(int(number)).stop() for number in numbers))

    async def run(self) -> None:
        """Obey until stdin ends."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        self.tell("here")
        working = set()
        while line := await reader.readline():
            working.add(asyncio.create_task(self.obey(*line.decode().split())))
        await asyncio.gather(*working)
        await self.obey("stop", *map(str, self.members))


def main() -> None:
    """Entry point."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # each rebalance is a line of each member
    asyncio.run(Crowd(Plan(**json.loads(sys.argv[1]))).run())


if __name__ == "__main__":
    main()
