"""``caststream topics grow`` on a running system's topics: what is verified and what goes back afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import StartupError
from core.wire.partition import partition_of
from stream_app.clients.committed import committed_offsets
from stream_app.letters.corrections import Correction
from stream_app.letters.dead_letters import ResendFate, make_plan
from stream_app.letters.letter import Choice
from stream_app.letters.resend import Resender
from stream_app.settings import Settings
from stream_app.topics import grow
from stream_app.topics.grow import grow_topics
from tests.broker import ToSend, consume_all, consume_until, produce
from tests.conftest import MakeSettings
from tests.consistency import assert_consistent, drained
from tests.offline import casting_samples, signal_samples
from tests.worker import WorkerProcess

pytestmark = pytest.mark.kafka

NAMES = [f"s{number}" for number in range(8)]
BAD = b"no sample"


def send(settings: Settings, topic: str, samples: list[object]) -> None:
    records = [
        ToSend(name, sample, (), partition_of(name.encode(), settings.partitions))
        for sample in samples
        for name in NAMES
    ]
    produce(settings, settings.topic(topic), records)


def test_casts_that_were_open_when_partitions_were_added_are_found_in_order(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    """Their final scores come in their new partitions, some with the next cast and some when they are idle."""
    before = make_settings(partitions=1)
    with WorkerProcess(before, tmp_path) as worker:
        worker.start()
        send(before, "casting-samples", casting_samples(3))
        drained(before)
        worker.sigterm()
    after = before.replace(partitions=3, idle_timeout=1)  # not before: a slow machine would end them there

    assert grow_topics(after).moved > 0

    with WorkerProcess(after, tmp_path) as worker:
        worker.start()
        scores = consume_until(after, after.topic("casting-scores"), len(NAMES))
        drained(after)
        worker.sigterm()
    assert {record.partition for record in scores} == {0, 1, 2}
    assert_consistent(after)


def test_records_that_a_sender_sends_meanwhile_are_not_passed_over(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved states, and the offsets at which new partitions begin, would include them."""
    settings = make_settings(partitions=1).replace(partitions=3)
    place = (settings.topic("signal-samples"), 1)
    make_offsets = grow._RoutePlan._make_offsets

    def meanwhile(plan: Any, partitions: Any) -> None:
        make_offsets(plan, partitions)
        if plan.route.task == "signal":
            produce(settings, place[0], [ToSend("s1", BAD, (), place[1])])

    monkeypatch.setattr(grow._RoutePlan, "_make_offsets", meanwhile)

    with pytest.raises(StartupError, match=r"signal-samples\[1\] holds .* not processed: .*--without-states"):
        grow_topics(settings)
    monkeypatch.undo()
    grow_topics(settings, move_states=False)
    assert committed_offsets(settings).get(place, -1) < 0, "it is read from its beginning"


def test_a_dead_letter_goes_back_to_the_partition_that_its_stream_has_now(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    """In the one where it was its stream has no state any more, and would begin from zeros there."""
    before = make_settings(partitions=1)
    with WorkerProcess(before, tmp_path) as worker:
        worker.start()
        send(before, "signal-samples", [*signal_samples(3), BAD])
        drained(before)
        worker.sigterm()
    after = before.replace(partitions=3)
    grow_topics(after)
    good = json.dumps({"step": 3, "signal": 0.5, "condition_vector": [1, 0, 0, 0]}).encode()
    letters = [verdict.letter for verdict in make_plan(after, Choice()).verdicts]
    corrections = {
        (letter.source, letter.source_offset or 0): Correction(1, good, None) for letter in letters if letter.source
    }

    plan = make_plan(after, Choice(), corrections)
    Resender(after).send(plan.to_send)

    found = [verdict.to[1] for verdict in plan.to_send]
    assert found == [partition_of(verdict.key or b"", 3) for verdict in plan.to_send]
    assert set(found) == {0, 1, 2}
    assert {verdict.fate for verdict in make_plan(after, Choice(), corrections).verdicts} == {ResendFate.RESENT}
    with WorkerProcess(after, tmp_path) as worker:
        worker.start()
        drained(after)
        worker.sigterm()
    predictions = [record.json for record in consume_all(after, after.topic("signal-predictions"))]
    assert sorted(each["step"] for each in predictions) == sorted(list(range(4)) * len(NAMES))
    assert not [each for each in predictions if each.get("gap")]
