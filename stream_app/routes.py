"""The names on the broker: every topic, every table, and which belong together. All follow from the declarations."""

from __future__ import annotations

from dataclasses import dataclass

from core.tasks.declaration import Declaration, Kind
from core.tasks.reading import SHIPPED, shipped
from stream_app.settings import Settings

DEAD_LETTERS = "dead-letters"

# What ships, for the demonstration of it and for measurements.
SIGNAL_SAMPLES, SIGNAL_PREDICTIONS, SIGNAL_STATES = (
    getattr(shipped("signal").topics, name) for name in ("source", "output", "table")
)
CASTING_SAMPLES, CASTING_SCORES, CASTING_WINDOWS = (
    getattr(shipped("casting").topics, name) for name in ("source", "output", "table")
)

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""

# Of the tasks that ship: source topic -> (output topic, table)
ROUTES = {shipped(name).topics.source: (shipped(name).topics.output, shipped(name).topics.table) for name in SHIPPED}


@dataclass(frozen=True)
class Route:
    """The names on the broker of one task: prefix and application id applied."""

    declaration: Declaration
    source: str
    output: str
    changelog: str
    dead_letters: str

    @property
    def task(self) -> str:
        """The task's name."""
        return self.declaration.name

    @property
    def kind(self) -> Kind:
        """The task's kind."""
        return self.declaration.kind


def routes(settings: Settings) -> dict[str, Route]:
    """Return the routes of the setting ``tasks``, by the names of the tasks.

    Raises:
        StartupError: a task of the setting cannot be used.
    """
    return {task.name: route_of(settings, task) for task in settings.declarations()}


def route_of(settings: Settings, task: Declaration) -> Route:
    """Return the route of a task, also of one that is not in the setting."""
    topics = task.topics
    return Route(
        task,
        settings.topic(topics.source),
        settings.topic(topics.output),
        settings.changelog(topics.table),
        settings.topic(DEAD_LETTERS),
    )
