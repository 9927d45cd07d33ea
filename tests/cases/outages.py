"""Outages, refusals and credentials: what ends a worker, and what does not."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from stream_app.local.broker import LocalBroker, free_port
from tests.broker import JARS_DIR, wait_until
from tests.cases.case import case, expect
from tests.cases.room import Ran, Room
from tests.cases.service import Service
from tests.cases.trio import Trio
from tests.token_broker import token_properties, web_token
from tests.worker import ROOT

SHORT = {"session_timeout": 6}


@case(
    "ops-03",
    tried="two of three brokers are away for a minute while two workers run, whose processes crash meanwhile",
    before="an admin call timed out, which counted as a refusal: both supervisors ended with status 2 for good",
    slow=True,
)
def part_of_a_cluster(room: Room) -> str:
    folder = room.folder()
    with Trio(folder) as trio:
        settings = {"broker": trio.address, "replication_factor": 3, "partitions": 3}
        done = room.caststream("topics", "create", **settings)
        expect(done.status == 0, done.said)
        with Service(room.folder(), **settings) as first, Service(room.folder(), **settings) as second:
            services = (first, second)
            for service in services:
                service.wait_ready()
            trio.kill(1, 2)
            for service in services:
                service.crash_one()
            for service in services:
                service.wait_said("started again in", 2)
            trio.start(1, 2)
            for service in services:
                service.wait_ready()
    return "both supervisors tried until the brokers were back, and work again"


@case(
    "ops-08",
    tried="--workers 2; the checkpoint is half uploaded when one process crashes",
    before="the supervisor stopped the healthy one too and ended with status 2",
    slow=True,
)
def half_a_checkpoint(room: Room) -> str:
    live = room.folder() / "live.safetensors"
    shutil.copy(ROOT / "core/checkpoints/signal.safetensors", live)
    whole = live.read_bytes()
    with _service(room, workers=2, signal_checkpoint=live) as service:
        service.wait_ready()
        live.write_bytes(whole[: len(whole) // 2])
        service.crash_one()
        service.wait_said("is refused: ", 2)
        wait_until(lambda: service.is_ready(0) or service.is_ready(1), 60, "the healthy one")
        live.write_bytes(whole)
        service.wait_ready()
    return "the healthy one went on, the other was tried again, with an ERROR line each time, until the file was whole"


class Outage(NamedTuple):
    """What a worker showed while its broker was away, and how it ended."""

    ready: tuple[int, str]
    healthy: int
    gauge: list[str]
    lag: list[str]
    lines: list[str]
    seconds: float
    stopping_s: float


@lru_cache(maxsize=1)
def _outage(room: Room) -> Outage:
    """One outage for three cases: the broker is killed with nothing waiting, for 40 s."""
    with LocalBroker(room.folder(), jars_dir=JARS_DIR) as broker:
        done = room.caststream("topics", "create", broker=broker.address)
        expect(done.status == 0, done.said)
        with (
            Service(room.folder(), broker=broker.address, **SHORT) as service,
            Service(room.folder(), broker=broker.address, **SHORT) as other,
        ):
            service.wait_ready()
            other.wait_ready()
            before, began = len(service.log.splitlines()), time.monotonic()
            broker.kill()
            wait_until(lambda: not service.is_ready(), 30, "not ready")
            wait_until(lambda: not service.metrics("caststream_consumer_lag_records{"), 30, "no lag")
            wait_until(lambda: time.monotonic() - began > 40, 60)
            shown = service.get("/readyz"), service.get("/healthz")[0], service.metrics("caststream_ready ")
            lag, lines = service.metrics("caststream_consumer_lag_records{"), service.log.splitlines()[before:]
            took = time.monotonic() - began
            other.supervisor.stop(60)
            stopped = time.monotonic() - began - took
            broker.start()
            service.wait_ready()
            wait_until(lambda: service.metrics("caststream_consumer_lag_records{"), 60, "the lag again")
    return Outage(*shown, lag, lines, took, stopped)


@case(
    "ops-10",
    tried="the broker is killed while nothing waits",
    before="/readyz 200, caststream_ready 1, lag 0 all the time; no alert could fire",
    slow=True,
)
def nobody_is_alerted(room: Room) -> str:
    found = _outage(room)
    expect(found.ready[0] == 503 and found.gauge == ["caststream_ready 0.0"], str(found))
    expect(found.healthy == 200, f"/healthz {found.healthy}: another process would not help")
    return f'/readyz 503 "{found.ready[1].strip()}", caststream_ready 0, /healthz 200'


@case(
    "ops-32",
    tried="the lag gauge while the broker is away",
    before="it stayed at its last value",
    slow=True,
)
def lag_in_an_outage(room: Room) -> str:
    found = _outage(room)
    expect(not found.lag, f"shown: {found.lag}")
    return "no series while it cannot be measured; shown again afterwards"


@case(
    "ops-43",
    tried="what is logged while the broker is away",
    before="one line of our own per second",
    slow=True,
)
def lines_of_an_outage(room: Room) -> str:
    found = _outage(room)
    texts = [line.split(": ", 1)[-1].split(":")[0][:40] for line in found.lines]
    most = max(texts.count(text) for text in texts)
    expect(len(texts) <= 60 and most <= 6, f"{len(texts)} lines in {found.seconds:.0f} s, one of them {most} times")
    return f"{len(texts)} lines in {found.seconds:.0f} s, none more often than {most} times"


@case(
    "ops-sigterm",
    tried="SIGTERM to a supervisor while the broker is away and all is committed",
    before="20 s, and up to 30 s while it started",
    slow=True,
)
def stopped_in_an_outage(room: Room) -> str:
    took = _outage(room).stopping_s
    expect(took < 8, f"it took {took:.1f} s")
    return f"ended after {took:.1f} s"


@case(
    "ops-13",
    tried="a broker whose advertised.listeners cannot be reached: topics create, send, tail, a worker",
    before='after 32 s "Timed out waiting for controller"',
    slow=True,
)
def advertised_elsewhere(room: Room) -> str:
    properties = {"advertised.listeners": "PLAINTEXT://kafka-internal.invalid:9092"}
    slowest = 0.0
    with LocalBroker(room.folder(), jars_dir=JARS_DIR, properties=properties) as broker:
        for command in (["topics", "create"], ["send", "signal"], ["tail", "scores"], ["worker"], ["verify"]):
            began = time.monotonic()
            done = room.caststream(*command, broker=broker.address, metrics_port=0)
            took = time.monotonic() - began
            right = "kafka-internal.invalid:9092" in done.err and "advertised.listeners" in done.err
            expect(done.status == 1 and right and took < 60, f"{command}: after {took:.0f} s {done.said}")
            slowest = max(slowest, took)
    return f"each names the address and the setting of the broker, status 1, within {slowest:.0f} s of its start"


@case(
    "ops-21",
    tried="all brokers come back at other addresses, both of which are in the setting broker",
    before="outputs again after 185 s",
    slow=True,
)
def moved_cluster(room: Room) -> str:
    folder, port = room.folder(), free_port()
    inner = {host: _at(host, port) for host in ("127.0.0.2", "127.0.0.3")}
    settings = {"broker": f"127.0.0.2:{port},127.0.0.3:{port}", **SHORT}
    with LocalBroker(folder, port=port, jars_dir=JARS_DIR, properties=inner["127.0.0.2"]):
        done = room.caststream("topics", "create", **settings)
        expect(done.status == 0, done.said)
        service = Service(room.folder(), **settings)
        service.wait_ready()
    with service, LocalBroker(folder, port=port, jars_dir=JARS_DIR, properties=inner["127.0.0.3"]):
        began = time.monotonic()
        wait_until(lambda: not service.is_ready(), 30, "not ready")
        service.wait_ready()
        took = time.monotonic() - began
    expect(took < 120, f"ready again after {took:.0f} s")
    return f"ready again {took:.0f} s after the brokers were back"


def _at(host: str, port: int) -> dict[str, str]:
    controller = free_port()
    return {
        "listeners": f"PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
    }


@case(
    "ops-22",
    tried="metrics_host :: and a question by IPv4",
    before="it listened on IPv6 only",
    slow=True,
)
def both_kinds_of_address(room: Room) -> str:
    with _service(room, metrics_host="::") as service:
        service.wait_ready()
    return "answers on 127.0.0.1 too"


@case(
    "ops-25",
    tried="Kubernetes' variables of a service named caststream",
    before="refused, and nothing said where they come from",
)
def service_links(room: Room) -> str:
    found = [
        room.caststream("topics", "describe", **{name: value})
        for name, value in (("port", "tcp://10.0.3.7:8300"), ("service_host", "10.0.3.7"))
    ]
    expect(all(ran.status == 2 and "enableServiceLinks: false" in ran.err for ran in found), found[-1].said)
    return found[0].said


@case(
    "ops-28",
    tried="more workers than partitions",
    before='the surplus one says "ready: " and nothing',
    slow=True,
)
def standby(room: Room) -> str:
    with _service(room, workers=2, partitions=1) as service:
        service.wait_ready()
        wait_until(lambda: any("standby" in service.get("/readyz", index)[1] for index in (0, 1)), 60, "a standby")
        expect("ready: standby, no partitions" in service.log, service.said)
    return "its log line and /readyz say: ready: standby, no partitions: other workers have them all"


@case(
    "ops-29",
    tried="the broker throttles the worker (a quota of 20 kB/s)",
    before="the 60 s watchdog restarted a worker that made progress",
    slow=True,
)
def throttled(room: Room) -> str:
    from tests.cases.quota import limit_producers

    settings = room.settings()
    lines = "".join(
        f'{{"stream":"s{stream}","sequence":"a","step":{step},"signal":0.5,"condition_vector":[0,1,0,0]}}\n'
        for step in range(6)
        for stream in range(3000)
    )
    named = {name: getattr(settings, name) for name in ("app_id", "topic_prefix", "broker")}
    limit_producers(settings.broker, settings.app_id, bytes_per_second=20_000)
    with Service(room.folder(), **named, partitions=4) as service:
        service.wait_ready()
        done = room.caststream("send", "signal", stdin=lines.encode(), **named)
        expect(done.status == 0, done.said)
        wait_until(lambda: _processed(service) >= 18_000, 900, "all of it")
        expect(service.log.count("started, pid") == 1, service.why_ended)
    return "18,000 samples of 3,000 streams, without a restart"


def _processed(service: Service) -> float:
    lines = service.metrics('caststream_records_total{outcome="processed"')
    lag = service.metrics("caststream_consumer_lag_records{")
    waiting = sum(float(line.split()[-1]) for line in lag)
    return sum(float(line.split()[-1]) for line in lines) if lag and not waiting else 0


@case(
    "ops-31",
    tried="the broker's certificate is trusted no more when a process is started again, and later is",
    before="status 2 in 3 s, not tried again",
    slow=True,
)
def certificate(room: Room) -> str:
    from tests.secure_broker import secure_broker

    with secure_broker(room.folder()) as secured:
        trusted = room.folder() / "ca.pem"
        shutil.copy(secured.files["ca.pem"], trusted)
        settings = secured.settings("SASL_SSL", "boss", ssl_cafile=trusted)
        done = room.caststream("topics", "create", **settings)
        expect(done.status == 0, done.said)
        with Service(room.folder(), **settings) as service:
            service.wait_ready()
            shutil.copy(secured.files["strange-ca.pem"], trusted)
            service.crash_one()
            service.wait_said("is refused: the certificate of the Kafka broker", 2)
            shutil.copy(secured.files["ca.pem"], trusted)
            service.wait_ready()
    return "tried again with back-off, an ERROR line each time, until it was"


@case(
    "ops-39",
    tried="a broker that asks for tokens (OAUTHBEARER)",
    before="accepted: one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
    slow=True,
)
def tokens(room: Room) -> str:
    inner, port, folder = free_port(), free_port(), room.folder()
    token = folder / "token"
    token.write_text(web_token(3600))
    settings: dict[str, Any] = {
        "broker": f"127.0.0.1:{port}",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauth_token_file": token,
    }
    with LocalBroker(folder, port=inner, jars_dir=JARS_DIR, properties=token_properties(inner, port)):
        done = room.caststream("topics", "create", **settings)
        expect(done.status == 0, done.said)
        with Service(room.folder(), **settings) as service:
            service.wait_ready()
            expect("eyJ" not in service.log, "the token is in the log")
        token.write_text(web_token(-60))
        expired = room.caststream("topics", "describe", **settings)
        expect(expired.status == 2 and "has expired" in expired.err, expired.said)
    return f"topics create and a worker by a token file; an old one: {expired.said}"


@case(
    "ops-property",
    tried="caststream broker --property with a misspelt name, a bad value, and without =",
    before="a misspelt name is ignored in silence; a bad value is told with Java's class names",
    slow=True,
)
def broker_properties(room: Room) -> str:
    found = [_broker(room, text) for text in ("log.retension.ms=5", "log.segment.bytes=abc", "nonsense")]
    words = (
        "did you mean log.retention.ms",
        "Invalid value abc for configuration log.segment.bytes",
        "is not NAME=VALUE",
    )
    for ran, expected in zip(found, words, strict=True):
        expect(ran.status == 2 and expected in ran.err and "Exception" not in ran.err, ran.said)
    return found[0].said


def _broker(room: Room, text: str) -> Ran:
    data = room.folder()
    for jars in Path(JARS_DIR).glob("kafka-*"):
        os.symlink(jars, data / jars.name)
    return room.caststream("broker", "--port", "0", "--property", text, data_dir=data)


@contextmanager
def _service(room: Room, workers: int = 1, **changes: Any) -> Iterator[Service]:
    """On the broker of all cases, with topics of its own."""
    settings = room.settings(**{name: value for name, value in changes.items() if name == "partitions"})
    names = ("app_id", "topic_prefix", "broker", "partitions")
    given = {name: getattr(settings, name) for name in names} | SHORT | changes
    with Service(room.folder(), workers, **given) as service:
        yield service
