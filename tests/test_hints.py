"""What a sender has probably meant otherwise is told once."""

from __future__ import annotations

import logging

import pytest

from core.engines.results import ChunkResult
from stream_app.flow.hints import MOST_NAMES, Hints
from stream_app.flow.metrics import Metrics
from stream_app.flow.task_metrics import TaskMetrics
from stream_app.routes import routes
from stream_app.settings import Settings


def result(*names: bytes, keys: tuple[bytes, ...] = ()) -> ChunkResult:
    found = ChunkResult(quoted_keys=list(keys))
    for name in names:
        found.counts.meet_near(name, 2)
    return found


def told(caplog: pytest.LogCaptureFixture, *results: ChunkResult) -> list[str]:
    caplog.set_level(logging.WARNING)
    hints = Hints("signal-samples")
    for each in results:
        hints.tell(each)
    return [record.getMessage() for record in caplog.records]


def test_a_nearly_right_name_is_told_once_with_the_right_one(caplog: pytest.LogCaptureFixture) -> None:
    lines = told(caplog, result(b"Step"), result(b"Step", b"timestampMs"), result())

    assert len(lines) == 2
    assert lines[0].startswith("signal-samples: field 'Step' is ignored: the right name is 'step'")
    assert "'timestampMs' is ignored: the right name is 'timestamp_ms'" in lines[1]


def test_a_sender_that_makes_up_names_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    names = [b"s" + b"_" * count + b"tep" for count in range(1, 16)] + [
        b"e" + b"-" * count + b"nd" for count in range(1, 16)
    ]

    assert len(told(caplog, result(*names))) == MOST_NAMES


@pytest.mark.parametrize(
    ("key", "words"),
    [(b'"press-7"', "it names another stream than press-7"), (b'{"schema":null}', "all of it is the stream's name")],
)
def test_a_key_written_as_json_is_told_once(caplog: pytest.LogCaptureFixture, key: bytes, words: str) -> None:
    lines = told(caplog, result(keys=(key, key)), result(keys=(key,)))

    assert len(lines) == 1
    assert words in lines[0]


def test_near_misses_are_counted_by_task_topic_and_field() -> None:
    metrics = Metrics()

    TaskMetrics(metrics, routes(Settings())["signal"]).count(result(b"Step", b"STEP", b"seq"))

    text = metrics.exposition().decode()
    assert 'caststream_near_miss_fields_total{field="step",task="signal",topic="signal-samples"} 4.0' in text
    assert 'caststream_near_miss_fields_total{field="sequence",task="signal",topic="signal-samples"} 2.0' in text
