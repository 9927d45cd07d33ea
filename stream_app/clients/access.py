"""Say at once and in words why a broker refuses us; librdkafka would try for ever.

A refusal is only what the broker has shown: a certificate that does not fit, an answer in another protocol than ours, a
refused password. Whatever may be an outage (nobody listens, a connection that breaks) is none.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata  # type: ignore[attr-defined]

from core.errors import StartupError, UnreachableError
from stream_app.clients import knock
from stream_app.clients.security import tls_context

# A broker that is there answers in less; else it is asked what is wrong, and then again.
FIRST_LOOK_S = 0.5
_OTHERS = 5
# How long a broker may name addresses at which nobody is: the name of one that was just started may not be known yet.
NAMED_PATIENCE_S = 3.0
LOOK_AGAIN_S = 0.5

ClientConfig = Mapping[str, Any]
"""librdkafka's configuration of where the broker is and how to speak to it (`Settings.client_config`)."""


def check_access(config: ClientConfig, patience_s: float = 10.0) -> bool:
    """Ask the broker for its topics; return whether it has answered. No answer may be an outage.

    Args:
        patience_s: how long a broker that takes connections may take to answer.

    Raises:
        StartupError: the broker refuses us, or a file or setting cannot be used.
        UnreachableError: see `look`.
    """
    heard: list[KafkaError] = []
    client = open_admin(config, heard)
    end_s = time.monotonic() + patience_s
    while True:
        answered, why = look(client, config, heard)
        if why is not None:
            raise StartupError(why)
        if answered or time.monotonic() > end_s or not any(map(knock.is_there, config["bootstrap.servers"].split(","))):
            return answered


def look(
    client: AdminClient, config: ClientConfig, heard: list[KafkaError], timeout_s: float = FIRST_LOOK_S
) -> tuple[bool, str | None]:
    """Ask for the topics: whether the broker has answered, and why it refuses us, if it does.

    Raises:
        UnreachableError: it has answered, and names only addresses at which nobody can be reached.
    """
    try:
        found = client.list_topics(timeout=timeout_s)
    except KafkaException:
        # Why (a refused connection, a wrong password) comes by the callback; the exception says "timed out".
        client.poll(0)
        return False, refusal(config, heard)
    return True, _refusal_elsewhere(config, found)


def _refusal_elsewhere(config: ClientConfig, found: ClusterMetadata) -> str | None:
    """Check the addresses that the broker advertises: one must be reachable, and their certificates must fit."""
    known = set(config["bootstrap.servers"].split(","))
    named = {knock.address_of(str(broker.host), int(broker.port or 0)) for broker in found.brokers.values()}
    if named and not named & known:
        _check_reachable(sorted(named), config["bootstrap.servers"])
    if not _speaks_tls(config):
        return None
    for address in sorted(named - known)[:_OTHERS]:
        try:
            with knock.connect(address, _context(config)):
                pass
        except ssl.SSLCertVerificationError as error:
            return _certificate_problem(error, f"the Kafka broker at {address}", config)
        except OSError:
            continue  # it may be out of order: others can do
    return None


def _check_reachable(named: list[str], bootstrap: str) -> None:
    """Require that one named address is reachable: others may be down. Try for a while, because a name may be new."""
    end_s = time.monotonic() + NAMED_PATIENCE_S
    while away := knock.away(named[:_OTHERS]):
        if time.monotonic() > end_s:
            found = ", ".join(f"{address} ({why})" for address, why in away.items())
            raise UnreachableError(
                f"the Kafka broker at {bootstrap} answers, but advertises {found}, which cannot be reached from here: "
                "set advertised.listeners of the broker to an address that can be reached"
            )
        time.sleep(LOOK_AGAIN_S)


def open_admin(config: ClientConfig, heard: list[KafkaError]) -> AdminClient:
    """Open an admin client that puts news of its connections into ``heard`` when it is polled.

    Raises:
        StartupError: a file or setting cannot be used.
    """
    if _speaks_tls(config):
        _context(config)  # its errors name the setting; librdkafka's name OpenSSL's routines
    full: dict[str, Any] = {**config, "log_level": 0, "error_cb": heard.append}
    try:
        return AdminClient(full)
    except KafkaException as error:
        raise StartupError(f"Kafka settings are not accepted: {error.args[0].str()}") from error


def refusal(config: ClientConfig, heard: list[KafkaError]) -> str | None:
    """Say why the broker refuses us; None if it may just not be there.

    Args:
        heard: what librdkafka has said about its connections.
    """
    for address in config["bootstrap.servers"].split(","):
        with contextlib.suppress(OSError):  # nobody there, or gone in the middle: an outage
            if why := _by_tls(config, address) if _speaks_tls(config) else _in_clear(config, address):
                return why
    if any(error.code() == KafkaError._AUTHENTICATION for error in heard):
        if "oauth_cb" in config:
            said = next(error.str() for error in heard if error.code() == KafkaError._AUTHENTICATION)
            return (
                f"the Kafka broker at {config['bootstrap.servers']} refuses our OAUTHBEARER token: "
                f"{_without_prefix(said)}; look at sasl_oauth_token_file or sasl_oauth_token_command"
            )
        return (
            f"the Kafka broker at {config['bootstrap.servers']} refuses the user {config.get('sasl.username')!r} with "
            f"{config.get('sasl.mechanism')}: the user name or the password (sasl_password, sasl_password_file) is "
            "wrong"
        )
    return None


