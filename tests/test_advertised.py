"""A broker answers, and says that it is to be spoken to where nobody can be reached."""

from __future__ import annotations

import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import UnreachableError
from stream_app.clients import access, knock
from stream_app.clients.access import look
from stream_app.local.broker import free_port

BOOTSTRAP = "127.0.0.1:9"
CONFIG = {"bootstrap.servers": BOOTSTRAP, "security.protocol": "PLAINTEXT"}
NOWHERE = "no-such-host.invalid"


class NamingAdmin:
    """An admin client whose broker names these addresses."""

    def __init__(self, *named: str) -> None:
        places = [address.rpartition(":") for address in named]
        self._found = SimpleNamespace(
            brokers={i: SimpleNamespace(host=host, port=int(port)) for i, (host, _, port) in enumerate(places)}
        )

    def list_topics(self, timeout: float) -> Any:
        return self._found


def asked(*named: str) -> tuple[bool, str | None]:
    client: Any = NamingAdmin(*named)
    return look(client, CONFIG, [])


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "NAMED_PATIENCE_S", 0.0)
    monkeypatch.setattr(access, "LOOK_AGAIN_S", 0.01)


def test_addresses_that_cannot_be_reached_are_all_named_with_the_setting_to_change() -> None:
    closed = f"127.0.0.1:{free_port()}"

    with pytest.raises(UnreachableError) as caught:
        asked(f"{NOWHERE}:9092", closed)

    for words in (BOOTSTRAP, f"{NOWHERE}:9092 (its name cannot be resolved)", f"{closed} (connection refused)"):
        assert words in str(caught.value)
    assert "advertised.listeners" in str(caught.value)


def test_one_that_can_be_reached_is_enough() -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        assert asked(f"{NOWHERE}:9092", f"127.0.0.1:{there.getsockname()[1]}") == (True, None)


def test_the_address_that_has_answered_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knock, "away", lambda addresses: pytest.fail(f"asked {addresses}"))

    assert asked(BOOTSTRAP, f"{NOWHERE}:9092") == (True, None)


def test_a_name_that_is_known_a_moment_later_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "NAMED_PATIENCE_S", 60.0)
    looks = iter([{"pod-0:9092": "its name cannot be resolved"}] * 3 + [{}])
    monkeypatch.setattr(knock, "away", lambda addresses: next(looks))

    assert asked("pod-0:9092") == (True, None)


def test_an_address_that_never_answers_is_named_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knock, "TIMEOUT_S", 0.1)
    over = threading.Event()

    def never(address: str, context: object) -> Any:
        over.wait(60)
        raise TimeoutError

    monkeypatch.setattr(knock, "connect", never)
    began_s = time.monotonic()

    assert knock.away(["a:1", "b:2"]) == {"a:1": "does not answer", "b:2": "does not answer"}
    assert time.monotonic() - began_s < 30
    over.set()
