"""The topics: their names, their settings on the broker, and what must be true of them before a worker starts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from core.errors import StartupError
from stream_app import sizes
from stream_app.admin import CONNECT_TIMEOUT_S, Cluster
from stream_app.settings import Settings

SIGNAL_SAMPLES = "signal-samples"
CASTING_SAMPLES = "casting-samples"
SIGNAL_PREDICTIONS = "signal-predictions"
CASTING_SCORES = "casting-scores"
DEAD_LETTERS = "dead-letters"
SIGNAL_STATES = "signal-states"
CASTING_WINDOWS = "casting-windows"

# source topic -> (output topic, table)
ROUTES = {
    SIGNAL_SAMPLES: (SIGNAL_PREDICTIONS, SIGNAL_STATES),
    CASTING_SAMPLES: (CASTING_SCORES, CASTING_WINDOWS),
}

Kind = Literal["signal", "casting"]

# The append time is the broker's truth for latency, and retention by it does not eat replayed history.
STREAM_CONFIG = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}

# A dead letter carries a whole record and says why: larger than any source's limit, 1 MiB unless changed.
DEAD_LETTER_CONFIG = STREAM_CONFIG | {"max.message.bytes": str(16 * 2**20)}

# A changelog is compacted when a segment rolls, by default after 1 GiB or 7 days: these make recovery read minutes, not
# days. The lag gives a stopped worker's late writes a minute to be seen before compaction hides them. The times are the
# broker's: it refuses records of a worker whose clock is an hour ahead.
CHANGELOG_CONFIG = {
    "cleanup.policy": "compact",  # never with delete: recovery can hang (faust-streaming/faust#176)
    "message.timestamp.type": "LogAppendTime",
    "segment.bytes": str(16 * 2**20),
    "segment.ms": "60000",
    "min.compaction.lag.ms": "60000",
    "max.compaction.lag.ms": "120000",
    "delete.retention.ms": "86400000",
    "min.cleanable.dirty.ratio": "0.1",
}


@dataclass(frozen=True)
class Route:
    """The names on the broker of one kind of stream: prefix and application id applied."""

    kind: Kind
    source: str
    output: str
    changelog: str
    dead_letters: str


def routes(settings: Settings) -> dict[Kind, Route]:
    """Both kinds."""
    both: dict[Kind, str] = {"signal": SIGNAL_SAMPLES, "casting": CASTING_SAMPLES}
    return {kind: _route(settings, kind, source) for kind, source in both.items()}


def _route(settings: Settings, kind: Kind, source: str) -> Route:
    output, table = ROUTES[source]
    return Route(
        kind,
        settings.topic(source),
        settings.topic(output),
        settings.changelog(table),
        settings.topic(DEAD_LETTERS),
    )


@dataclass(frozen=True)
class TopicPlan:
    """A topic as `create_topics` makes it."""

    name: str
    partitions: int
    config: dict[str, str]


@dataclass(frozen=True)
class TopicInfo:
    """A topic as it is; ``partitions`` is 0 where it is missing."""

    name: str
    partitions: int = 0
    replication_factor: int = 0
    topic_id: str = ""
    records: int = 0
    config: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    """What a worker would refuse or warn of; empty where nothing is."""


def planned_topics(settings: Settings, partitions: Mapping[str, int] | None = None) -> list[TopicPlan]:
    """Every topic that the settings name, with the partitions it should have.

    Args:
        partitions: of source topics that are there, by full name; the setting ``partitions`` holds for the others.
    """
    plans = []
    for source, (output, table) in ROUTES.items():
        count = (partitions or {}).get(settings.topic(source), settings.partitions)
        plans += [
            TopicPlan(settings.topic(source), count, STREAM_CONFIG),
            TopicPlan(settings.topic(output), count, STREAM_CONFIG),
            TopicPlan(settings.changelog(table), count, CHANGELOG_CONFIG),
        ]
    largest = max(plan.partitions for plan in plans)
    return [*plans, TopicPlan(settings.topic(DEAD_LETTERS), largest, DEAD_LETTER_CONFIG)]


def create_topics(settings: Settings, timeout: float = CONNECT_TIMEOUT_S) -> list[str]:
    """Create the topics that are missing; those that are there with the right partitions are left as they are.

    Returns:
        The names of the topics that were created, when the broker shows them all.

    Raises:
        StartupError: a topic is there with another number of partitions, or the application id is another
            deployment's (then nothing was created); the broker refuses, or none answers within ``timeout`` seconds.
    """
    from stream_app import ownership  # which needs the names that are declared here

    cluster = Cluster(settings, timeout)
    there = cluster.partitions()
    plans = planned_topics(settings)
    ownership.check_owner(settings, cluster)
    wrong = [plan for plan in plans if there.get(plan.name, plan.partitions) != plan.partitions]
    if wrong:
        found = ", ".join(f"{plan.name} has {there[plan.name]}" for plan in wrong)
        raise StartupError(
            f"topics are there with other partition counts than {settings.partitions}: {found}; "
            "delete them, or set --partitions, or another --topic-prefix and --app-id"
        )
    missing = [plan for plan in plans if plan.name not in there]
    _refuse_hidden(settings, cluster, [plan.name for plan in missing])
    _create(cluster, missing, settings.replication_factor)
    ownership.claim(settings, cluster)
    return [plan.name for plan in missing]


def describe_topics(settings: Settings, timeout: float = CONNECT_TIMEOUT_S) -> list[TopicInfo]:
    """Each topic of the settings as it is on the broker, missing ones too.

    Raises:
        StartupError: the broker refuses, or none answers within ``timeout`` seconds.
    """
    cluster = Cluster(settings, timeout)
    names = [plan.name for plan in planned_topics(settings)]
    found = cluster.describe(names)
    records = cluster.offsets({name: len(topic.partitions) for name, topic in found.items()})
    configs = cluster.configs(found)
    ours = STREAM_CONFIG.keys() | CHANGELOG_CONFIG.keys() | {sizes.SETTING}
    problems = topic_problems(settings, configs)
    return [
        TopicInfo(
            name,
            partitions=len(found[name].partitions),
            replication_factor=len(found[name].partitions[0].replicas),
            topic_id=str(found[name].topic_id),
            records=records[name],
            config={key: value for key, value in sorted(configs[name].items()) if key in ours},
            problem=problems.get(name, ""),
        )
        if name in found
        else TopicInfo(name)
        for name in names
    ]


def check_topics(settings: Settings, timeout: float = CONNECT_TIMEOUT_S) -> dict[str, int]:
    """Refuse to start on topics that are missing or do not fit together.

    Returns:
        The number of partitions of each source topic, by full name.

    Raises:
        StartupError: names every missing topic and the command that creates them; or the topics of one path whose
            partitions differ; or a changelog that is not compacted, another topic that is, one that takes too little;
            or no broker answers within ``timeout`` seconds.
    """
    cluster = Cluster(settings, timeout)
    there = cluster.partitions()
    sources = {name: there[name] for source in ROUTES if (name := settings.topic(source)) in there}
    plans = planned_topics(settings, sources)
    missing = [plan.name for plan in plans if plan.name not in there]
    _refuse_hidden(settings, cluster, missing)
    if missing:
        raise StartupError(
            f"topics are missing on {settings.broker}: {', '.join(missing)}; "
            f"create them with: {create_command(settings)}"
        )
    for plan in plans:
        _check_partitions(plan, there[plan.name], dead_letters=plan.name == settings.topic(DEAD_LETTERS))
    _check_configs(settings, _configs(settings, cluster))
    return sources


def topic_configs(settings: Settings, timeout: float = CONNECT_TIMEOUT_S) -> dict[str, dict[str, str]]:
    """The settings of all topics that are there and that we may ask about, by full name.

    Raises:
        StartupError: the broker refuses, or none answers within ``timeout`` seconds.
    """
    return _configs(settings, Cluster(settings, timeout))


def _configs(settings: Settings, cluster: Cluster) -> dict[str, dict[str, str]]:
    """Ask for the settings of changelogs, and of the other topics where the user may: 0.1 did not need these."""
    changelogs = [route.changelog for route in routes(settings).values()]
    others = {plan.name for plan in planned_topics(settings)} - set(changelogs)
    return cluster.configs(changelogs) | cluster.readable_configs(others)


def _check_configs(settings: Settings, configs: Mapping[str, Mapping[str, str]]) -> None:
    changelogs = {route.changelog for route in routes(settings).values()}
    for name, config in configs.items():
        policy = config.get("cleanup.policy") or ""
        if name in changelogs and policy != "compact":
            raise StartupError(f"topic {name} has cleanup.policy={policy}, which loses states; set it to compact")
        if name not in changelogs and "compact" in policy:
            raise StartupError(
                f"topic {name} has cleanup.policy={policy}, which deletes records of a stream that come before its "
                "last; set it to delete"
            )
    needed = {route.output: (sizes.OUTPUT_BYTES, "an output") for route in routes(settings).values()}
    needed[settings.topic(DEAD_LETTERS)] = sizes.LETTER_BYTES, "what is said of a dead letter"
    for name in needed.keys() & configs.keys():
        sizes.check_limit(name, sizes.limit_of(configs[name]), *needed[name])


def topic_problems(settings: Settings, configs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Find what a worker refuses in topics, and what it only warns of, by full name."""
    found = {}
    for name, config in configs.items():
        try:
            _check_configs(settings, {name: config})
        except StartupError as error:
            found[name] = str(error)
    return topic_warnings(settings, configs) | found


