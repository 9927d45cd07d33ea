"""TLS, passwords and permissions against a real broker that asks for them; and what a worker shows to whoever asks."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from core.errors import StartupError
from stream_app.clients import knock
from stream_app.clients.access import check_access
from stream_app.clients.admin import Cluster
from stream_app.clients.security import tls_context
from stream_app.kafka.lease import Lease
from stream_app.local.broker import free_port
from stream_app.settings import Settings, load_settings
from stream_app.topics.administration import create_topics
from stream_app.topics.permissions import check_permissions
from stream_app.worker import health
from stream_app.worker.health import Health
from tests.commands import Done, Run
from tests.feeds import assert_close, in_sequence
from tests.files import write_signals
from tests.offline import predictions, signal_samples
from tests.secure_broker import PASSWORD, SecureBroker, acls_in, secure_broker
from tests.worker import ROOT

WRONG = "wrong-horse-17"
SECRETS = (PASSWORD, WRONG)
DOCUMENT = (ROOT / "SECURITY.md").read_text()
STEPS = 5


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    with secure_broker(tmp_path_factory.mktemp("secured")) as running:
        yield running


def named(settings: Settings, name: str) -> Settings:
    return settings.replace(app_id=name, topic_prefix=f"{name}-")


# The whole way, by users who may do what SECURITY.md grants them and nothing else.


class Users:
    """Runs commands as one user or the other, with the settings in the environment; keeps all that is said."""

    def __init__(self, secured: SecureBroker, name: str, directory: Path, **changes: Any) -> None:
        self.said = ""
        self._secured, self._directory = secured, directory
        self._changes = {"app_id": name, "topic_prefix": f"{name}-", "data_dir": directory, **changes}
        secured.allow(acls_in(DOCUMENT, self.settings("boss")))

    def settings(self, user: str) -> Settings:
        return load_settings(**self._secured.settings("SASL_SSL", user, **self._changes))

    def run(self, user: str, *arguments: str, standard_input: str = "") -> str:
        """Its standard output; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "stream_app.cli.main", *arguments, "--debug"],
            cwd=ROOT,
            env=self.environment(user),
            input=standard_input,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.said += done.stdout + done.stderr
        assert done.returncode == 0, done.stderr
        return done.stdout

    def environment(self, user: str) -> dict[str, str]:
        return {**os.environ, **self.settings(user).environment()}


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("guarantee", "mechanism"),
    [
        ("at_least_once", "SCRAM-SHA-512"),
        pytest.param("exactly_once", "SCRAM-SHA-256", marks=pytest.mark.slow),
    ],
)
def test_everything_works_by_tls_and_password_with_the_documented_permissions(
    secured: SecureBroker, tmp_path: Path, guarantee: str, mechanism: str
) -> None:
    port = free_port()
    users = Users(
        secured,
        guarantee.replace("_", "-"),
        tmp_path,
        sasl_mechanism=mechanism,
        processing_guarantee=guarantee,
        metrics_port=port,
        ssl_certfile=secured.files["client.pem"],
        ssl_keyfile=secured.files["locked.key"],
        ssl_password=PASSWORD,
    )
    samples = in_sequence(signal_samples(STEPS), "a")
    lines = [json.dumps({"stream": "s", **sample}) for sample in samples]
    bad = json.dumps({"stream": "s", **samples[0], "sequence": "a", "step": 10**9})
    mixed = write_signals(tmp_path / "f.h5", rows=1, steps=STEPS)
    users.run("admin", "topics", "create")
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "stream_app.cli.main", "worker", "--debug"],
            cwd=ROOT,
            env=users.environment("worker"),
            stderr=output,
            stdout=output,
        )
        try:
            users.run("sender", "send", "signal", standard_input="\n".join([*lines, bad]))
            users.run("sender", "replay", str(tmp_path / "f.h5"), "--speed", "max", "--run", "r")
            tail = ("--from-beginning", "--json", "--count")
            found = [json.loads(line) for line in users.run("reader", "tail", "predictions", *tail, "10").splitlines()]
            letters = users.run("reader", "tail", "dead-letters", *tail, "1")
            resent = users.run("resender", "dead-letters", "resend", "--dry-run", "--json", "--even-if-late")
            if guarantee == "at_least_once":
                users.run("auditor", "verify")
            processes = [process.info for process in psutil.process_iter(["cmdline"])]
            surface = _surface(worker.pid, port)
        finally:
            worker.terminate()
            status = worker.wait(60)
    said = log.read_text()

    assert status == 0, said
    assert_close(predictions(samples), [each["prediction"] for each in found if each["stream"] == "s"])
    replayed = [each["prediction"] for each in found if each["stream"] == "signal-0000"]
    assert_close(predictions([{"signal": float(x), "condition_vector": [1, 0, 0, 0]} for x in mixed[0]]), replayed)
    assert json.loads(letters)["reason"] == "step_jump"
    assert json.loads(resent)["fate"] == "resend"
    users.run("admin", "topics", "describe")
    users.run("admin", "topics", "reset-state", "--yes")
    for secret in SECRETS:
        assert secret not in said + users.said + str(processes) + surface


