"""The first steps of a connection to a Kafka broker, by hand: each can tell what is wrong, which no client does."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterable, Iterator

TIMEOUT_S = 3.0
UNSUPPORTED_SASL_MECHANISM, ILLEGAL_SASL_STATE = 33, 34
_METADATA, _SASL_HANDSHAKE, _API_VERSIONS = 3, 17, 18
_LARGEST_ANSWER_BYTES = 64 * 1024
_NO_KAFKA = "what answers is no Kafka broker"


@contextlib.contextmanager
def connect(address: str, context: ssl.SSLContext | None) -> Iterator[socket.socket]:
    """A connection to host:port, by TLS or, without a context, in clear.

    Raises:
        ssl.SSLError: no TLS with this broker.
        OSError: no connection.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        if context is None:
            yield connection
            return
        with context.wrap_socket(connection, server_hostname=host) as secure:
            yield secure


def address_of(host: str, port: int) -> str:
    """host:port as the setting ``broker`` has it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_there(address: str) -> bool:
    """True if anybody takes a connection."""
    return _why_away(address) is None


def away(addresses: Iterable[str]) -> dict[str, str]:
    """Return, by address, why no address can be reached; empty as soon as one can be reached."""
    asked = list(dict.fromkeys(addresses))
    answers: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
    for address in asked:  # threads that nobody waits for: a name server that is away takes long
        threading.Thread(target=lambda at=address: answers.put((at, _why_away(at))), daemon=True).start()
    why, end_s = dict.fromkeys(asked, "does not answer"), time.monotonic() + TIMEOUT_S + 1
    with contextlib.suppress(queue.Empty):
        for _ in asked:
            address, problem = answers.get(timeout=max(0.0, end_s - time.monotonic()))
            if problem is None:
                return {}
            why[address] = problem
    return why


def _why_away(address: str) -> str | None:
    try:
        with connect(address, None):
            return None
    except socket.gaierror:
        return "its name cannot be resolved"
    except TimeoutError:
        return "does not answer"
    except OSError as error:
        return (error.strerror or str(error)).lower()


def ask_versions(connection: socket.socket) -> None:
    """Ask what any broker tells anybody.

    Raises:
        OSError: it does not answer as a Kafka broker, or (ssl.SSLError) refuses our certificate.
    """
    _ask(connection, _API_VERSIONS, 0, b"")


def ask_mechanism(connection: socket.socket, mechanism: str) -> tuple[int, list[str]]:
    """Offer a SASL mechanism, without user or password; the error code and the mechanisms that are accepted.

    Raises:
        OSError: as `ask_versions`.
    """
    name = mechanism.encode()
    answer = _ask(connection, _SASL_HANDSHAKE, 1, struct.pack(">h", len(name)) + name)
    try:
        code, count = struct.unpack_from(">hi", answer)
        at, names = 6, []
        for _ in range(count):
            (length,) = struct.unpack_from(">h", answer, at)
            names.append(answer[at + 2 : at + 2 + length].decode())
            at += 2 + length
    except (struct.error, UnicodeDecodeError) as error:
        raise OSError(_NO_KAFKA) from error
    return code, names


def answers_strangers(connection: socket.socket) -> bool:
    """True if the broker lists its topics before a client has logged in."""
    try:
        _ask(connection, _METADATA, 1, struct.pack(">i", 0))
    except OSError:
        return False
    return True


def answers_by_tls(address: str) -> bool:
    """True if a Kafka broker speaks TLS at this address. It is sent no secret."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _answers(address, context)


def answers_in_clear(address: str) -> bool:
    """True if a Kafka broker speaks without TLS there."""
    return _answers(address, None)


def _answers(address: str, context: ssl.SSLContext | None) -> bool:
    try:
        with connect(address, context) as connection:
            ask_versions(connection)
    except ssl.SSLError as error:
        return wants_certificate(error)
    except OSError:
        return False
    return True


def wants_certificate(error: ssl.SSLError) -> bool:
    """True if the broker has ended the handshake for the sake of our certificate, or for want of one."""
    return "ALERT" in (error.reason or "") and "CERTIFICATE" in (error.reason or "")


def _ask(connection: socket.socket, api: int, version: int, body: bytes) -> bytes:
    """The response to a request, without its correlation id."""
    request = struct.pack(">hhih", api, version, 0, -1) + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    (length,) = struct.unpack(">i", _read(connection, 4))
    if not 4 <= length <= _LARGEST_ANSWER_BYTES:
        raise OSError(_NO_KAFKA)
    return _read(connection, length)[4:]


def _read(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise OSError("the broker has closed the connection")
        data += more
    return data
