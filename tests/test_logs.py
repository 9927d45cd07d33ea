"""What a worker's log shows of its libraries."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from stream_app.logs import configure


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
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
    configure(log_format)

    fail("aiokafka.producer.sender")
    (line,) = capsys.readouterr().err.splitlines()
    fail("stream_app.app")
    ours = capsys.readouterr().err

    assert "batch 3 failed: ValueError('no such key')" in line
    assert "Traceback" in ours


def test_with_debug_libraries_show_their_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    configure("text", debug=True)

    fail("aiokafka.producer.sender")

    assert "Traceback" in capsys.readouterr().err


def test_a_library_says_the_same_only_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    configure("text")

    for number in range(5):
        logging.getLogger("aiokafka").warning("no answer from %d", number)
        logging.getLogger("stream_app").warning("no answer from %d", number)

    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 + 5