def topic_warnings(settings: Settings, configs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Find settings that a worker warns of, by full topic name."""
    sources = [route.source for route in routes(settings).values()]
    return {
        name: f"message.timestamp.type of {name} is CreateTime: latency counts from the arrival at the worker, and "
        "idle_timeout goes by the senders' clocks; set it to LogAppendTime"
        for name in sources
        if configs.get(name, {}).get("message.timestamp.type") == "CreateTime"
    }


def topic_ids(settings: Settings, timeout: float = CONNECT_TIMEOUT_S) -> dict[str, str]:
    """The ids that the broker gave the topics when they were created, by full name; missing topics are left out.

    Raises:
        StartupError: the broker refuses, or none answers within ``timeout`` seconds.
    """
    cluster = Cluster(settings, timeout)
    found = cluster.describe([plan.name for plan in planned_topics(settings)])
    return {name: str(topic.topic_id) for name, topic in found.items()}


def reset_state(settings: Settings, timeout: float = CONNECT_TIMEOUT_S) -> list[str]:
    """Delete the changelogs, and with them all state, and the group's offsets; create the changelogs again, empty.

    They have as many copies as before, or as the sources: whoever resets need not know the setting of whoever created.

    States and offsets belong together: with states gone, the records that made them must be read again. The next worker
    starts at the first record that each source topic still holds, and its outputs are published again.

    Returns:
        The names of the changelogs.

    Raises:
        StartupError: workers are still members of the group, or states and group are another deployment's (nothing was
            deleted); the broker refuses, or none answers within ``timeout`` seconds.
    """
    from stream_app import ownership  # which needs the names that are declared here

    cluster = Cluster(settings, timeout)
    members = cluster.group_members(settings.app_id)
    if members:
        raise StartupError(
            f"the group {settings.app_id} has {members} running members; stop its workers first "
            f"(one that was killed counts for {settings.session_timeout:g} s more)"
        )
    ownership.check_owner(settings, cluster, may_take_over=True)
    there = cluster.partitions()
    names = {settings.changelog(table) for _, table in ROUTES.values()}
    copies = _copies(cluster, [*names, *(settings.topic(source) for source in ROUTES)])
    cluster.delete([name for name in names if name in there])
    cluster.delete_group(settings.app_id)
    plans = [plan for plan in planned_topics(settings, there) if plan.name in names]
    _create(cluster, plans, copies or settings.replication_factor)
    ownership.claim(settings, cluster)
    return [plan.name for plan in plans]


def _refuse_hidden(settings: Settings, cluster: Cluster, missing: Sequence[str]) -> None:
    """The broker shows nobody a topic that he has no permission on, so it may be there all the same."""
    if hidden := sorted(cluster.hidden(missing)):
        raise StartupError(
            f"topics are missing on {settings.broker}, or not visible to {settings.kafka_user}, who lacks permission "
            f"to Describe them: {', '.join(hidden)}; SECURITY.md has the commands that grant what is needed"
        )


def _copies(cluster: Cluster, names: Sequence[str]) -> int:
    """Of each partition of the first of the topics that is there; 0 where none is."""
    found = cluster.describe(names)
    return next((len(found[name].partitions[0].replicas) for name in names if name in found), 0)


def create_command(settings: Settings) -> str:
    """The command line that creates the topics of these settings."""
    options = {
        name: getattr(settings, name)
        for name in ("broker", "topic_prefix", "app_id", "partitions", "replication_factor")
    }
    given = [
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in options.items()
        if value != Settings.model_fields[name].default
    ]
    return " ".join(["caststream topics create", *given])


def _create(cluster: Cluster, plans: list[TopicPlan], copies: int) -> None:
    cluster.create(
        {plan.name: plan.partitions for plan in plans},
        copies,
        {plan.name: plan.config for plan in plans},
    )


def _check_partitions(plan: TopicPlan, found: int, dead_letters: bool) -> None:
    if found == plan.partitions or (dead_letters and found > plan.partitions):
        return
    raise StartupError(
        f"topic {plan.name} has {found} partitions and its source {plan.partitions}: outputs, states and dead letters "
        f"keep the partition of their source, so the counts must agree; {_grow(max(found, plan.partitions))}"
    )


def grown(topic: str, before: int, now: int) -> str:
    """The line about a source to which partitions were added while a worker ran."""
    return (
        f"topic {topic} has {now} partitions, and had {before}: streams are in other partitions now than their states, "
        f"so nothing more is published; {_grow(now)}"
    )


def _grow(partitions: int) -> str:
    return (
        f"`caststream topics grow --partitions {partitions}`, with senders and workers stopped, gives all topics so "
        "many; nothing is deleted"
    )
