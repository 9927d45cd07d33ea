"""A worker of now takes up what version 0.1 left in Kafka: states of all kinds, offsets, waiting records.

`tests/golden/system.msgpack.xz` was written by real workers of version 0.1 on a real broker, and is never written again
to make a test pass: it stands for the changelogs of those who upgrade.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from core.wire.records import decode_prediction, decode_score
from stream_app.local.broker import LocalBroker
from stream_app.routes import ROUTES
from stream_app.verify import VerifyReport, verify
from tests.broker import Received, consume_all
from tests.consistency import drained
from tests.feeds import assert_close, assert_scores
from tests.golden.histories import History, Phase, all_histories
from tests.golden.left import FILE, OLDER_IN, PARTITIONS, put, read_left, send
from tests.offline import defect_fingerprint, signal_fingerprint
from tests.worker import WorkerProcess, own_worker

pytestmark = pytest.mark.kafka

HISTORIES = all_histories()
LEFT = read_left()


@dataclass(frozen=True)
class Upgraded:
    """All that came out, of both versions together, and what the worker counted."""

    worker: WorkerProcess
    outputs: dict[str, list[Received]]
    """By task."""
    letters: list[Received]

    def of(self, history: History) -> list[Received]:
        """The outputs of a stream."""
        return [one for one in self.outputs[history.task] if one.key == history.name.encode()]


@pytest.fixture(scope="module")
def upgraded(broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """The worker of now has taken up the system and applied what waited and what came after."""
    directory = tmp_path_factory.mktemp("upgrade")
    with own_worker(
        broker, directory, "upgrade", lambda settings: put(LEFT, settings), partitions=PARTITIONS
    ) as worker:
        settings = worker.settings
        send(settings, HISTORIES, Phase.AFTER, LEFT.next_ms)
        drained(settings)
        outputs = {task: consume_all(settings, settings.topic(topic)) for task, topic in _topics().items()}
        yield Upgraded(worker, outputs, consume_all(settings, settings.topic("dead-letters")))


def _topics() -> dict[str, str]:
    (signals, _), (scores, _) = ROUTES["signal-samples"], ROUTES["casting-samples"]
    return {"signal": signals, "casting": scores}


def by(task: str) -> list[object]:
    return [pytest.param(history, id=history.name) for history in HISTORIES if history.task == task]


@pytest.mark.parametrize("history", by("signal"))
def test_every_prediction_equals_the_offline_run_over_the_whole_history(upgraded: Upgraded, history: History) -> None:
    found = [decode_prediction(one.value) for one in upgraded.of(history)]

    assert {one.model for one in found[history.by_other :]} == {signal_fingerprint()}
    assert_close(history.predictions(), [one.prediction or 0.0 for one in found[history.by_other :]])
    steps = [sample.get("step", place) for run in history.runs for place, sample in enumerate(run)]
    assert [one.step for one in found] == steps
    assert len({(one.sequence, one.step, one.timestamp_ms) for one in found}) == len(found)


@pytest.mark.parametrize("history", by("casting"))
def test_every_score_equals_the_offline_run_over_the_whole_history(upgraded: Upgraded, history: History) -> None:
    found = [decode_score(one.value) for one in upgraded.of(history)]

    assert {one.model for one in found} == {defect_fingerprint()}
    assert_scores(history.scores(), found)


def test_every_refused_record_is_one_dead_letter(upgraded: Upgraded) -> None:
    expected = {history.name.encode(): history.refused for history in HISTORIES if history.refused}

    found = {key: sum(one.key == key for one in upgraded.letters) for key in expected}

    assert found == expected
    assert len(upgraded.letters) == sum(expected.values())
    assert len(
        {(one.header("error.topic"), one.partition, one.header("error.offset")) for one in upgraded.letters}
    ) == (len(upgraded.letters))


def test_no_state_is_lost_and_only_the_other_models_numbers_are(upgraded: Upgraded) -> None:
    worker = upgraded.worker

    assert worker.metric("caststream_resets_total", reason="model") == 1
    assert worker.metric("caststream_resets_total", reason="corrupt_state") == 0
    assert worker.metric("caststream_duplicates_total", reason="step") == 0


def test_records_that_states_or_the_log_include_give_nothing_again(upgraded: Upgraded) -> None:
    worker = upgraded.worker

    signals, casts = (worker.settings.topic(topic) for topic in ("signal-samples", "casting-samples"))
    included = [one for one in HISTORIES if one.task == "signal" and one.partition == OLDER_IN]
    assert worker.metric("caststream_duplicates_total", topic=signals, reason="offset") == sum(
        len(one.sent.get(Phase.STATES_WRITTEN, [])) for one in included
    )
    assert worker.metric("caststream_outputs_left_out_total", topic=signals) > 0
    assert worker.metric("caststream_outputs_left_out_total", topic=casts) > 0


def test_verify_finds_the_whole_system_in_order(upgraded: Upgraded) -> None:
    """Without the stream whose first outputs are another model's."""
    mine = [history.name for history in HISTORIES if history.name != "remodelled"]

    report: VerifyReport = verify(upgraded.worker.settings, streams=mine)

    assert report.ok, str(report)
    assert report.states == len(mine)
    assert report.outputs > 300


def test_the_fixture_is_small_and_holds_states_of_all_kinds() -> None:
    blobs = [one.value for one in LEFT.logs["signal-states"] if one.value]

    assert FILE.stat().st_size < 200_000
    assert {blob[0] for blob in blobs} == {1, 2}
    assert LEFT.recorded_from.startswith("caststream 0.1.0")
