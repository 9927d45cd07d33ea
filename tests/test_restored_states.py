"""A worker that takes up what others have left: older offsets, another model's states, damage, a zombie's writes.

The histories are written by hand, as a crash or a zombie would leave them, before the worker starts. Its gap policy is
``reset``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.engines.results import StreamRules, WindowRules
from core.engines.scorer import CastScorer
from core.engines.stepper import SignalStepper
from core.models.defect_lstm import SteelDefectLSTM
from core.models.signal_lstm import SignalExtractionLSTM
from stream_app.clients.admin import Cluster
from stream_app.flow.tables import PartitionedStore
from stream_app.local.broker import LocalBroker
from stream_app.settings import Settings
from stream_app.topics.administration import topic_ids
from stream_app.topics.ownership import is_claim
from tests.admin import commit
from tests.broker import Received, ToSend, consume_all, consume_until, produce
from tests.changes import Change, take_changed
from tests.feeds import Feed, assert_close, assert_scores, casting_feed, in_sequence, signal_feed
from tests.offline import Sample, casting_samples, defect_model, predictions, scores, signal_model, signal_samples
from tests.worker import WorkerProcess, own_worker

pytestmark = pytest.mark.kafka


@dataclass(frozen=True)
class Past:
    """A stream that was there before the worker: all its samples are in its topic, some in its state."""

    feed: Feed
    samples: list[Sample]
    offsets: list[int]

    def records(self, count: int) -> list[Received]:
        found = consume_all(self.feed.settings, self.feed.topic)
        return [record for record in found if record.key == self.feed.name.encode()][:count]

    def signal_state(self, count: int, model: SignalExtractionLSTM | None = None) -> list[Change]:
        """The changelog records of a worker that has applied ``count`` samples."""
        engine = SignalStepper(model or signal_model(), StreamRules(), PartitionedStore())
        engine.run(self.records(count))
        return take_changed(engine, [self.feed.partition])

    def cast_state(self, count: int, model: SteelDefectLSTM | None = None) -> list[Change]:
        """The changelog records of a worker that has applied ``count`` samples."""
        engine = CastScorer(model or defect_model(), StreamRules(), WindowRules(), PartitionedStore())
        engine.run(self.records(count))
        return take_changed(engine, [self.feed.partition])


@dataclass
class Histories:
    """Streams by what has happened to them."""

    skipped: Past
    remodelled: Past
    damaged: Past
    overtaken: Past
    skipped_cast: Past
    remodelled_cast: Past


@pytest.fixture(scope="module")
def histories() -> dict[str, Histories]:
    """Filled before the worker starts, under the name "left"."""
    return {}


@pytest.fixture(scope="module")
def worker(
    broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory, histories: dict[str, Histories]
) -> Iterator[WorkerProcess]:
    def prepare(settings: Settings) -> None:
        histories["left"] = leave_histories(settings)

    with own_worker(broker, tmp_path_factory.mktemp("restored"), "restored", prepare, gap_policy="reset") as running:
        yield running


@pytest.fixture
def left(worker: WorkerProcess, histories: dict[str, Histories]) -> Histories:
    return histories["left"]


def leave_histories(settings: Settings) -> Histories:
    left = Histories(
        skipped=_signal(settings, 0, 2),
        remodelled=_signal(settings, 1, 3),
        damaged=_signal(settings, 2, 4),
        overtaken=_signal(settings, 3, 5),
        skipped_cast=_cast(settings, 0, 6),
        remodelled_cast=_cast(settings, 1, 7),
    )
    (damaged,) = left.damaged.signal_state(5)
    ((key, blob),) = damaged.records
    states = [
        *left.skipped.signal_state(6),
        *left.remodelled.signal_state(5, SignalExtractionLSTM()),
        Change(damaged.partition, damaged.source_offset, [(key, (blob or b"")[:-1])]),
        *left.overtaken.signal_state(10),
        *left.overtaken.signal_state(4),
    ]
    windows = [
        *left.skipped_cast.cast_state(60),
        *left.remodelled_cast.cast_state(90, SteelDefectLSTM({})),
    ]
    _write(settings, "signal-states", states)
    _write(settings, "casting-windows", windows)
    _commit(settings, "signal-samples", [left.skipped.offsets[2], 5, 5, 10])
    _commit(settings, "casting-samples", [40, 90])
    return left


def _signal(settings: Settings, partition: int, seed: int) -> Past:
    return _sent(signal_feed(settings, partition), signal_samples(10, seed))


def _cast(settings: Settings, partition: int, seed: int) -> Past:
    return _sent(casting_feed(settings, partition), in_sequence(casting_samples(140, seed), "cast-1"))


def _sent(feed: Feed, samples: list[Sample]) -> Past:
    return Past(feed, samples, feed.send(*samples))


def _write(settings: Settings, table: str, changes: Sequence[Change]) -> None:
    produce(
        settings,
        settings.changelog(table),
        [
            ToSend(key, blob, [("source-offset", b"%d" % change.source_offset)], change.partition)
            for change in changes
            for key, blob in change.records
        ],
    )


def _commit(settings: Settings, source: str, offsets: Sequence[int]) -> None:
    topic = settings.topic(source)
    metadata = json.dumps({"topic_id": topic_ids(settings, Cluster(settings))[topic]})
    commit(settings, {(topic, partition): (offset, metadata) for partition, offset in enumerate(offsets)})


def test_records_at_or_below_the_states_offset_were_applied_before(worker: WorkerProcess, left: Histories) -> None:
    """The worker before died after it had written states and before it had committed offsets."""
    past = left.skipped
    topic = past.feed.topic

    found = past.feed.predictions(4)

    assert [prediction.step for prediction in found] == [6, 7, 8, 9]
    assert_close(predictions(past.samples)[6:], [prediction.prediction for prediction in found])
    assert worker.metric("caststream_duplicates_total", topic=topic, reason="offset") == 4
    assert worker.metric("caststream_records_total", topic=topic, outcome="duplicate") == 4


def test_a_window_goes_on_behind_its_states_offset(worker: WorkerProcess, left: Histories) -> None:
    past = left.skipped_cast

    assert_scores(scores(past.samples, ended=False), past.feed.scores(2))
    assert worker.metric("caststream_duplicates_total", topic=past.feed.topic, reason="offset") == 20


def test_another_models_state_keeps_its_place_but_not_its_numbers(worker: WorkerProcess, left: Histories) -> None:
    past = left.remodelled

    found = past.feed.predictions(5)

    assert [(prediction.step, prediction.gap) for prediction in found] == [(5, 0), (6, 0), (7, 0), (8, 0), (9, 0)]
    assert_close(predictions(past.samples[5:]), [prediction.prediction for prediction in found])
    assert worker.metric("caststream_resets_total", reason="model") == 1


def test_another_models_window_keeps_its_samples(left: Histories) -> None:
    past = left.remodelled_cast

    assert_scores(scores(past.samples, ended=False), past.feed.scores(2))


def test_a_damaged_state_is_counted_and_its_stream_begins_at_zeros(worker: WorkerProcess, left: Histories) -> None:
    past = left.damaged

    found = past.feed.predictions(5)

    assert found[0].gap == 5  # the count of its steps is lost too
    assert_close(predictions(past.samples[5:]), [prediction.prediction for prediction in found])
    assert worker.metric("caststream_resets_total", reason="corrupt_state") == 1


def test_of_two_states_the_one_further_on_counts_and_is_written_again(worker: WorkerProcess, left: Histories) -> None:
    """A worker that was stopped for a while wrote its old state over that of the next owner."""
    past = left.overtaken
    changelog = worker.settings.changelog("signal-states")

    def written_again(records: Sequence[Received]) -> bool:
        own = [record for record in records if record.key == past.feed.name.encode()]
        return len(own) > 2 and own[-1].value == own[0].value

    consume_until(worker.settings, changelog, written_again)
    samples = signal_samples(12, seed=5)
    past.feed.send(*samples[10:])
    found = past.feed.predictions(2)

    assert_close(predictions(samples)[10:], [prediction.prediction for prediction in found])
    assert "1 states stand before older states" in worker.log


def test_streams_that_only_the_table_knows_are_let_go(broker: LocalBroker, tmp_path: Path) -> None:
    """With a tombstone; a cast's final score comes first."""
    left: list[Past] = []

    def prepare(settings: Settings) -> None:
        signal, cast = _signal(settings, 0, 1), _cast(settings, 2, 8)
        _write(settings, "signal-states", signal.signal_state(10))
        _write(settings, "casting-windows", cast.cast_state(140))
        _commit(settings, "signal-samples", [10])
        _commit(settings, "casting-samples", [0, 0, 140])
        left.append(cast)

    def gone(records: Sequence[Received]) -> bool:
        return [record.value is None for record in records if not is_claim(record.key)] == [False, True]

    with own_worker(broker, tmp_path, "forgetful", prepare, idle_timeout=1) as worker:
        (cast,) = left
        (score,) = cast.feed.scores(1)
        consume_until(worker.settings, worker.settings.changelog("signal-states"), gone)

    assert_scores(scores(cast.samples, ended=True)[-1:], [score])
    assert cast.feed.outputs(1)[0].header("source-offset") == b"%d" % cast.offsets[-1]


# Gap policy reset: a gap is as a new sequence for the model.


def test_each_gap_resets_the_state(worker: WorkerProcess) -> None:
    before = worker.metric("caststream_resets_total", reason="gap")
    feed, samples = signal_feed(worker.settings), signal_samples(20, seed=9)
    good = [*samples[2:5], *samples[6:10], *samples[15:]]
    feed.send(*good)

    found = feed.predictions(12)

    assert [prediction.gap for prediction in found] == [2, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0]
    assert_close(
        predictions(samples[2:5]) + predictions(samples[6:10]) + predictions(samples[15:]),
        [prediction.prediction for prediction in found],
    )
    assert worker.metric("caststream_resets_total", reason="gap") == before + 2


def test_a_gap_empties_the_window_of_a_cast(worker: WorkerProcess) -> None:
    feed, samples = casting_feed(worker.settings, partition=3), in_sequence(casting_samples(231, seed=9), "cast-1")
    samples[-1]["end"] = True
    feed.send(*samples[:120], *samples[121:])

    before = scores(samples[:120], ended=False)
    after = scores(samples[121:], ended=True, steps=range(121, 231))
    assert_scores([*before, *after], feed.scores(3))
