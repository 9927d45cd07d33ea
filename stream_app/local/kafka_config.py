"""The files and options that make one Kafka process a whole cluster of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

HOST = "127.0.0.1"

JVM_OPTIONS = (
    "-Xmx1g",
    "-XX:+UseSerialGC",  # with one compiler tier: 340 MB resident, ready in about 3 s
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Djava.io.tmpdir=tmp",  # native libraries are unpacked there
    "-Dlog4j2.configurationFile=log4j2.properties",
)

LOG_PROPERTIES = {
    "shutdownHook": "disable",  # or the log would end before Kafka has
    "rootLogger.level": "INFO",
    "rootLogger.appenderRef.file.ref": "file",
    "appender.file.type": "RollingFile",
    "appender.file.name": "file",
    "appender.file.fileName": "broker.log",
    "appender.file.filePattern": "broker.log.%i",
    "appender.file.layout.type": "PatternLayout",
    "appender.file.layout.pattern": "%d{ISO8601} %-5p %c{1}: %m%n",
    "appender.file.policies.type": "Policies",
    "appender.file.policies.size.type": "SizeBasedTriggeringPolicy",
    "appender.file.policies.size.size": "10MB",
    "appender.file.strategy.type": "DefaultRolloverStrategy",
    "appender.file.strategy.max": "2",
}


def kafka_properties(data: Path, port: int, controller_port: int) -> dict[str, str]:
    """The properties of the one node.

    The quorum is static and not written to disk, so the controller may have another port at the next start.
    """
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "num.network.threads": "2",
        "num.io.threads": "4",
        # One node: a copy of everything is all there is. 50 partitions for a handful of groups would slow the start.
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # After a kill the controller refuses the restarted broker for as long as the old one's session lasts: 9 s by
        # default, which made a restart take 13 s.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # The controller writes an empty record twice a second by default: half of what an idle broker takes.
        "metadata.max.idle.interval.ms": "5000",
        "log.segment.bytes": str(256 * 2**20),
        "log.index.size.max.bytes": str(2**20),
        "log.cleaner.dedupe.buffer.size": str(32 * 2**20),
        "log.cleaner.backoff.ms": "5000",
        "log.retention.check.interval.ms": "60000",
    }


def java_properties(properties: Mapping[str, str]) -> str:
    """The text of a Java properties file."""
    return "".join(f"{name}={_escape(value)}\n" for name, value in properties.items())


def _escape(value: str) -> str:
    # Java reads these files as Latin-1 and knows \uXXXX, in UTF-16 units.
    units = value.encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    return "".join(chr(code) if 32 <= code < 127 and code != 92 else f"\\u{code:04x}" for code in codes)
