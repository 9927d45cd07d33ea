"""``caststream tail``: the records of an output topic as lines."""

import io
import json
import re
import threading
import time
from datetime import datetime

import msgspec
import pytest

from core.errors import RunError, StartupError
from core.wire.records import Prediction, Score
from stream_app.cli.tail import TOPICS, tail
from stream_app.letters.letter import Choice
from tests.broker import ToSend, produce

PREDICTION = Prediction("signal-0003", "run-1-3", 17, 1_700_000_000_017, 0.25, "0123456789ab")
SCORE = Score("strand-01", "run-1-1", 299, 100, 200, 1_700_000_299_000, 0.125, 250, True, "0123456789ab")
SHORT = Score("strand-01", "run-1-9", 49, 0, 50, 1_700_000_349_000, None, None, True, "0123456789ab", "too_short")


def read(settings, kind, **options):
    """The lines of ``tail`` over what is in the topic."""
    out = io.StringIO()
    given = {"client_config": settings.client_config(), "topic": settings.topic(TOPICS[kind]), "from_beginning": True}
    shown = tail(kind, out=out, **given | options)
    lines = out.getvalue().splitlines()
    assert len(lines) == shown
    return lines


def encoded(output):
    return ToSend(output.stream, msgspec.json.encode(output), partition=0)


@pytest.mark.kafka
def test_predictions_are_lines_to_read_or_json(settings):
    late = msgspec.structs.replace(PREDICTION, step=20, gap=2, sequence="")
    packed = ToSend("s", msgspec.msgpack.encode(PREDICTION), [("content-type", b"application/msgpack")], partition=0)
    produce(settings, settings.topic("signal-predictions"), [encoded(PREDICTION), encoded(late), packed])

    lines = read(settings, "predictions", count=3)
    objects = [json.loads(line) for line in read(settings, "predictions", count=3, as_json=True)]

    assert lines == [
        "2023-11-14 22:13:20.017  signal-0003  run-1-3  step 17  prediction +0.2500",
        "2023-11-14 22:13:20.017  signal-0003  -  step 20  prediction +0.2500  gap 2",
        lines[0],
    ]
    assert objects[0] == objects[2] == msgspec.to_builtins(PREDICTION)
    assert objects[1]["gap"] == 2


@pytest.mark.kafka
def test_scores_tell_their_window_and_why_there_is_no_probability(settings):
    hop = msgspec.structs.replace(SCORE, final=False)
    produce(settings, settings.topic("casting-scores"), [encoded(hop), encoded(SCORE), encoded(SHORT)])

    lines = read(settings, "scores", count=3)
    objects = [json.loads(line) for line in read(settings, "scores", count=3, as_json=True)]

    head = "2023-11-14 22:18:19.000  strand-01  run-1-1  step 299  window [100, 300)  probability 0.125"
    assert lines == [
        f"{head}  attention peak 250",
        f"{head}  attention peak 250  final",
        "2023-11-14 22:19:09.000  strand-01  run-1-9  step 49  window [0, 50)  no probability: too_short  final",
    ]
    assert objects == [msgspec.to_builtins(each) for each in (hop, SCORE, SHORT)]


@pytest.mark.kafka
def test_dead_letters_tell_reason_place_and_what_came(settings):
    headers = {"reason": "not_finite", "message": "signal is nan", "topic": "signal-samples", "partition": "2"}
    headers |= {"offset": "17", "timestamp_ms": "1700000000000"}
    pairs = [(f"error.{name}", value.encode()) for name, value in headers.items()]
    sent = [("s-1", b'{"signal": "x"}\n\x1b[31m'), (None, b"\xff\x00"), ("s", None)]
    produce(settings, settings.topic("dead-letters"), [ToSend(*each, pairs, partition=0) for each in sent])

    lines = read(settings, "dead-letters", count=3)
    objects = [json.loads(line) for line in read(settings, "dead-letters", count=3, as_json=True)]

    head = "signal-samples partition 2 offset 17  not_finite: signal is nan"
    times, told = zip(*(re.split(r"(?<=\.\d{3})  ", line, maxsplit=1) for line in lines), strict=True)
    assert told == (
        f'{head}  key s-1  value {{"signal": "x"}}\\n\\x1b[31m  letter 0/0',
        f"{head}  key none  value \\xff\\x00  letter 0/1",
        f"{head}  key s  value none  letter 0/2",
    )
    assert abs(time.time() - datetime.fromisoformat(f"{times[0]}+00:00").timestamp()) < 600
    place = {
        "reason": "not_finite",
        "message": "signal is nan",
        "topic": "signal-samples",
        "partition": 2,
        "offset": 17,
    }
    place |= {"timestamp_ms": 1_700_000_000_000, "letter_partition": 0}
    assert objects[0] == place | {"letter_offset": 0, "key": "s-1", "value": '{"signal": "x"}\n\x1b[31m', "headers": []}
    assert objects[1] == place | {"letter_offset": 1, "key": None, "value_base64": "/wA=", "headers": []}
    assert objects[2] == place | {"letter_offset": 2, "key": "s", "value": None, "headers": []}


