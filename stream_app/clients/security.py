"""TLS and SASL of our connections, the same for both Kafka clients, librdkafka's and aiokafka."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

from core.errors import StartupError
from stream_app.settings import Settings
from stream_app.tokens import TokenSource


def aiokafka_config(settings: Settings) -> dict[str, Any]:
    """Arguments common to every aiokafka client of this worker: where the broker is and how to authenticate.

    Raises:
        StartupError: a certificate, key or password file cannot be used.
    """
    config: dict[str, Any] = {
        "bootstrap_servers": settings.broker.split(","),
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        password = settings.read_ssl_password()
        config["ssl_context"] = tls_context(settings.ssl_cafile, settings.ssl_certfile, settings.ssl_keyfile, password)
    if settings.uses_tokens:
        config |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_oauth_token_provider": _token_provider(settings.tokens()),
        }
    elif settings.security_protocol.startswith("SASL"):
        config |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.read_sasl_password(),
        }
    return config


def _token_provider(source: TokenSource) -> Any:
    """aiokafka's way to ask for a token, for every connection."""
    from aiokafka.abc import AbstractTokenProvider  # commands need no aiokafka
    from aiokafka.errors import KafkaConnectionError

    class Provider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
        async def token(self) -> str:
            try:
                return (await asyncio.to_thread(source.token)).text
            except StartupError as error:  # it may be renewed by the next try
                raise KafkaConnectionError(str(error)) from None

    return Provider()


def tls_context(cafile: Path | None, certfile: Path | None, keyfile: Path | None, password: str) -> ssl.SSLContext:
    """A client's TLS: the broker's certificate is checked against the authorities, and its name against the address.

    Args:
        cafile: the authorities (PEM); None: the system's.
        certfile: our own certificate (PEM), with ``keyfile``, its key.
        password: of the key, "" where it has none.

    Raises:
        StartupError: a file cannot be used; the message names its setting and never the password.
    """
    for name, path in {"ssl_cafile": cafile, "ssl_certfile": certfile, "ssl_keyfile": keyfile}.items():
        if path is not None:
            _check_readable(name, path)
    try:
        context = ssl.create_default_context(cafile=cafile and str(cafile))
    except ssl.SSLError as error:
        raise StartupError(
            f"ssl_cafile {cafile}: no certificates in PEM form can be read ({_reason(error)})"
        ) from error
    if certfile is not None and keyfile is not None:
        try:
            # By a function: without one, OpenSSL would ask the terminal for the password.
            context.load_cert_chain(certfile, keyfile, lambda: password)
        except ssl.SSLError as error:
            raise StartupError(_key_problem(certfile, keyfile, error)) from error
    return context


def _check_readable(name: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise StartupError(f"{name} {path}: cannot be read: {error.strerror}") from error


def _key_problem(certfile: Path, keyfile: Path, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"ssl_keyfile {keyfile} is not the key of the certificate ssl_certfile {certfile}"
    if b"ENCRYPTED" in keyfile.read_bytes():
        return (
            f"ssl_keyfile {keyfile}: cannot be decrypted: its password (ssl_password, ssl_password_file) is missing or "
            "wrong"
        )
    return f"ssl_certfile {certfile} and ssl_keyfile {keyfile}: cannot be read as PEM ({_reason(error)})"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "not readable").replace("_", " ").lower()
