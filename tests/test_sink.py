"""The replay into the real broker: what arrives, and what is told when the broker does not answer."""

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from core.errors import RunError, StartupError
from core.wire.records import decode_signal
from replay.run import ReplayError, replay
from replay.sink import POLL_RECORDS, KafkaSink
from stream_app.local.broker import LocalBroker
from stream_app.settings import load_settings
from stream_app.topics.administration import create_topics
from tests.broker import JARS_DIR, consume_all
from tests.files import write_large, write_signals

ROOT = Path(__file__).resolve().parent.parent


def options(settings, **changes):
    return {
        "client_config": settings.client_config(),
        "topic_signal": settings.topic("signal-samples"),
        "topic_casting": settings.topic("casting-samples"),
        "data_dir": settings.data_dir,
        "speed": math.inf,
    } | changes


@pytest.mark.kafka
def test_every_sample_arrives_once_and_in_order(tmp_path, settings):
    write_signals(tmp_path / "s.h5", rows=30, steps=400)

    summary = replay(tmp_path / "s.h5", **options(settings, run="r", streams=10))

    records = consume_all(settings, settings.topic("signal-samples"))
    assert summary.sent == len(records) == 12_000
    partitions = {}
    for record in records:
        partitions.setdefault(record.key, set()).add(record.partition)
    assert all(len(found) == 1 for found in partitions.values())
    assert len(set().union(*partitions.values())) > 1
    for key in partitions:
        samples = [decode_signal(each.value) for each in records if each.key == key]
        rows = range(int(key[-4:]), 30, 10)
        assert [(f"r-{row}", step) for row in rows for step in range(400)] == [
            (each.sequence, each.step) for each in samples
        ]


@pytest.mark.kafka
def test_a_missing_topic_is_named_before_anything_is_sent(tmp_path, settings):
    write_signals(tmp_path / "s.h5", rows=2, steps=4)

    with pytest.raises(
        StartupError, match="topic none does not exist: create it with 'caststream topics create', with --tasks"
    ):
        replay(tmp_path / "s.h5", **options(settings, topic_signal="none"))


@pytest.mark.kafka
def test_a_stopped_replay_goes_on_where_it_was(tmp_path, settings):
    write_signals(tmp_path / "s.h5", rows=4, steps=3000)
    stop = threading.Event()
    sent = []

    def watch(status):
        if status.phase == "send" and status.done > 500:
            stop.set()
        sent.append(status)

    first = replay(tmp_path / "s.h5", **options(settings, speed=1.0, on_progress=watch, stop=stop.is_set))
    second = replay(tmp_path / "s.h5", **options(settings, resume=True))

    assert first.interrupted
    assert 500 < first.sent < 12_000
    assert first.sent + second.sent == 12_000
    assert len(consume_all(settings, settings.topic("signal-samples"))) == 12_000


def test_a_broker_that_is_not_there_is_told():
    with pytest.raises(RunError, match=r"no Kafka broker at 127\.0\.0\.1:1: "):
        KafkaSink({"bootstrap.servers": "127.0.0.1:1"}, "t", timeout_s=1.0)


@pytest.fixture
def own_broker(tmp_path):
    with LocalBroker(tmp_path, jars_dir=JARS_DIR) as running:
        yield running


@pytest.mark.kafka
def test_a_lost_broker_ends_it_with_what_was_sent(tmp_path, own_broker):
    """The broker stops answering for as long as the replay waits for it."""
    settings = load_settings(broker=own_broker.address, partitions=1)
    create_topics(settings)
    write_signals(tmp_path / "s.h5", rows=2, steps=100_000)
    topic = settings.topic("signal-samples")

    def lose(status):
        if status.phase == "send" and status.done > 500:
            os.kill(own_broker.pid, signal.SIGSTOP)

    sink = KafkaSink(settings.client_config(), topic, timeout_s=1.5)
    try:
        with pytest.raises(ReplayError, match=r"lost the Kafka broker at 127.* records were .* --resume") as lost:
            replay(tmp_path / "s.h5", **options(settings, speed=1.0, sink=sink, on_progress=lose))
    finally:
        os.kill(own_broker.pid, signal.SIGCONT)

    # What was under way may have arrived all the same: a resumed replay sends it again, as duplicates by step.
    assert 500 < lost.value.summary.sent <= len(consume_all(settings, topic)) < 200_000


