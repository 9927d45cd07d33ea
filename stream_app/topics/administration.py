"""Work on the topics: create, describe and reset them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiokafka.structs import OffsetAndMetadata

from core.errors import StartupError
from stream_app import sizes
from stream_app.clients.admin import CONNECT_TIMEOUT_S, Cluster
from stream_app.clients.committed import commit, visible_commits
from stream_app.routes import DEAD_LETTERS, Partition, routes
from stream_app.settings import Settings
from stream_app.topics.checks import refuse_hidden, refuse_running, topic_problems
from stream_app.topics.ownership import check_owner, claim
from stream_app.topics.plans import CHANGELOG_CONFIG, STREAM_CONFIG, TopicPlan, planned_topics


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
    """The fault that a worker would refuse or warn of; empty if there is none."""


def create_topics(settings: Settings, timeout: float = CONNECT_TIMEOUT_S) -> list[str]:
    """Create the topics that are missing; those that are there with the right partitions are left as they are.

    Returns:
        The names of the topics that were created, when the broker shows them all.

    Raises:
        StartupError: a topic is there with another number of partitions, or the application id is another
            deployment's (then nothing was created); the broker refuses, or none answers within ``timeout`` seconds.
    """
    cluster = Cluster(settings, timeout)
    plans = planned_topics(settings)
    there = cluster.partitions([plan.name for plan in plans])
    check_owner(settings, cluster)
    letters = settings.topic(DEAD_LETTERS)  # of all tasks: others may have more partitions
    wrong = [
        plan
        for plan in plans
        if (found := there.get(plan.name, plan.partitions)) != plan.partitions
        and not (plan.name == letters and found > plan.partitions)
    ]
    if wrong:
        counts = ", ".join(f"{plan.name} has {there[plan.name]}" for plan in wrong)
        raise StartupError(
            f"topics are there with other partition counts than {settings.partitions}: {counts}; "
            "delete them, or set --partitions, or another --topic-prefix and --app-id"
        )
    missing = [plan for plan in plans if plan.name not in there]
    refuse_hidden(settings, cluster, [plan.name for plan in missing])
    _create(cluster, missing, settings.replication_factor)
    claim(settings, cluster)
    return [plan.name for plan in missing]


def describe_topics(settings: Settings, timeout: float = CONNECT_TIMEOUT_S) -> list[TopicInfo]:
    """Describe each topic of the settings as it is on the broker, missing ones too.

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


def topic_ids(settings: Settings, cluster: Cluster) -> dict[str, str]:
    """Return the ids that the broker gave the topics at their creation, by full name; missing topics have none."""
    found = cluster.describe([plan.name for plan in planned_topics(settings)])
    return {name: str(topic.topic_id) for name, topic in found.items()}


def reset_state(settings: Settings, timeout: float = CONNECT_TIMEOUT_S) -> list[str]:
    """Delete the changelogs, and with them all state, and the group's offsets; create the changelogs again, empty.

    They have as many copies as before, or as the sources: whoever resets need not know the setting of whoever created.

    States and offsets belong together: with states gone, the records that made them must be read again. The next worker
    starts at the first record that each source topic still holds, and its outputs are published again. Tasks that are
    not in the setting ``tasks`` keep both. If this dies before it has written their offsets back, their workers refuse
    to start until they are reset too.

    Returns:
        The names of the changelogs.

    Raises:
        StartupError: workers are still members of the group, or states and group are another deployment's (nothing was
            deleted); the broker refuses, or none answers within ``timeout`` seconds.
    """
    cluster = Cluster(settings, timeout)
    refuse_running(settings, cluster)
    check_owner(settings, cluster, may_take_over=True)
    there = cluster.partitions([plan.name for plan in planned_topics(settings)])
    ours = routes(settings).values()
    names = {route.changelog for route in ours}
    copies = _copies(cluster, [*names, *(route.source for route in ours)])
    cluster.delete([name for name in names if name in there])
    kept = _commits_of_others(settings, cluster)
    cluster.delete_group(settings.app_id)
    if kept:
        commit(settings, kept)
    plans = [plan for plan in planned_topics(settings, there) if plan.name in names]
    _create(cluster, plans, copies or settings.replication_factor)
    claim(settings, cluster)
    return [plan.name for plan in plans]


def _commits_of_others(settings: Settings, cluster: Cluster) -> dict[Partition, OffsetAndMetadata]:
    """Return what the group has committed for topics of other tasks that are there."""
    ours = {route.source for route in routes(settings).values()}
    found = {at: one for at, one in (visible_commits(settings) or {}).items() if at[0] not in ours}
    there = cluster.existing({topic for topic, _ in found}) if found else ()
    return {at: one for at, one in found.items() if at[0] in there}


def _copies(cluster: Cluster, names: Sequence[str]) -> int:
    """Return the copies of each partition of the first of the topics that exists; 0 if none does."""
    found = cluster.describe(names)
    return next((len(found[name].partitions[0].replicas) for name in names if name in found), 0)


def _create(cluster: Cluster, plans: list[TopicPlan], copies: int) -> None:
    cluster.create(
        {plan.name: plan.partitions for plan in plans},
        copies,
        {plan.name: plan.config for plan in plans},
    )
