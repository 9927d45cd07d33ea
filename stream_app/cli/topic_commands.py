"""``caststream topics``."""

# Typer reads the annotations of the commands as objects, so they are not postponed here.
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stream_app.cli.options import HELP, KAFKA, JsonLinesOption, command, say
from stream_app.exits import EXIT_FAILED

if TYPE_CHECKING:
    from stream_app.settings import Settings

# Somebody waits at the terminal: a broker that is there answers at once.
BROKER_PATIENCE_S = 10.0

topics_app = typer.Typer(no_args_is_help=True, context_settings=HELP)

TOPIC_SETTINGS = (*KAFKA, "app_id", "topic_prefix", "partitions", "replication_factor", "tasks")


@command(topics_app, "create", settings=TOPIC_SETTINGS, example="caststream topics create --partitions 8")
def topics_create(settings: "Settings") -> None:
    """Create all topics, changelogs too; existing topics are not changed."""
    from stream_app.clients.admin import Cluster
    from stream_app.topics.administration import create_topics
    from stream_app.topics.checks import topic_configs, topic_problems

    created = create_topics(settings, BROKER_PATIENCE_S)
    for name in created:
        typer.echo(f"created {name}")
    if not created:
        typer.echo("all topics are there")
    configs = topic_configs(settings, Cluster(settings, BROKER_PATIENCE_S))
    for problem in topic_problems(settings, configs).values():
        say(f"caststream: {problem}")


@command(topics_app, "describe", settings=TOPIC_SETTINGS, example="caststream topics describe --json")
def topics_describe(settings: "Settings", as_json: JsonLinesOption = False) -> None:
    """Show each topic as it is: partitions, copies, records, settings. Exit status 1 when one is missing."""
    import json
    from dataclasses import asdict

    from stream_app.topics.administration import describe_topics

    topics = describe_topics(settings, BROKER_PATIENCE_S)
    width = max(len(topic.name) for topic in topics)
    for topic in topics:
        if as_json:
            typer.echo(json.dumps(asdict(topic)))
        elif topic.partitions:
            config = ", ".join(f"{name}={value}" for name, value in topic.config.items())
            size = f"{topic.partitions:3} partitions x{topic.replication_factor} {topic.records:12,} records"
            typer.echo(f"{topic.name:{width}} {size}  {config}")
            if topic.problem:
                say(f"caststream: {topic.problem}")
        else:
            typer.echo(f"{topic.name:{width}} missing")
    if not all(topic.partitions for topic in topics):
        raise typer.Exit(EXIT_FAILED)


@command(
    topics_app,
    "permissions",
    settings=("broker", "app_id", "topic_prefix", "tasks"),
    example="caststream topics permissions --tasks pump.toml --role worker",
)
def topics_permissions(
    settings: "Settings",
    role: Annotated[
        Literal["worker", "sender", "reader", "resender", "auditor", "admin"] | None,
        typer.Option(help="Of this role alone; by default of all.", show_default=False),
    ] = None,
) -> None:
    """Print the commands that grant each role what it needs on the topics of the tasks. Asks no broker.

    They use kafka-acls.sh of Kafka. The users have the names of the roles: replace them with yours.
    """
    from typing import get_args

    from stream_app.topics.acls import Role, commands

    for line in commands(settings, get_args(Role) if role is None else [role]):
        typer.echo(line)


@command(topics_app, "grow", settings=TOPIC_SETTINGS, example="caststream topics grow --partitions 8")
def topics_grow(
    settings: "Settings",
    without_states: Annotated[
        bool, typer.Option("--without-states", help="Move no states: streams that move start from zeros, with a gap.")
    ] = False,
) -> None:
    """Add partitions to all topics, and move each stream's state to its new one. Refused while workers run.

    Stop the senders, let the workers finish and stop them first. Run it again if it was interrupted.
    """
    from stream_app.topics.grow import grow_topics

    done = grow_topics(settings, not without_states, BROKER_PATIENCE_S)
    for name, (before, now) in done.partitions.items():
        typer.echo(f"{name}: {before} partitions before, {now} now")
    say(f"{done.moved:,} streams moved" if done.partitions or done.moved else "all topics have as many partitions")
    if done.left:
        say(
            f"caststream: {done.left:,} streams were not moved: their senders choose partitions in another "
            "way than by Kafka's murmur2 of the key, or their state is damaged"
        )


@command(topics_app, "reset-state", settings=TOPIC_SETTINGS, example="caststream topics reset-state --yes")
def topics_reset_state(
    settings: "Settings", yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
) -> None:
    """Delete all states and offsets: the worker reads every source from its beginning. Refused while workers run.

    The worker then publishes the outputs of all records that the sources still hold again, beside the existing ones.
    """
    from stream_app.topics.administration import reset_state

    if not yes:
        question = (
            f"Delete all states and offsets of {settings.app_id} on {settings.broker}, read its sources again, and "
            "publish once more the outputs of all records that they still hold?"
        )
        typer.confirm(question, abort=True, err=True)
    for name in reset_state(settings, BROKER_PATIENCE_S):
        typer.echo(f"emptied {name}")
