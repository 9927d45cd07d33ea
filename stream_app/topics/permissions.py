"""Ask the broker for a worker's permissions before it starts: a missing permission is no outage."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]

from core.errors import StartupError
from stream_app.clients.admin import Cluster
from stream_app.routes import DEAD_LETTERS, routes
from stream_app.settings import Settings

Operations = Collection[AclOperation]
READ, WRITE, SETTINGS = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS


def worker_needs(settings: Settings) -> dict[str, Operations]:
    """Return the operations of a worker on each topic, by full name. It reads outputs too, to leave out repeats."""
    needs: dict[str, Operations] = {settings.topic(DEAD_LETTERS): (READ, WRITE)}
    for route in routes(settings).values():
        needs[route.source] = (READ,)
        needs[route.output] = (READ, WRITE)
        needs[route.changelog] = (READ, WRITE, SETTINGS)
    return needs


def check_permissions(settings: Settings, cluster: Cluster) -> None:
    """Refuse to start without what a worker needs. Its transactional ids, under exactly_once, cannot be asked after.

    Raises:
        StartupError: names everything that is missing.
    """
    needs = worker_needs(settings)
    missing = [*_missing(needs, cluster.allowed_on_topics(list(needs)), "topic")]
    group = {settings.app_id: (READ,)}
    missing += _missing(group, {settings.app_id: cluster.allowed_on_group(settings.app_id)}, "group")
    if missing:
        raise StartupError(
            f"{settings.kafka_user} lacks permissions on {settings.broker}: {', '.join(missing)}; "
            "SECURITY.md has the commands that grant what a worker needs"
        )


def _missing(needs: Mapping[str, Operations], allowed: Mapping[str, Operations | None], kind: str) -> Iterable[str]:
    for name, operations in needs.items():
        has = allowed.get(name)
        if has is None:  # the broker does not say
            continue
        for operation in operations:
            if operation not in has:
                yield f"{operation.name.title().replace('_', '')} on {kind} {name}"
