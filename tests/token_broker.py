"""A broker that asks for tokens (OAUTHBEARER), and takes such without a signature."""

from __future__ import annotations

import base64
import json
import time

from stream_app.local.broker import free_port

_LOGIN = (
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    'unsecuredLoginStringClaim_sub="broker";'
)


def web_token(expires_in_s: float, user: str = "worker") -> str:
    """A JSON web token without a signature."""
    claims = {"sub": user, "iat": int(time.time()) - 10, "exp": int(time.time() + expires_in_s)}
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), ""])


def token_properties(plain_port: int, token_port: int) -> dict[str, str]:
    """Properties of a local broker that asks nobody on the one port and everybody on the other."""
    controller = free_port()
    places = f"PLAINTEXT://127.0.0.1:{plain_port},SASL_PLAINTEXT://127.0.0.1:{token_port}"
    return {
        "listeners": f"{places},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": places,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config": _LOGIN,
        "connections.max.reauth.ms": "10000",
    }