def _surface(supervisor: int, port: int) -> str:
    """What the worker answers over HTTP; nothing but three pages, read only, and no other port than this one."""
    pages = ""
    for path in ("/metrics", "/healthz", "/readyz"):
        status, text = _http("GET", port, path)
        pages += text
        assert status == 200
        assert [_http(method, port, path)[0] for method in ("POST", "PUT", "DELETE", "PATCH")] == [405] * 4
    for path in ("/", "/table/", "/router/", "/stats/", "/metrics/../etc/passwd", "/healthz/x"):
        assert _http("GET", port, path)[0] == 404
    listening = {
        connection.laddr
        for process in psutil.Process(supervisor).children(recursive=True)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", port)}
    assert '"a"' not in pages
    assert 'stream="' not in pages
    return pages


def _http(method: str, port: int, path: str) -> tuple[int, str]:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    return response.status, response.read().decode()


@pytest.mark.kafka
def test_a_worker_without_a_permission_refuses_and_names_it(secured: SecureBroker) -> None:
    settings = named(load_settings(**secured.settings("SASL_SSL")), "lacking")
    create_topics(settings)
    lines = [
        line for line in DOCUMENT.splitlines() if not re.match("acl .*User:worker.*(--group|--operation Write)", line)
    ]
    secured.allow(acls_in("\n".join(lines), settings))

    with pytest.raises(StartupError) as caught:
        check_permissions(settings.replace(sasl_username="worker"), Cluster(settings.replace(sasl_username="worker")))

    assert str(caught.value).startswith("the Kafka user 'worker' lacks permissions on 127.0.0.1:")
    for missing in (
        "Read on group lacking",
        "Write on topic lacking-dead-letters",
        "DescribeConfigs on topic lacking-",
    ):
        assert missing in str(caught.value)
    check_permissions(settings, Cluster(settings))


# Refused, at once, in one line.

Case = Callable[[SecureBroker], dict[str, Any]]

REFUSALS: dict[str, tuple[Case, str]] = {
    "password": (
        lambda at: at.settings("SASL_SSL", sasl_password=WRONG),
        "refuses the user 'boss' with SCRAM-SHA-512: the user name or the password (sasl_password, ",
    ),
    "user": (lambda at: at.settings("SASL_SSL", "nobody"), "refuses the user 'nobody'"),
    "mechanism": (
        lambda at: at.settings("SASL_SSL", sasl_mechanism="PLAIN"),
        "does not accept sasl_mechanism PLAIN: set it to SCRAM-SHA-",
    ),
    "authority": (
        lambda at: at.settings("SASL_SSL", ssl_cafile=at.files["strange-ca.pem"]),
        "is not trusted (unable to get local issuer certificate): set ssl_cafile",
    ),
    "host": (
        lambda at: at.settings("OTHER_HOST"),
        "is for another host (IP address mismatch, certificate is not valid for '127.0.0.1'): name the broker",
    ),
    "host of the address that the broker names": (
        lambda at: at.settings("ELSEWHERE"),
        "the certificate of the Kafka broker at localhost:",
    ),
    "no certificate": (lambda at: at.settings("SSL"), "refuses our certificate"),
    "strange certificate": (
        lambda at: at.settings("SSL", ssl_certfile=at.files["stranger.pem"], ssl_keyfile=at.files["stranger.key"]),
        "refuses our certificate",
    ),
    "clear to TLS": (
        lambda at: at.settings("PLAINTEXT", broker=at.address("SASL_SSL")),
        "speaks TLS on this port, and security_protocol is PLAINTEXT: set it to SSL",
    ),
    "clear with a password to TLS": (
        lambda at: at.settings("SASL_PLAINTEXT", broker=at.address("SASL_SSL")),
        "speaks TLS on this port, and security_protocol is SASL_PLAINTEXT: set it to SASL_SSL",
    ),
    "TLS to clear": (
        lambda at: at.settings("SASL_SSL", broker=at.address("PLAINTEXT")),
        "speaks no TLS on this port, and security_protocol is SASL_SSL",
    ),
    "no password in clear": (
        lambda at: at.settings("PLAINTEXT", broker=at.address("SASL_PLAINTEXT")),
        "asks for a password (SCRAM-SHA-",
    ),
    "no password by TLS": (
        lambda at: at.settings("OTHER_HOST", broker=at.address("SASL_SSL")),
        "and security_protocol is SSL: set it to SASL_SSL, and sasl_mechanism",
    ),
    "password to none": (
        lambda at: at.settings("SASL_PLAINTEXT", broker=at.address("PLAINTEXT")),
        "asks for no password on this port",
    ),
    "no file": (
        lambda at: at.settings("SSL", ssl_cafile="nowhere.pem"),
        "ssl_cafile nowhere.pem: cannot be read: No such",
    ),
    "no certificates": (
        lambda at: at.settings("SSL", ssl_cafile=at.files["no.pem"]),
        "no.pem: no certificates in PEM form can be read",
    ),
    "other key": (
        lambda at: at.settings("SSL", ssl_certfile=at.files["client.pem"], ssl_keyfile=at.files["stranger.key"]),
        "stranger.key is not the key of the certificate ssl_certfile ",
    ),
    "locked key": (
        lambda at: at.settings(
            "SSL", ssl_certfile=at.files["client.pem"], ssl_keyfile=at.files["locked.key"], ssl_password=WRONG
        ),
        "locked.key: cannot be decrypted: its password (ssl_password, ssl_password_file) is missing or wrong",
    ),
}
BOUNDED_S = 15.0
"""Less than any wait for a broker; what the causes take is a second or two."""


@pytest.mark.kafka
@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_told_at_once_and_names_what_to_do(secured: SecureBroker, case: str) -> None:
    given, words = REFUSALS[case]
    config = load_settings(**given(secured)).client_config()
    started_s = time.monotonic()

    with pytest.raises(StartupError) as caught:
        check_access(config)

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started_s < BOUNDED_S
    assert not any(secret in "".join(traceback.format_exception(caught.value)) for secret in SECRETS)


@pytest.mark.kafka
def test_who_fits_gets_in_by_every_door(secured: SecureBroker) -> None:
    own = {"ssl_certfile": secured.files["client.pem"], "ssl_keyfile": secured.files["client.key"]}
    for listener in ("PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL"):
        Cluster(load_settings(**secured.settings(listener)), timeout=BOUNDED_S)
    Cluster(load_settings(**secured.settings("SSL", **own)), timeout=BOUNDED_S)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("command", "case"),
    [
        ("topics create", "password"),
        ("topics describe", "authority"),
        ("topics reset-state --yes", "clear to TLS"),
        ("send signal --stream s", "password"),
        ("replay f.h5", "authority"),
        ("tail predictions", "clear to TLS"),
        ("dead-letters resend --yes", "password"),
    ],
)
def test_every_command_tells_it(
    secured: SecureBroker, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, case: str
) -> None:
    given, words = REFUSALS[case]
    in_environment(monkeypatch, load_settings(**given(secured)))
    write_signals(tmp_path / "f.h5", rows=1, steps=1)

    done: Done = run(*command.split())

    assert done.status == 2
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not any(secret in done.out + done.err for secret in SECRETS)


