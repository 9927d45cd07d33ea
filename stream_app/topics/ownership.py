"""The owner of changelogs, and of the group with the same application id: the deployment of a source topic.

Two deployments that differ in ``topic_prefix`` alone would share both, and each continue from the other's states. So
every state record names its source topic in the header ``source-topic``. Before there is a state, the first to find a
changelog without an owner claims it by a tombstone that names the topic. The first claim in the log counts, so two that
start at once cannot both have it. Earlier versions ignore header and tombstone. Their changelogs belong to the source
topics that the group has committed offsets for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from confluent_kafka import Message
from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]

from core.errors import RunError, StartupError, UnreachableError
from core.tasks.reading import SHIPPED
from stream_app.clients.admin import Cluster
from stream_app.clients.committed import visible_offsets
from stream_app.clients.topic_reader import TopicReader, key_of, place_of
from stream_app.clients.writing import Written, write_records
from stream_app.headers import SOURCE_OFFSET, SOURCE_TOPIC, headers_of
from stream_app.routes import ROUTES, Partition, Route, routes
from stream_app.settings import Settings

CLAIM = b"\x00source-topic "
"""Before the topic's name, the key of a claim. No stream has such a key in a table."""
CLAIMED_IN = 0
"""The partition that decides."""
LOOK_AT, TAIL = 500, 50
SEND_TIMEOUT_S = 30.0


def is_claim(key: bytes | None) -> bool:
    """True if a changelog record is a claim, and no state."""
    return key is not None and key.startswith(CLAIM)


def check_owner(settings: Settings, cluster: Cluster, may_take_over: bool = False) -> dict[str, str | None]:
    """Refuse where a changelog or the group of this application id belongs to other source topics.

    Args:
        may_take_over: whether what topics have left that are there no more is free, because it will be deleted.

    Returns:
        Changelog -> its owner, None where it has none; those that are there and that we may read.

    Raises:
        StartupError: names both.
    """
    found = _owners(settings, cluster)
    for route in routes(settings).values():
        owner = found.get(route.changelog)
        if owner is not None and owner != route.source:
            _refuse(settings, cluster, route, owner, may_take_over)
    if any(found.get(route.changelog, "") is None for route in routes(settings).values() if route.task in SHIPPED):
        _check_group(settings, cluster)
    return found


def claim(settings: Settings, cluster: Cluster) -> None:
    """Claim the changelogs that have no owner, as far as we may write there; refuse those with another owner.

    Raises:
        StartupError: a changelog is another deployment's, or has just become it.
    """
    free = [name for name, owner in check_owner(settings, cluster).items() if owner is None]
    allowed = cluster.allowed_on_topics(free) if free else {}
    to_claim = [
        route
        for route in routes(settings).values()
        if route.changelog in free and _may(allowed, route.changelog, AclOperation.WRITE)
    ]
    if to_claim:
        _write_claims(settings, to_claim)
        check_owner(settings, cluster)


def _owners(settings: Settings, cluster: Cluster) -> dict[str, str | None]:
    there = cluster.partitions([route.changelog for route in routes(settings).values()])
    allowed = cluster.allowed_on_topics(there) if there else {}
    readable = [name for name in there if _may(allowed, name, AclOperation.READ)]
    if not readable:
        return {}
    try:
        with TopicReader(settings.client_config()) as reader:
            return _read_owners(reader, {name: there[name] for name in readable})
    except RunError as error:
        raise UnreachableError(f"cannot find the owner of {', '.join(readable)}: {error}") from error


def _read_owners(reader: TopicReader, partitions: Mapping[str, int]) -> dict[str, str | None]:
    """Changelog -> its owner, by the last records of all partitions; of few states, or none with an owner, by the
    first records too. All changelogs in one read: each further one takes librdkafka half a second.
    """
    places = [(name, partition) for name, count in partitions.items() for partition in range(count)]
    starts = {at: max(0, reader.bounds(at)[1] - TAIL) for at in places}
    tails: dict[str, list[Message]] = {name: [] for name in partitions}
    for message in reader.read_from(starts):
        tails[place_of(message)[0]].append(message)
    owners = {}
    for name, tail in tails.items():
        first: Partition = (name, CLAIMED_IN)
        owner, is_states = owner_in(tail)
        if not is_states and starts[first] > 0:
            owner, _ = owner_in([*islice(reader.read_from({first: 0}), LOOK_AT), *tail])
        owners[name] = owner
    return owners


def owner_in(messages: Iterable[Message]) -> tuple[str | None, bool]:
    """The source topic that changelog records are of, and whether a state says so; a claim does only without one."""
    claimed = None
    for message in messages:
        topic = dict(headers_of(message)).get(SOURCE_TOPIC)
        if topic is not None:
            name = topic.decode("utf-8", "backslashreplace")
            if not is_claim(key_of(message)):
                return name, True
            claimed = claimed or name
    return claimed, False


def _write_claims(settings: Settings, to_claim: Iterable[Route]) -> None:
    records = [
        Written(
            route.changelog,
            CLAIMED_IN,
            CLAIM + route.source.encode(),
            None,
            [(SOURCE_OFFSET, b"0"), (SOURCE_TOPIC, route.source.encode())],
        )
        for route in to_claim
    ]
    if why := write_records(settings.client_config(), records, SEND_TIMEOUT_S):
        raise UnreachableError(f"cannot write the owner into the changelogs of {settings.app_id}: {why}")


def _check_group(settings: Settings, cluster: Cluster) -> None:
    """Check the group of changelogs from version 0.1, which had the tasks that ship: its committed offsets name their
    owner.
    """
    # Those that ship are of this deployment, whether the setting has them now or not.
    ours = {route.source for route in routes(settings).values()} | {settings.topic(source) for source in ROUTES}
    with_offsets = {topic for topic, _ in visible_offsets(settings) or ()}
    others = {topic for topic in with_offsets - ours if topic.endswith(tuple(ROUTES))}
    for topic in sorted(cluster.existing(others) if others else ()):
        both = "" if not ours & with_offsets else f", and so do those for {', '.join(sorted(ours & with_offsets))}"
        raise StartupError(
            f"the group {settings.app_id} holds offsets for {topic}{both}: app_id {settings.app_id!r} belongs to the "
            f"deployment of {topic}, not to that of {', '.join(sorted(ours))}; {_remedy(settings)}"
        )


def _refuse(settings: Settings, cluster: Cluster, route: Route, owner: str, may_take_over: bool) -> None:
    gone = owner not in cluster.existing([owner])
    if gone and may_take_over:
        return
    free = f"; as {owner} is gone, `caststream topics reset-state` gives its states up" if gone else ""
    raise StartupError(
        f"app_id {settings.app_id!r} belongs to the deployment of {owner}: {route.changelog} holds its states, not "
        f"those of {route.source}; {_remedy(settings)}{free}"
    )


def _remedy(settings: Settings) -> str:
    prefix = settings.topic_prefix or "another-"
    return f"give one of the two another app_id, such as --app-id {prefix.rstrip('-_.')}-{settings.app_id}"


def _may(allowed: Mapping[str, object], name: str, operation: AclOperation) -> bool:
    operations = allowed.get(name)
    return operations is None or operation in operations  # type: ignore[operator]
