"""A real broker that asks for TLS, certificates, passwords and permissions: one port for each way to get in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from stream_app.local.broker import LocalBroker, free_port
from stream_app.settings import Settings
from tests.broker import JARS_DIR

PASSWORD = "correct-horse-71"  # of every user
USERS = ("boss", "worker", "sender", "reader", "resender", "auditor", "admin")
MECHANISMS = (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
# Listener -> protocol. Whoever comes without a name is ANONYMOUS, who may do everything, as boss may; others may not.
LISTENERS = {
    "PLAINTEXT": "PLAINTEXT",
    "SASL_SSL": "SASL_SSL",
    "SASL_PLAINTEXT": "SASL_PLAINTEXT",
    "SSL": "SSL",  # asks for a certificate
    "OTHER_HOST": "SSL",  # shows a certificate of another host
    "ELSEWHERE": "SSL",  # says that it is to be spoken to at localhost, for which it has no certificate
    "CONTROLLER": "PLAINTEXT",
}
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class SecureBroker:
    """A running broker; ``files`` are PEM files by name."""

    ports: Mapping[str, int]
    files: Mapping[str, Path]

    def address(self, listener: str) -> str:
        return f"127.0.0.1:{self.ports[listener]}"

    def settings(self, listener: str, user: str = "boss", **changes: Any) -> dict[str, Any]:
        """Settings by name that get in."""
        protocol = LISTENERS[listener]
        found: dict[str, Any] = {"broker": self.address(listener), "security_protocol": protocol}
        if protocol.endswith("SSL"):
            found["ssl_cafile"] = self.files["ca.pem"]
        if protocol.startswith("SASL"):
            found |= {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": user, "sasl_password": PASSWORD}
        return found | changes

    def allow(self, acls: list[AclBinding]) -> None:
        client = AdminClient({"bootstrap.servers": self.address("PLAINTEXT")})
        for future in client.create_acls(list(dict.fromkeys(acls)), request_timeout=TIMEOUT_S).values():
            future.result()


@contextmanager
def secure_broker(directory: Path) -> Iterator[SecureBroker]:
    """Start it, with its users and certificates."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    files, server, other = _certificates(directory, authority)
    ports = {name: free_port() for name in LISTENERS}
    properties = _properties(ports) | _store("sasl_ssl", server, authority) | _store("ssl", server, authority)
    properties |= _store("other_host", other, authority) | _store("elsewhere", server, authority)
    with LocalBroker(directory, port=ports["PLAINTEXT"], jars_dir=JARS_DIR, properties=properties):
        broker = SecureBroker(ports, files)
        _create_users(AdminClient({"bootstrap.servers": broker.address("PLAINTEXT")}))
        yield broker


def _certificates(directory: Path, authority: trustme.CA) -> tuple[dict[str, Path], trustme.LeafCert, trustme.LeafCert]:
    server = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    other = authority.issue_cert("broker.example", key_type=trustme.KeyType.ECDSA)
    client = authority.issue_cert("client@caststream.example")
    stranger_authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    stranger = stranger_authority.issue_cert("client@caststream.example")
    contents = {
        "ca.pem": authority.cert_pem.bytes(),
        "strange-ca.pem": stranger_authority.cert_pem.bytes(),
        "client.pem": client.cert_chain_pems[0].bytes(),
        "client.key": client.private_key_pem.bytes(),
        "locked.key": _pkcs8(client, PASSWORD),
        "stranger.pem": stranger.cert_chain_pems[0].bytes(),
        "stranger.key": stranger.private_key_pem.bytes(),
        "no.pem": b"not a certificate\n",
    }
    files = {name: directory / name for name in contents}
    for name, content in contents.items():
        files[name].write_bytes(content)
    return files, server, other


def _pkcs8(certificate: trustme.LeafCert, password: str | None = None) -> bytes:
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    lock = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def _properties(ports: Mapping[str, int]) -> dict[str, str]:
    listeners = {name: f"{name}://127.0.0.1:{port}" for name, port in ports.items()}
    advertised = {name: place for name, place in listeners.items() if name != "CONTROLLER"}
    advertised["ELSEWHERE"] = f"ELSEWHERE://localhost:{ports['ELSEWHERE']}"
    found = {
        "listeners": ",".join(listeners.values()),
        "advertised.listeners": ",".join(advertised.values()),
        "controller.quorum.voters": f"1@127.0.0.1:{ports['CONTROLLER']}",
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in LISTENERS.items()),
        "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.ssl.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:boss",
    }
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    for listener in ("sasl_ssl", "sasl_plaintext"):
        for mechanism in ("scram-sha-256", "scram-sha-512"):
            found[f"listener.name.{listener}.{mechanism}.sasl.jaas.config"] = login
    return found


def _store(listener: str, certificate: trustme.LeafCert, authority: trustme.CA) -> dict[str, str]:
    own = {
        "keystore.type": "PEM",
        "keystore.certificate.chain": b"".join(each.bytes() for each in certificate.cert_chain_pems).decode(),
        "keystore.key": _pkcs8(certificate).decode(),
        "truststore.type": "PEM",
        "truststore.certificates": authority.cert_pem.bytes().decode(),
    }
    return {f"listener.name.{listener}.ssl.{name}": value for name, value in own.items()}


def _create_users(client: AdminClient) -> None:
    for mechanism in MECHANISMS:  # one request may change a user once
        info = ScramCredentialInfo(mechanism, 4096)
        wanted = [UserScramCredentialUpsertion(user, info, PASSWORD.encode()) for user in USERS]
        for future in client.alter_user_scram_credentials(wanted, request_timeout=TIMEOUT_S).values():
            future.result()


def acls_in(text: str, settings: Settings) -> list[AclBinding]:
    """The permissions that the lines ``acl ...`` of a document grant, for the topics and the group of ``settings``."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("acl "):
            found += _acls_of(shlex.split(line, comments=True)[1:], settings)
    return found


def _acls_of(words: list[str], settings: Settings) -> list[AclBinding]:
    pairs = list(zip(words[::2], words[1::2], strict=True))
    said = {option: [value for name, value in pairs if name == option] for option, _ in pairs}
    pattern = ResourcePatternType[said.get("--resource-pattern-type", ["literal"])[0].upper()]
    kinds = {"--topic": ResourceType.TOPIC, "--group": ResourceType.GROUP}
    kinds["--transactional-id"] = ResourceType.TRANSACTIONAL_ID
    return [
        AclBinding(
            kind,
            _named(name, settings),
            pattern,
            said["--allow-principal"][0],
            "*",
            AclOperation[_SHOUTED[operation]],
            AclPermissionType.ALLOW,
        )
        for option, kind in kinds.items()
        for name in said.get(option, [])
        for operation in said["--operation"]
    ]


_SHOUTED = {
    "Read": "READ",
    "Write": "WRITE",
    "Create": "CREATE",
    "Delete": "DELETE",
    "Alter": "ALTER",
    "Describe": "DESCRIBE",
    "DescribeConfigs": "DESCRIBE_CONFIGS",
}


def _named(name: str, settings: Settings) -> str:
    """The document has the default names."""
    default = "caststream"
    if name == "caststream-verify-":  # the same for all applications
        return name
    return settings.app_id + name.removeprefix(default) if name.startswith(default) else settings.topic(name)