def in_environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.kafka
def test_the_worker_refuses_and_is_not_started_again(secured: SecureBroker, tmp_path: Path) -> None:
    given, words = REFUSALS["password"]
    settings = load_settings(**given(secured), data_dir=tmp_path, metrics_port=0)

    done = subprocess.run(
        [sys.executable, "-m", "stream_app.cli.main", "worker", "--debug"],
        cwd=ROOT,
        env={**os.environ, **settings.environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.count(words) == 2  # the line, and the traceback that --debug asks for
    assert done.stderr.count("worker 0 started, pid") == 1
    assert not any(secret in done.stdout + done.stderr for secret in SECRETS)


@pytest.mark.kafka
async def test_a_worker_that_was_let_in_ends_when_it_is_refused_for_long(
    secured: SecureBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looks(**given: Any) -> Health:
        app: Any = SimpleNamespace(lease=Lease(6), settings=load_settings(**secured.settings("SASL_SSL", **given)))
        app.chunk_consumer = lambda: SimpleNamespace(known_brokers=list)
        return Health(app)

    refused, let_in = looks(sasl_password=WRONG), looks()
    nobody = looks(broker=f"127.0.0.1:{free_port()}")

    await refused.check_let_in()  # it may be the broker's trouble
    monkeypatch.setattr(health, "REFUSED_S", 0.0)
    await let_in.check_let_in()
    await nobody.check_let_in()
    with pytest.raises(StartupError, match="refuses the user"):
        await refused.check_let_in()
    refused.app.lease.renew(refused.app.lease.now())
    await refused.check_let_in()


# Parts.


def test_nobody_there_is_no_refusal() -> None:
    check_access({"bootstrap.servers": f"127.0.0.1:{free_port()}", "security.protocol": "PLAINTEXT"})


def test_who_takes_connections_and_never_answers_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knock, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started_s = time.monotonic()
        check_access({"bootstrap.servers": f"127.0.0.1:{silent.getsockname()[1]}"}, patience_s=0.1)

    assert time.monotonic() - started_s < BOUNDED_S


def test_the_context_checks_certificate_and_host() -> None:
    context = tls_context(None, None, None, "")

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_metrics_and_health_are_for_this_machine_unless_said_otherwise() -> None:
    assert load_settings().metrics_host == "127.0.0.1"