def _without_prefix(said: str) -> str:
    """librdkafka's text without the address and the state of its connection."""
    return re.sub(r" \(after .*\)$", "", said.split("]: ")[-1].rpartition("bootstrap: ")[2])


def _by_tls(config: ClientConfig, address: str) -> str | None:
    broker, protocol = f"the Kafka broker at {address}", _protocol(config)
    try:
        with knock.connect(address, _context(config)) as connection:
            return _sasl_problem(connection, config, broker)
    except ssl.SSLCertVerificationError as error:
        return _certificate_problem(error, broker, config)
    except ssl.SSLError as error:
        if knock.wants_certificate(error):
            said = (error.reason or "").rpartition("ALERT_")[2].replace("_", " ").lower()
            return f"{broker} refuses our certificate ({said}): set ssl_certfile and ssl_keyfile to one that it trusts"
    except OSError:
        pass
    if not knock.answers_in_clear(address):
        return None
    return f"{broker} speaks no TLS on this port, and security_protocol is {protocol}: name its port for {protocol}"


def _in_clear(config: ClientConfig, address: str) -> str | None:
    broker, protocol = f"the Kafka broker at {address}", _protocol(config)
    try:
        with knock.connect(address, None) as connection:
            return _sasl_problem(connection, config, broker)
    except OSError:
        if not knock.answers_by_tls(address):
            raise
    secure = "SASL_SSL" if protocol.startswith("SASL") else "SSL, or to SASL_SSL where it asks for a password"
    return f"{broker} speaks TLS on this port, and security_protocol is {protocol}: set it to {secure}"


def _certificate_problem(error: ssl.SSLCertVerificationError, broker: str, config: ClientConfig) -> str:
    said = error.verify_message.rstrip(".")
    if "mismatch" in said.lower():
        return f"the certificate of {broker} is for another host ({said}): name the broker as its certificate does"
    if "expired" in said or "not yet valid" in said:
        return f"the certificate of {broker} cannot be used ({said}): have it renewed, or set this machine's clock"
    return (
        f"the certificate of {broker} is not trusted ({said}): set ssl_cafile to the certificate of the authority that "
        f"signed it; what is trusted now: {config.get('ssl.ca.location', 'nothing')}"
    )


def _sasl_problem(connection: socket.socket, config: ClientConfig, broker: str) -> str | None:
    """On a connection that stands: whether the broker wants a password as we do.

    Raises:
        OSError: the broker does not answer.
    """
    protocol, ours = _protocol(config), str(config.get("sasl.mechanism", "PLAIN"))
    knock.ask_versions(connection)
    code, offered = knock.ask_mechanism(connection, ours)
    if not protocol.startswith("SASL"):
        return _password_wanted(connection, protocol, offered, broker) if code != knock.ILLEGAL_SASL_STATE else None
    if code == knock.ILLEGAL_SASL_STATE:
        return (
            f"{broker} asks for no password on this port, and security_protocol is {protocol}: name its port for "
            f"{protocol}, or set security_protocol to {protocol.removeprefix('SASL_')}"
        )
    if code == knock.UNSUPPORTED_SASL_MECHANISM:
        return f"{broker} does not accept sasl_mechanism {ours}: set it to {' or '.join(offered)}"
    return None


def _password_wanted(connection: socket.socket, protocol: str, offered: list[str], broker: str) -> str | None:
    if knock.answers_strangers(connection):  # it may offer what it does not ask for
        return None
    secure = "SASL_SSL" if protocol == "SSL" else "SASL_PLAINTEXT"
    if offered == ["OAUTHBEARER"]:
        return (
            f"{broker} asks for a token (OAUTHBEARER), and security_protocol is {protocol}: set it to {secure}, "
            "sasl_mechanism to OAUTHBEARER, and sasl_oauth_token_file or sasl_oauth_token_command"
        )
    return (
        f"{broker} asks for a password ({' or '.join(offered)}), and security_protocol is {protocol}: set it to "
        f"{secure}, and sasl_mechanism, sasl_username and sasl_password_file or sasl_password"
    )


def _protocol(config: ClientConfig) -> str:
    return str(config.get("security.protocol", "PLAINTEXT"))


def _speaks_tls(config: ClientConfig) -> bool:
    return _protocol(config).endswith("SSL")


def _context(config: ClientConfig) -> ssl.SSLContext:
    def path(name: str) -> Path | None:
        return Path(config[name]) if name in config else None

    cafile = path("ssl.ca.location")
    return tls_context(
        None if cafile and cafile.is_dir() else cafile,  # a directory is the system's
        path("ssl.certificate.location"),
        path("ssl.key.location"),
        str(config.get("ssl.key.password", "")),
    )
