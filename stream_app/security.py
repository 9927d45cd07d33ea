"""How the worker's aiokafka clients speak to the broker: TLS and SASL from the settings."""

from __future__ import annotations

import ssl
from typing import Any

from aiokafka.helpers import create_ssl_context

from core.errors import StartupError
from stream_app.settings import Settings


def aiokafka_config(settings: Settings) -> dict[str, Any]:
    """Arguments common to every aiokafka client of this worker: where the broker is and how to authenticate.

    Raises:
        StartupError: a certificate or key file cannot be read.
    """
    config: dict[str, Any] = {
        "bootstrap_servers": settings.broker.split(","),
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        config["ssl_context"] = _ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        config |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return config


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    def name(path: Any) -> str | None:
        return str(path) if path else None

    try:
        context: ssl.SSLContext = create_ssl_context(
            cafile=name(settings.ssl_cafile),
            certfile=name(settings.ssl_certfile),
            keyfile=name(settings.ssl_keyfile),
        )
    except (OSError, ssl.SSLError) as error:
        raise StartupError(f"TLS files (ssl_cafile, ssl_certfile, ssl_keyfile) cannot be used: {error}") from error
    return context
