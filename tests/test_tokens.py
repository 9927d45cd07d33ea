"""OAUTHBEARER: tokens from a file or a command, and a real broker that asks for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import OutageError, StartupError
from stream_app.local.broker import LocalBroker, free_port
from stream_app.local.child import Child
from stream_app.settings import load_settings
from stream_app.tokens import OPAQUE_S, TokenSource
from tests.broker import JARS_DIR, wait_until
from tests.token_broker import token_properties, web_token
from tests.worker import ROOT

SECRET = "opaque-token-8e1f"


def test_a_token_of_a_file_is_read_again_each_time_and_says_until_when_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "token"
    source = TokenSource(file, "")
    first, second = web_token(100), web_token(900)

    file.write_text(first + "\n")
    assert (source.token().text, round(source.token().expires_s - time.time(), -1)) == (first, 100)
    file.write_text(second)
    assert source.for_librdkafka("") == (second, source.token().expires_s)
    file.write_text(SECRET)  # it does not say
    assert source.token().expires_s == pytest.approx(time.time() + OPAQUE_S, abs=5)
    assert SECRET not in repr(source.token())


def counting(directory: Path, said: str) -> str:
    """A command that prints this, and adds a line to a file."""
    (directory / "said").write_text(said)
    return f"sh -c 'echo >> {directory}/runs; cat {directory}/said'"


def test_a_command_is_run_again_when_most_of_the_tokens_time_is_over(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    long, short = TokenSource(None, counting(tmp_path, web_token(1000))), web_token(0.5)

    assert {long.token().text for _ in range(3)} == {long.token().text}
    assert len(runs.read_text().splitlines()) == 1

    source = TokenSource(None, counting(tmp_path, json.dumps({"access_token": SECRET, "expires_in": 0.05})))
    assert source.token().text == SECRET
    wait_until(lambda: source.token() and len(runs.read_text().splitlines()) > 2, 10)
    assert short not in runs.read_text()


@pytest.mark.parametrize(
    ("command", "words", "kind"),
    [
        ("/no/such/program", "cannot be run: No such file or directory", StartupError),
        ("sh -c 'echo gone away >&2; exit 7'", "ended with status 7: gone away", OutageError),
        ("sh -c 'exit 7'", "ended with status 7", OutageError),
        ("true", "gives no token", StartupError),
        (f"echo {SECRET} {SECRET}", "gives no token", StartupError),
        ("echo '{}'", "gives no token", StartupError),
        ("sh 'unbalanced", "is no command line: No closing quotation", StartupError),
        ("sleep 30", "has printed no token within 0.2 s", OutageError),
    ],
)
def test_a_command_without_a_token_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, command: str, words: str, kind: type[Exception]
) -> None:
    monkeypatch.setattr("stream_app.tokens.COMMAND_TIMEOUT_S", 0.2 if command.startswith("sleep") else 30.0)

    with pytest.raises(StartupError) as caught:
        TokenSource(None, command).token()

    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert str(caught.value).startswith("sasl_oauth_token_command ")
    assert SECRET not in str(caught.value).replace(command, "")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff", "it is not UTF-8 text"),
        (b"", "gives no token"),
        (b"a\nb", "gives no token"),
        (web_token(-100).encode(), "its token has expired at 20"),
    ],
    ids=["missing", "no text", "empty", "two lines", "expired"],  # a token has the time in it, and lanes must agree
)
def test_a_file_without_a_token_is_told_in_a_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)

    with pytest.raises(StartupError, match=f"^sasl_oauth_token_file .*token: .*{words}"):
        TokenSource(tmp_path / "token", "").token()


SASL = {"security_protocol": "SASL_SSL"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sasl_mechanism": "OAUTHBEARER"}, "OAUTHBEARER needs sasl_oauth_token_file or sasl_oauth_token_command"),
        (
            {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_file": "f", "sasl_oauth_token_command": "c"},
            "are both given: leave out one of them",
        ),
        ({"sasl_username": "u", "sasl_password": "p", "sasl_oauth_token_file": "f"}, "PLAIN takes no token"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(StartupError, match=words):
        load_settings(**SASL, **given)


# A real broker that takes tokens without a signature.


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    port, inner = free_port(), free_port()
    directory, properties = tmp_path_factory.mktemp("asking"), token_properties(inner, port)
    with LocalBroker(directory, port=inner, jars_dir=JARS_DIR, properties=properties):
        yield f"127.0.0.1:{port}"


@pytest.fixture
def environment(asking: str, tmp_path: Path) -> Callable[..., dict[str, str]]:
    def make(**changes: Any) -> dict[str, str]:
        settings = {
            "broker": asking,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "OAUTHBEARER",
            "data_dir": tmp_path,
            "metrics_port": 0,
            "session_timeout": 6,
            **changes,
        }
        ours = {f"CASTSTREAM_{name.upper()}": str(value) for name, value in settings.items()}
        return {name: value for name, value in os.environ.items() if not name.startswith("CASTSTREAM_")} | ours

    return make


def run(environment: dict[str, str], *arguments: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stream_app.cli.main", *arguments],
        cwd=ROOT,
        env=environment,
        input=lines,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.kafka
def test_everything_works_with_tokens_that_are_renewed_by_a_file_and_by_a_command(
    environment: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(web_token(3600))
    by_file = environment(sasl_oauth_token_file=file)
    by_command = environment(sasl_oauth_token_command=f"cat {file}")
    done = run(by_file, "topics", "create")
    assert done.returncode == 0, done.stderr
    log = tmp_path / "log"
    command = [sys.executable, "-m", "stream_app.cli.main", "worker"]
    worker = Child(command, output=log, directory=ROOT, environment=by_command)
    sample = {"stream": "s", "sequence": "a", "signal": 0.5, "condition_vector": [0, 1, 0, 0]}
    try:
        for step in range(2):
            done = run(by_file, "send", "signal", lines=json.dumps({**sample, "step": step}) + "\n")
            assert done.returncode == 0, done.stderr
            tail = ("--from-beginning", "--json", "--count", str(step + 1))
            found = run(by_file, "tail", "predictions", *tail)
            assert [json.loads(line)["step"] for line in found.stdout.splitlines()] == list(range(step + 1))
            file.write_text(web_token(3000))
    finally:
        worker.stop(60)

    assert worker.exit_status == 0, log.read_text()
    assert "eyJ" not in log.read_text()


@pytest.mark.kafka
def test_a_token_that_the_broker_refuses_is_told_at_once_and_never_shown(
    environment: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)

    for arguments in (("topics", "create"), ("worker",), ("tail", "predictions"), ("send", "signal")):
        done = run(environment(sasl_oauth_token_file=file), *arguments)

        assert done.returncode == 2, done.stderr
        assert "refuses our OAUTHBEARER token" in done.stderr
        assert SECRET not in done.stderr


@pytest.mark.kafka
def test_a_password_where_a_token_is_wanted_is_told(environment: Callable[..., dict[str, str]]) -> None:
    password = environment(sasl_mechanism="PLAIN", sasl_username="u", sasl_password="p")

    done = run(password, "topics", "create")

    assert done.returncode == 2
    assert "does not accept sasl_mechanism PLAIN: set it to OAUTHBEARER" in done.stderr
