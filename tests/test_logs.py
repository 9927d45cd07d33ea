"""What a worker logs: each change of state in a line, no record, no secret; of its libraries what somebody needs."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_app.local.broker import free_port
from stream_app.local.child import Child
from stream_app.logs import SELDOM, configure
from stream_app.routes import DEAD_LETTERS, SIGNAL_SAMPLES
from stream_app.settings import Settings, load_settings
from tests.broker import consume_until, wait_until
from tests.conftest import MakeSettings
from tests.feeds import signal_feed
from tests.impatient_worker import PATIENCE_S
from tests.offline import signal_samples
from tests.worker import ROOT


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    logging.captureWarnings(False)  # so that the next call takes over from pytest, which has them within a test
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def fail(name: str) -> None:
    try:
        raise ValueError("no such key")
    except ValueError:
        logging.getLogger(name).exception("batch %d failed", 3)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_library_s_error_is_a_line_and_ours_has_its_traceback(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(log_format, "worker 0")

    fail("aiokafka.producer.sender")
    (line,) = capsys.readouterr().err.splitlines()
    fail("stream_app.worker.app")
    ours = capsys.readouterr().err

    assert "batch 3 failed: ValueError('no such key')" in line
    assert "Traceback" in ours


def test_with_debug_libraries_show_their_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    configure("text", "worker 0", debug=True)

    fail("aiokafka.producer.sender")

    assert "Traceback" in capsys.readouterr().err


def test_a_library_says_the_same_only_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    configure("text", "worker 0")

    for number in range(5):
        logging.getLogger("aiokafka").warning("no answer from %d", number)
        logging.getLogger("stream_app").warning("no answer from %d", number)

    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 + 5


def test_a_line_of_ours_that_an_outage_repeats_comes_only_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    configure("text", "worker 0")

    for number in range(5):
        logging.getLogger("stream_app").warning("the broker did not answer: %d", number, extra=SELDOM)

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_pythons_warnings_are_lines_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "worker 3")

    warnings.warn("old\nand slow", stacklevel=1)

    (entry,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (entry["level"], entry["process"]) == ("warning", "worker 3")
    assert "old\nand slow" in entry["message"]


# A whole `caststream worker`.

PASSWORD = "hunter2"


def command(settings: Settings, tmp_path: Path, *instead: str) -> Child:
    """`caststream worker`, or another program, with its log as JSON in a file, and a password in its environment."""
    changed = settings.replace(log_format="json", metrics_port=free_port(), sasl_username="u", sasl_password=PASSWORD)
    program = Path(sys.executable).parent / "caststream"
    environment = changed.process_environment()
    return Child(instead or (program, "worker"), output=tmp_path / "log", directory=ROOT, environment=environment)


def entries(tmp_path: Path) -> list[dict[str, Any]]:
    """Its log so far."""
    return [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]


@pytest.mark.kafka
def test_a_worker_logs_its_changes_of_state_as_json_and_nothing_of_its_records(
    settings: Settings, tmp_path: Path
) -> None:
    feed, bad = signal_feed(settings), 200
    worker = command(settings, tmp_path)
    try:
        wait_until(lambda: [entry for entry in entries(tmp_path) if entry["message"].startswith("ready: ")], 60)
        feed.send(*signal_samples(300), *[{"signal": "no number"}] * bad)
        feed.predictions(300)
        consume_until(settings, settings.topic(DEAD_LETTERS), bad)
    finally:
        worker.stop(60)

    said = entries(tmp_path)
    text = (tmp_path / "log").read_text()
    assert worker.exit_status == 0
    assert {"time", "level", "process", "pid", "logger", "message"} == set().union(*said)
    assert {entry["process"] for entry in said} == {"supervisor", "worker 0"}
    told = "\n".join(entry["message"] for entry in said)
    for state in ("worker 0 started", "looking for the topics", "recovered", "ready: ", "stopping", "stopped"):
        assert told.count(state) == 1
    assert len(said) < 10, "records are in the log"
    assert PASSWORD not in text
    assert feed.name not in text


@pytest.mark.kafka
def test_a_refusal_is_the_last_line_of_the_log_as_json(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings()
    worker = command(settings.replace(topic_prefix="nowhere-"), tmp_path)

    assert worker.wait(60)

    *_, why, last = [entry["message"] for entry in entries(tmp_path)]
    assert worker.exit_status == 2
    assert f"nowhere-{SIGNAL_SAMPLES}" in why
    assert last == "worker 0 refused to start; the line above says why"


def test_without_a_broker_a_worker_says_so_and_ends_after_the_time_that_it_states(tmp_path: Path) -> None:
    settings = load_settings(broker=f"127.0.0.1:{free_port()}")
    worker = command(settings, tmp_path, sys.executable, "-m", "tests.impatient_worker")

    assert worker.wait(60)

    _, patience, why, last = entries(tmp_path)
    assert worker.exit_status == 1
    assert f"on {settings.broker}, for up to {PATIENCE_S:g} s" in patience["message"]
    assert why["message"].startswith(f"no Kafka broker answers on {settings.broker} within {PATIENCE_S:g} s")
    assert "caststream broker" in why["message"]
    assert last["message"] == "worker 0 could not start; the line above says why"
