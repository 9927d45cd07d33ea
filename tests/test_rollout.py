"""Tasks on the real broker: members of one group with different tasks, and a task of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.models.factory import ModelFactory
from core.tasks.fingerprint import fingerprint_of
from core.tasks.reading import read_declaration
from core.wire.records import decode_prediction
from stream_app.clients.committed import committed_offsets
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics, reset_state
from tests.broker import delete_topics, wait_until
from tests.conftest import MakeSettings
from tests.consistency import assert_consistent, drained
from tests.feeds import Feed, casting_feed, signal_feed
from tests.offline import TOLERANCE, casting_samples, run_signals, signal_samples
from tests.own_tasks import write_task
from tests.worker import WorkerProcess

pytestmark = pytest.mark.kafka

PARTITIONS = range(4)
LAG = "caststream_consumer_lag_records"
STEPS = 40  # of a stream in one round
CAST_STEPS = 130  # scores at 100 and 130 samples


def owned(worker: WorkerProcess, task: str) -> int:
    """The partitions of a task that a worker has."""
    return sum(
        f'task="{task}"' in line for line in worker.get("/metrics")[1].splitlines() if line.startswith(f"{LAG}{{")
    )


class Feeds:
    """A stream of each task that ships in every partition."""

    def __init__(self, settings: Settings) -> None:
        self.signals = [signal_feed(settings, partition) for partition in PARTITIONS]
        self.casts = [casting_feed(settings, partition) for partition in PARTITIONS]
        self._sent = 0

    def send(self) -> None:
        """Send the next samples of every stream; a whole cast to each strand."""
        for feed in self.signals:
            feed.send(*signal_samples(self._sent + STEPS)[self._sent :])
        for feed in self.casts:
            named = [sample | {"sequence": f"cast-{self._sent}"} for sample in casting_samples(CAST_STEPS)]
            feed.send(*named)
        self._sent += STEPS

    def check(self) -> None:
        """Every output of the signals is there once."""
        for feed in self.signals:
            assert [prediction.step for prediction in feed.predictions(self._sent)] == list(range(self._sent))


def test_members_with_different_tasks_work_in_one_group_while_a_task_is_rolled_out(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    """The one with fewer tasks is there first, so it assigns partitions of a topic that it does not know."""
    settings = make_settings(session_timeout=30)
    feeds = Feeds(settings)
    with (
        WorkerProcess(settings.replace(tasks="signal"), tmp_path) as old,
        WorkerProcess(settings, tmp_path) as new,
    ):
        old.start()
        feeds.send()
        new.start()
        wait_until(lambda: (owned(new, "casting"), owned(old, "signal"), owned(new, "signal")) == (4, 2, 2), 60)
        feeds.send()
        drained(settings)
        feeds.check()
        assert owned(old, "casting") == 0

        assert old.sigterm() == 0
        feeds.send()
        old.start(tasks="signal,casting")
        wait_until(lambda: [owned(worker, "casting") for worker in (old, new)] == [2, 2], 60)
        feeds.send()
        drained(settings)
        feeds.check()

        for worker in (old, new):
            assert worker.errors == []
            assert worker.sigterm() == 0
    report = assert_consistent(settings)
    assert report.compared


def test_a_task_of_the_users_own_runs_on_its_own_topics_and_is_audited(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    """One file of words and one of weights: no Python."""
    torch.manual_seed(5)
    model = ModelFactory.create_model({"model": {"lstm": {"hidden_size": 24}}}).eval()
    ModelFactory.save_checkpoint(model, tmp_path / "press.pt")
    file = write_task(tmp_path, "press", more='[rules]\ngap_policy = "reset"\n', file="press.pt")
    settings = make_settings(tasks=f"signal,{file}")
    press = Feed(settings, "press-7", "press-samples", "press-outputs", 2)
    signal = Feed(settings, "press-7", "signal-samples", "signal-predictions", 2)
    samples = signal_samples(60)
    with WorkerProcess(settings, tmp_path) as worker:
        worker.start()
        for feed in (press, signal):
            feed.send(*samples, b"bad")
        found = [decode_prediction(record.value, ()) for record in press.outputs(60)]
        assert len(signal.predictions(60)) == 60
        drained(settings)
        assert worker.metric("caststream_records_total", task="press", outcome="dead_letter") == 1
        worker.sigkill()
        worker.start()
        press.send(*signal_samples(80)[60:])
        press.outputs(80)
        drained(settings)
        assert worker.sigterm() == 0

    named = fingerprint_of(read_declaration(file), (tmp_path / "press.pt").read_bytes())
    assert {one.model for one in found} == {named}
    assert [one.prediction for one in found] == pytest.approx(run_signals(samples, model)[0], abs=TOLERANCE)
    report = assert_consistent(settings)
    assert (report.outputs, report.dead_letters, report.states) == (140, 2, 2)


def test_one_task_is_reset_and_the_others_go_on(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings()
    feeds = Feeds(settings)
    with WorkerProcess(settings, tmp_path) as worker:
        worker.start()
        feeds.send()
        drained(settings)
        assert worker.sigterm() == 0
        before = committed_offsets(settings)

        assert reset_state(settings.replace(tasks="casting")) == [settings.changelog("casting-windows")]

        kept = {at: offset for at, offset in before.items() if at[0] == settings.topic("signal-samples")}
        assert len(kept) == len(PARTITIONS)
        assert committed_offsets(settings) == kept
        worker.start()
        feeds.send()
        drained(settings)
        feeds.check()
        assert worker.sigterm() == 0


def test_the_topics_of_a_new_task_are_created_beside_those_there_are(settings: Settings, tmp_path: Path) -> None:
    grown = settings.replace(tasks=f"signal,casting,{write_task(tmp_path, 'press')}")

    assert set(create_topics(grown)) == {
        *(settings.topic(name) for name in ("press-samples", "press-outputs")),
        settings.changelog("press-states"),
    }
    assert create_topics(settings) == []
    delete_topics(grown)
