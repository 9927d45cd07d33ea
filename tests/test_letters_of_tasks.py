"""Dead letters of any task: what may go back is judged by its declaration."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.tasks.reading import declare
from core.wire.samples import sample_decoder
from stream_app.letters.corrections import Correction
from stream_app.letters.dead_letters import ResendFate, ResendVerdict, _Judge
from stream_app.letters.letter import Choice, Letter
from stream_app.letters.source_scan import Scan

FIELDS = {"vibration": {"length": 2, "range": [-200, 200], "unit": "mm/s", "alias": ["vib"]}}
PUMP = {"name": "pump", "kind": "step", "fields": FIELDS, "model": {"file": "pump.onnx"}}
TOPIC, OFFSET = "pump-samples", 7
BAD = b'{"vibration": [1, 300]}'


def letter_in(topic: str | None) -> Letter:
    place = {"topic": topic, "source_partition": 0, "source_offset": OFFSET, "timestamp_ms": 1}
    said = {"reason": "out_of_range", "message": "", "value_bytes": None}
    return Letter(partition=0, offset=0, sent_ms=1, key=b"pump-3", value=BAD, headers=[], **place, **said)  # type: ignore[arg-type]


def verdict_on(topic: str | None, corrected: bytes | None = None) -> ResendVerdict:
    at = (TOPIC, 0)
    decoders = {TOPIC: sample_decoder(declare(Path("pump.toml"), PUMP, need_files=False))}
    scan = Scan({b"pump-3"}, {OFFSET}, {OFFSET}, found={OFFSET: (b"pump-3", BAD)})
    corrections = {} if corrected is None else {(at, OFFSET): Correction(4, corrected, None)}
    return _Judge(decoders, {at: scan}, {at: (0, 10)}, corrections, {}, False).verdict(letter_in(topic))


@pytest.mark.parametrize("value", [b'{"vibration": [1, 2]}', b'{"vib": [true, -200]}'])
def test_a_correction_that_its_task_accepts_goes_back(value: bytes) -> None:
    verdict = verdict_on(TOPIC, value)

    assert (verdict.fate, verdict.value) == (ResendFate.RESEND, value)


@pytest.mark.parametrize(
    ("corrected", "why"),
    [
        (None, "vibration[1] is 300: must be within -200 and 200 mm/s"),
        (b'{"vibration": [1]}', "line 4: still not usable: vibration has 1 numbers: 2 are needed"),
        (b'{"signal": 1}', "line 4: still not usable: vibration is missing"),
    ],
)
def test_what_its_task_would_refuse_again_stays(corrected: bytes | None, why: str) -> None:
    verdict = verdict_on(TOPIC, corrected)

    assert verdict.fate is ResendFate.REFUSED
    assert why in verdict.why


def test_a_topic_of_no_task_names_the_setting() -> None:
    assert "its topic fan-samples is of no task of the setting tasks" in verdict_on("fan-samples").why
    assert verdict_on(None).why == "it names no partition of our source topics"


def test_letters_are_chosen_by_the_topics_of_tasks() -> None:
    choice = Choice(topics={TOPIC})

    assert [choice.takes(letter_in(topic)) for topic in (TOPIC, "fan-samples", None)] == [True, False, False]
