"""What a worker refuses to start on, or to go on with: one line that says what to do, and a status of its own.

The status tells the supervisor not to try again.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from core.errors import StartupError
from stream_app.clients.admin import Cluster
from stream_app.exits import EXIT_REFUSED, status_of
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics, topic_ids
from stream_app.worker import process
from stream_app.worker.report import Reporter
from stream_app.worker.supervisor import Supervisor
from tests.admin import add_partitions, commit, committed
from tests.broker import ToSend, produce, wait_until
from tests.conftest import MakeSettings
from tests.feeds import PARTITIONS, signal_feed
from tests.offline import signal_samples
from tests.worker import ROOT, WorkerProcess

pytestmark = pytest.mark.kafka

PATIENCE_S = 60.0
RESET = "caststream topics reset-state"


def topics_missing(settings: Settings) -> list[str]:
    names = [settings.topic("signal-samples"), settings.changelog("casting-windows")]
    Cluster(settings).delete(names)
    return [*names, "caststream topics create"]


def partitions_differ(settings: Settings) -> list[str]:
    topic = settings.topic("signal-samples")
    add_partitions(settings, topic, PARTITIONS + 1)
    wait_until(lambda: Cluster(settings).partitions([topic])[topic] == PARTITIONS + 1)
    return [settings.topic("signal-predictions"), "has 4 partitions and its source 5"]


def checkpoint_missing(settings: Settings) -> list[str]:
    return ["nowhere.pt", "no such file"]


def checkpoint_of_another_kind(settings: Settings) -> list[str]:
    return ["defect.safetensors", "signal"]


def port_taken(settings: Settings) -> list[str]:
    return [str(settings.metrics_port), "--metrics-port"]


def offsets_deleted(settings: Settings) -> list[str]:
    leave_state(settings, "casting-windows", partition=1)
    return [settings.topic("casting-samples") + "[1]", "no committed offset", RESET]


def topic_made_anew(settings: Settings) -> list[str]:
    """The broker has forgotten the offsets with the topic; the states are still there."""
    feed = signal_feed(settings, 2)
    feed.send(*signal_samples(3))
    leave_state(settings, "signal-states", partition=2, source_offset=2)
    commit(settings, {(feed.topic, 2): (3, "")})
    Cluster(settings).delete([feed.topic])
    create_topics(settings)
    feed.send(*signal_samples(5))
    return [f"{feed.topic}[2]", "no committed offset", RESET]


def offsets_of_another_topic(settings: Settings) -> list[str]:
    """A topic created again under a running worker, which has committed its offsets once more."""
    feed = signal_feed(settings, 2)
    old = topic_ids(settings, Cluster(settings))[feed.topic]
    commit(settings, {(feed.topic, 2): (0, "")})
    Cluster(settings).delete([feed.topic])
    create_topics(settings)
    # The broker deletes a topic's offsets some time after the topic: it must not take those that come now.
    wait_until(lambda: (feed.topic, 2) not in committed(settings), what="the old offset's deletion")
    feed.send(*signal_samples(5))
    commit(settings, {(feed.topic, 2): (3, json.dumps({"topic_id": old}))})
    return [feed.topic, "deleted and created again", old, RESET]


def states_of_another_changelog(settings: Settings) -> list[str]:
    """The changelog was deleted, and created again as the worker had asked for: the offsets' states are gone."""
    feed = signal_feed(settings, 2)
    feed.send(*signal_samples(3))
    changelog = settings.changelog("signal-states")
    ids = topic_ids(settings, Cluster(settings))
    commit(settings, {(feed.topic, 2): (3, json.dumps({"topic_id": ids[feed.topic], "changelog_id": ids[changelog]}))})
    Cluster(settings).delete([changelog])
    create_topics(settings)
    return [changelog, "deleted and created again", ids[changelog], RESET]


def source_truncated(settings: Settings) -> list[str]:
    feed = signal_feed(settings, 3)
    feed.send(*signal_samples(3))
    commit(settings, {(feed.topic, 3): (3, "")})
    leave_state(settings, "signal-states", partition=3, source_offset=9)
    return [f"{feed.topic}[3] ends at offset 3", "up to 9", RESET]


def leave_state(settings: Settings, name: str, partition: int, source_offset: int = 0) -> None:
    header = [("source-offset", b"%d" % source_offset)]
    produce(settings, settings.changelog(name), [ToSend("x", b"state", header, partition)])


REFUSALS: list[Callable[[Settings], list[str]]] = [
    topics_missing,
    partitions_differ,
    checkpoint_missing,
    checkpoint_of_another_kind,
    port_taken,
    offsets_deleted,
    topic_made_anew,
    offsets_of_another_topic,
    states_of_another_changelog,
    source_truncated,
]


