"""The record table where casts differ from signals: windows, final scores, casts that end."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.feeds import MSGPACK, Feed, assert_scores, bad, dead_letters, in_sequence, msgpack
from tests.offline import casting_samples, scores
from tests.worker import WorkerProcess

pytestmark = pytest.mark.kafka

CAST_SAMPLE = casting_samples(1)[0] | {"step": None}


def test_a_cast_is_scored_at_100_samples_then_every_30_and_at_its_end(worker: WorkerProcess, casts: Feed) -> None:
    samples = in_sequence(casting_samples(575, seed=1), "cast-1")
    samples[-1]["end"] = True
    offsets = casts.send(*samples)

    expected = scores(samples, ended=True)
    received = casts.outputs(len(expected))
    found = casts.scores(len(expected))

    assert [*range(100, 575, 30), 575] == [score.step + 1 for score in found]
    assert_scores(expected, found)
    assert [b"%d" % offsets[score.step] for score in found] == [record.header("source-offset") for record in received]
    assert worker.metric("caststream_scores_total", final="true") >= 1


def test_a_final_score_replaces_the_hop_score_at_its_step(casts: Feed) -> None:
    samples = in_sequence(casting_samples(130, seed=2), "cast-1")
    samples[-1]["end"] = True
    casts.send(*samples)

    found = casts.scores(2)

    assert [(score.step, score.final) for score in found] == [(99, False), (129, True)]
    assert_scores(scores(samples, ended=True), found)


def test_a_cast_below_100_samples_is_too_short_for_a_probability(casts: Feed) -> None:
    samples = in_sequence(casting_samples(99, seed=3), "cast-1")
    samples[-1]["end"] = True
    casts.send(*samples)

    (score,) = casts.scores(1)

    assert_scores(scores(samples, ended=True), [score])
    value = json.loads(casts.outputs(1)[0].value or b"")
    assert value["probability"] is None
    assert value["attention_peak"] is None
    assert value["reason"] == "too_short"
    assert value["final"] is True


def test_another_cast_gives_the_final_score_of_the_one_before(casts: Feed) -> None:
    first, second = in_sequence(casting_samples(110, seed=4), "cast-1"), in_sequence(casting_samples(105, seed=5), "b")
    first_offsets = casts.send(*first)
    (late,) = casts.send(*second[:50], first[0])[-1:]
    casts.send(*second[50:])

    found = casts.scores(3)

    assert_scores([*scores(first, ended=True), *scores(second, ended=False)], found)
    assert [score.sequence for score in found] == ["cast-1", "cast-1", "b"]
    assert casts.outputs(3)[1].header("source-offset") == b"%d" % first_offsets[-1]
    assert casts.dead_letter(late).header("error.reason") == b"late"


def test_a_record_of_a_cast_that_has_ended_is_late(casts: Feed) -> None:
    samples = in_sequence(casting_samples(103, seed=6), "cast-1")
    samples[100]["end"] = True
    *_, late, later = casts.send(*samples)
    second = in_sequence(casting_samples(100, seed=7), "cast-2")
    casts.send(*second)

    found = casts.scores(3)
    letters = dead_letters(casts.settings, casts.topic, [(casts.partition, late), (casts.partition, later)])

    assert_scores([*scores(samples[:101], ended=True), *scores(second, ended=False)], found)
    assert [letter.header("error.reason") for letter in letters] == [b"late", b"late"]


BAD_CAST_SAMPLES = [
    bad("missing_field", {name: value for name, value in CAST_SAMPLE.items() if name != "superheat"}),
    bad("wrong_type", {**CAST_SAMPLE, "end": "yes"}, name="end"),
    bad("wrong_type", {**CAST_SAMPLE, "mold_level": True}, name="bool"),
    bad("out_of_range", {**CAST_SAMPLE, "mold_temperature": 2e6}),
    bad("not_finite", msgpack({**CAST_SAMPLE, "casting_speed": math.inf}), MSGPACK),
    bad("content_type", CAST_SAMPLE, [("content-type", b"text/plain")]),
    bad("not_decodable", b"speed=1.2"),
    bad("step_jump", {**CAST_SAMPLE, "step": 2**53 - 1}),
]


@pytest.mark.parametrize(("value", "headers", "reason"), BAD_CAST_SAMPLES)
def test_a_bad_sample_is_no_part_of_its_cast(
    casts: Feed, value: Any, headers: list[tuple[str, bytes]], reason: str
) -> None:
    samples = casting_samples(101, seed=8)
    samples[-1]["end"] = True
    casts.send(*samples[:60])
    (offset,) = casts.send(value, headers=headers)
    casts.send(*samples[60:])

    letter = casts.dead_letter(offset)

    assert_scores(scores(samples, ended=True), casts.scores(2))
    assert letter.header("error.reason") == reason.encode()
    assert letter.header("error.topic") == casts.topic.encode()
    assert letter.value == (value if isinstance(value, bytes) else json.dumps(value).encode())


def test_duplicates_and_gaps_of_a_cast_leave_its_window_to_the_samples_that_came(casts: Feed) -> None:
    samples = casting_samples(140, seed=9)
    good = [*samples[:30], *samples[40:]]
    casts.send(*good[:60], *good[20:60], *good[60:], good[-1])

    steps = [sample["step"] for sample in good]
    expected = scores(good, ended=False, steps=steps)
    found = casts.scores(2)

    assert_scores(expected, found)
    assert [(score.start, score.length, score.step) for score in found] == [(0, 100, 109), (0, 130, 139)]


def test_step_0_of_a_cast_without_a_name_begins_the_next_one(casts: Feed) -> None:
    first, second = casting_samples(102, seed=10), casting_samples(100, seed=11)
    casts.send(*first, *second)

    assert_scores([*scores(first, ended=True), *scores(second, ended=False)], casts.scores(3))
