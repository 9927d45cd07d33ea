"""Check the topics before a worker starts: some faults refuse the start, others are warned of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from core.errors import StartupError
from stream_app import sizes
from stream_app.clients.admin import Cluster
from stream_app.routes import DEAD_LETTERS, routes
from stream_app.settings import Settings
from stream_app.topics.plans import TopicPlan, create_command, planned_topics


class TopicsNow(NamedTuple):
    """The answers of the broker about our topics, each by full name."""

    partitions: dict[str, int]
    """The number of partitions of the source topics."""
    ids: dict[str, str]
    configs: dict[str, dict[str, str]]
    """As `topic_configs`."""


def check_topics(settings: Settings, cluster: Cluster) -> TopicsNow:
    """Refuse to start on topics that are missing or do not fit together.

    Raises:
        StartupError: names every missing topic and the command that creates them; or the topics of one task whose
            partitions differ; or a changelog that is not compacted, another topic that is, one that takes too little.
    """
    found = cluster.topics([plan.name for plan in planned_topics(settings)])
    there = {name: len(topic.partitions) for name, topic in found.items()}
    sources = {name: there[name] for route in routes(settings).values() if (name := route.source) in there}
    plans = planned_topics(settings, sources)
    missing = [plan.name for plan in plans if plan.name not in there]
    refuse_hidden(settings, cluster, missing)
    if missing:
        raise StartupError(
            f"topics are missing on {settings.broker}: {', '.join(missing)}; "
            f"create them with: {create_command(settings)}"
        )
    for plan in plans:
        _check_partitions(plan, there[plan.name], dead_letters=plan.name == settings.topic(DEAD_LETTERS))
    configs = topic_configs(settings, cluster)
    _check_configs(settings, configs)
    return TopicsNow(sources, {name: str(topic.topic_id) for name, topic in found.items()}, configs)


def topic_configs(settings: Settings, cluster: Cluster) -> dict[str, dict[str, str]]:
    """The settings of the changelogs, and of the other topics where the user may ask, by full name: 0.1 did not need
    these.
    """
    changelogs = [route.changelog for route in routes(settings).values()]
    names = {plan.name for plan in planned_topics(settings)}.union(changelogs)
    return cluster.configs(names, unless_refused=names.difference(changelogs))


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
    """Find the faults of topics that a worker refuses, and those that it only warns of, by full name."""
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


def refuse_hidden(settings: Settings, cluster: Cluster, missing: Sequence[str]) -> None:
    """Raise if a topic is hidden: the broker does not show a topic to a user without permission on it."""
    if hidden := sorted(cluster.hidden(missing)):
        raise StartupError(
            f"topics are missing on {settings.broker}, or not visible to {settings.kafka_user}, who lacks permission "
            f"to Describe them: {', '.join(hidden)}; SECURITY.md has the commands that grant what is needed"
        )


def refuse_running(settings: Settings, cluster: Cluster) -> None:
    """Refuse where workers are members of the group. Raises StartupError."""
    if members := cluster.group_members(settings.app_id):
        raise StartupError(
            f"the group {settings.app_id} has {members} running members; stop its workers first "
            f"(one that was killed counts for {settings.session_timeout:g} s more)"
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
