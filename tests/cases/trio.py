"""A cluster of three brokers, of which some can be away."""

from __future__ import annotations

import base64
import subprocess
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream_app.local.broker import free_port
from stream_app.local.child import Child
from stream_app.local.java import find_java
from tests.broker import JARS_DIR, wait_until

START_S = 180.0
NODES = (0, 1, 2)


class Trio:
    """Three nodes, each broker and controller; states and offsets in three copies, of which two must be there.

    Args:
        folder: for their data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = [free_port() for _ in NODES]
        self._controllers = [free_port() for _ in NODES]
        jars = next(iter(sorted(Path(JARS_DIR).glob("kafka-*")))).glob("*.jar")
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        self._java = [str(find_java()), *options, "-cp", ":".join(map(str, jars))]
        self._nodes: dict[int, Child] = {}

    @property
    def address(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)

    def __enter__(self) -> Self:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        for node in NODES:
            command = [*self._java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._write(node))]
            subprocess.run(command, check=True, capture_output=True)
        self.start(*NODES)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill(*self._nodes)

    def start(self, *nodes: int) -> None:
        """Start nodes; returns when the cluster counts all three."""
        for node in nodes:
            log = self._folder / f"node-{node}-{uuid.uuid4().hex[:4]}.log"
            self._nodes[node] = Child([*self._java, "kafka.Kafka", str(self._properties(node))], output=log)
        wait_until(lambda: self._counted() == len(NODES), START_S, "three brokers")

    def kill(self, *nodes: int) -> None:
        """As a loss of power would: without a quorum a node ends by nothing else."""
        for node in nodes:
            self._nodes[node].kill()

    def _counted(self) -> int:
        try:
            return len(AdminClient({"bootstrap.servers": self.address, "log_level": 0}).list_topics(timeout=5).brokers)
        except KafkaException:
            return 0

    def _properties(self, node: int) -> Path:
        return self._folder / f"node-{node}.properties"

    def _write(self, node: int) -> Path:
        here = f"PLAINTEXT://127.0.0.1:{self._ports[node]}"
        properties = {
            "process.roles": "broker,controller",
            "node.id": node,
            "listeners": f"{here},CONTROLLER://127.0.0.1:{self._controllers[node]}",
            "advertised.listeners": here,
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": ",".join(f"{one}@127.0.0.1:{self._controllers[one]}" for one in NODES),
            "log.dirs": self._folder / f"node-{node}",
            "offsets.topic.replication.factor": 3,
            "offsets.topic.num.partitions": 6,
            "min.insync.replicas": 2,
            "group.initial.rebalance.delay.ms": 0,
            "auto.create.topics.enable": "false",
        }
        self._properties(node).write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        return self._properties(node)