WHOLE = [partitions_differ, source_truncated]
"""One that is found before the worker starts, one at its assignment: as whole processes, for log and exit status."""


@pytest.mark.parametrize("wrong", WHOLE, ids=lambda wrong: wrong.__name__)
def test_a_process_says_why_in_one_line_and_ends_with_the_status_of_a_refusal(
    make_settings: MakeSettings, tmp_path: Path, wrong: Callable[[Settings], list[str]]
) -> None:
    settings = make_settings()
    words = wrong(settings)
    with WorkerProcess(settings, tmp_path) as worker:
        status = worker.start(ready=False).wait()

    assert status == EXIT_REFUSED, worker.log
    assert len(worker.errors) == 1, worker.log
    assert [word for word in words if word not in worker.errors[0]] == []
    assert "Traceback" not in worker.log


def serve(settings: Settings) -> None:
    """Be a worker, in this process, until it refuses."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(process.run(settings, 0, Reporter(None)), PATIENCE_S))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left, timeout=PATIENCE_S) if left else asyncio.sleep(0))
        loop.close()


@pytest.mark.parametrize("wrong", [wrong for wrong in REFUSALS if wrong not in WHOLE], ids=lambda wrong: wrong.__name__)
def test_a_worker_refuses(
    make_settings: MakeSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Callable[[Settings], list[str]],
) -> None:
    monkeypatch.setattr(process, "_spare_garbage_collection", lambda: None)  # this process has other tests to run
    with socket.create_server(("127.0.0.1", 0)) as taken:
        changes = {
            checkpoint_missing: {"signal_checkpoint": tmp_path / "nowhere.pt"},
            checkpoint_of_another_kind: {"signal_checkpoint": ROOT / "core" / "checkpoints" / "defect.safetensors"},
            port_taken: {"metrics_port": taken.getsockname()[1]},
        }
        settings = make_settings(**changes.get(wrong, {}))
        words = wrong(settings)

        with pytest.raises(StartupError) as caught:
            serve(settings)

    assert status_of(caught.value) == EXIT_REFUSED
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_a_worker_refuses_a_group_of_others(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings()
    create_topics(settings)
    other = Consumer({"bootstrap.servers": settings.broker, "group.id": settings.app_id})
    other.subscribe([settings.topic("signal-samples")])
    wait_until(lambda: other.poll(0.1) is None and bool(other.assignment()), 30, "the other's assignment")

    try:
        with WorkerProcess(settings, tmp_path) as worker:
            status = worker.start(ready=False).wait()
    finally:
        other.close()

    assert status == EXIT_REFUSED, worker.log
    assert [line for line in worker.errors if "members that are no caststream workers" in line], worker.log
    assert "Traceback" not in worker.log


def test_a_topic_made_anew_ends_the_worker_that_reads_it(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings()
    feed = signal_feed(settings)
    with WorkerProcess(settings, tmp_path) as worker:
        worker.start()
        feed.send(*signal_samples(10))
        feed.predictions(10)
        with worker.standing_still():  # so that it does not find the topic missing, which is another refusal
            Cluster(settings).delete([feed.topic])
            create_topics(settings)
        feed.send(*signal_samples(3))

        assert worker.wait() == EXIT_REFUSED, worker.log
        assert feed.topic in worker.errors[-1]  # aiokafka has complained before: it met the topic while it was gone
        assert RESET in worker.errors[-1]
        assert "Traceback" not in worker.log


# The supervisor.


@pytest.fixture
def supervisor(make_settings: MakeSettings) -> Iterator[Callable[..., Supervisor]]:
    running: list[Supervisor] = []

    def make(settings: Settings, workers: int = 1) -> Supervisor:
        running.append(Supervisor(settings, workers))
        return running[-1]

    yield make
    for each in running:
        each.stopping.set()


def test_the_supervisor_starts_a_worker_again_that_was_killed(
    make_settings: MakeSettings, supervisor: Callable[..., Supervisor]
) -> None:
    supervised = supervisor(make_settings(), workers=1)
    thread = threading.Thread(target=supervised.run)
    thread.start()

    def pid() -> int | None:
        process = supervised.children[0].process
        return process.pid if process else None

    first = wait_until(pid)
    os.kill(first, signal.SIGKILL)
    second = wait_until(lambda: (now := pid()) != first and now)
    supervised.stopping.set()
    thread.join(60)

    assert first != second
    assert not thread.is_alive()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_the_supervisor_ends_when_a_worker_refuses(
    make_settings: MakeSettings, supervisor: Callable[..., Supervisor]
) -> None:
    settings = make_settings()
    topics_missing(settings)

    with pytest.raises(StartupError, match=r"worker [01] refused to start"):
        supervisor(settings, workers=2).run()