@pytest.mark.kafka
def test_dead_letters_can_be_chosen_by_reason_and_stream(settings):
    def letter(stream, reason):
        return ToSend(
            stream, b"", [("error.reason", b"late"), ("error.reason", reason)], partition=0
        )  # the last counts

    sent = [("a", b"late"), ("b", b"not_finite"), ("a", b"not_finite"), ("c", b"not_finite")]
    produce(settings, settings.topic("dead-letters"), [letter(*each) for each in sent])

    def offsets(count, **choice):
        lines = read(settings, "dead-letters", count=count, as_json=True, choice=Choice(**choice))
        return [json.loads(line)["letter_offset"] for line in lines]

    assert offsets(3, reasons={"not_finite"}) == [1, 2, 3]
    assert offsets(2, streams={"a"}) == [0, 2]
    assert offsets(3, streams={"a", "b"}) == [0, 1, 2]
    assert offsets(2, streams={"a", "c"}, reasons={"not_finite"}) == [2, 3]


@pytest.mark.kafka
def test_without_from_beginning_only_what_comes_next_is_shown(settings):
    topic = settings.topic("signal-predictions")
    produce(settings, topic, [encoded(PREDICTION)])
    ready, found = threading.Event(), []
    reader = threading.Thread(
        target=lambda: found.extend(
            read(settings, "predictions", count=1, from_beginning=False, as_json=True, on_ready=ready.set)
        )
    )

    reader.start()
    assert ready.wait(30)
    produce(settings, topic, [encoded(msgspec.structs.replace(PREDICTION, step=18))])
    reader.join()

    assert [json.loads(line)["step"] for line in found] == [18]


@pytest.mark.kafka
def test_a_record_that_cannot_be_read_does_not_end_the_tail(settings):
    produce(settings, settings.topic("casting-scores"), [ToSend("s", b"{", partition=1), encoded(SCORE)])

    lines = read(settings, "scores", count=2)
    objects = read(settings, "scores", count=2, as_json=True)

    assert [any("cannot be read" in line for line in lines), any("final" in line for line in lines)] == [True, True]
    assert sorted("error" in json.loads(line) for line in objects) == [False, True]


@pytest.mark.kafka
def test_whoever_takes_the_lines_may_go_away(settings):
    produce(settings, settings.topic("casting-scores"), [encoded(SCORE)])

    class Gone(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    given = {"client_config": settings.client_config(), "topic": settings.topic("casting-scores")}
    assert tail("scores", out=Gone(), from_beginning=True, **given) == 0


@pytest.mark.kafka
def test_a_missing_topic_is_named(settings):
    with pytest.raises(StartupError, match="topic none does not exist"):
        read(settings, "scores", topic="none")


def test_a_broker_that_is_not_there_is_told():
    with pytest.raises(RunError, match="cannot read t from the Kafka broker"):
        tail("scores", client_config={"bootstrap.servers": "127.0.0.1:1"}, topic="t", out=io.StringIO(), timeout_s=1.0)


@pytest.mark.parametrize(("kind", "count"), [("score", 1), ("scores", 0)])
def test_wrong_arguments_are_refused(kind, count):
    with pytest.raises(StartupError):
        tail(kind, client_config={}, topic="t", out=io.StringIO(), count=count)