@pytest.mark.kafka
def test_a_record_that_the_broker_refuses_ends_it_although_later_ones_would_be_taken(settings):
    """Most records are not asked after: none of them may get lost between two that are acknowledged."""
    topic = settings.topic("small-records")
    admin = AdminClient(settings.client_config())
    admin.create_topics([NewTopic(topic, 1, config={"max.message.bytes": "2000"})])[topic].result()
    while topic not in admin.list_topics().topics:
        time.sleep(0.01)
    sink = KafkaSink(settings.client_config(), topic)

    def send_all():
        for number in range(100):
            sink.send([(b"k", b"%d" % number)])
            sink.flush()
            if number == 2:
                sink.send([(b"k", b"x" * 5000), (b"k", b"small")])
                sink.flush()

    with pytest.raises(RunError, match=r"lost the Kafka broker at .*(too large|gap-less)"):
        send_all()
    sink.close(1.0)

    assert sink.acked == {b"k": 3}
    assert [each.value for each in consume_all(settings, topic)] == [b"0", b"1", b"2"]


@pytest.mark.kafka
def test_partitions_are_those_of_other_producers(settings):
    keys = [f"stream-{number}".encode() for number in range(50)]
    topic = settings.topic("signal-samples")
    other = Producer(settings.client_config() | {"partitioner": "murmur2"})
    for key in keys:
        other.produce(topic, b"other", key)
    other.flush(10)
    sink = KafkaSink(settings.client_config(), topic)
    sink.send([(key, b"ours") for key in keys])
    sink.flush()

    places = {
        value: {each.key: each.partition for each in consume_all(settings, topic) if each.value == value}
        for value in (b"other", b"ours")
    }

    assert places[b"other"] == places[b"ours"]
    assert len(set(places[b"ours"].values())) > 1


@pytest.mark.kafka
def test_a_send_that_is_interrupted_is_counted_by_its_end(settings):
    topic = settings.topic("signal-samples")

    class Interrupted(KafkaSink):
        polls = 0

        def poll(self):
            self.polls += 1
            if self.polls == 5:
                raise KeyboardInterrupt
            super().poll()

    sink = Interrupted(settings.client_config(), topic)
    records = [(b"k%d" % (number % 7), b"%d" % number) for number in range(10_000)]
    with pytest.raises(KeyboardInterrupt):
        sink.send(records)
    sink.close(10.0)

    arrived = len(consume_all(settings, topic))
    assert sum(sink.acked.values()) == arrived
    assert 4 * POLL_RECORDS <= arrived < 5 * POLL_RECORDS


@pytest.mark.kafka
def test_a_file_larger_than_the_memory_is_replayed(tmp_path, settings):
    """The process may hold 100 MB more than it has when it begins; the file's samples are 200 MB."""
    write_large(tmp_path / "large.h5")
    code = """
        import json, math, resource, sys
        from pathlib import Path
        from replay.run import replay
        mapped = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmData"))) << 10
        resource.setrlimit(resource.RLIMIT_DATA, (mapped + (100 << 20),) * 2)
        options = json.loads(sys.argv[2])
        seen = []
        enough = lambda: bool(seen) and seen[-1].phase == "send" and seen[-1].done > 200_000
        summary = replay(
            sys.argv[1], streams=20, speed=math.inf, data_dir=Path(sys.argv[3]),
            on_progress=seen.append, stop=enough, **options
        )
        print(summary.sent > 200_000, seen[0].total)
    """
    given = options(settings)
    arguments = {name: given[name] for name in ("client_config", "topic_signal", "topic_casting")}
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(code),
            tmp_path / "large.h5",
            msgspec.json.encode(arguments).decode(),
            tmp_path,
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("True 50000800\n", "")
