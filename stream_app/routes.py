"""The names on the broker: every topic, every table, and which belong together."""

from __future__ import annotations

from dataclasses import dataclass

from core.tasks import Task
from stream_app.settings import Settings

SIGNAL_SAMPLES = "signal-samples"
CASTING_SAMPLES = "casting-samples"
SIGNAL_PREDICTIONS = "signal-predictions"
CASTING_SCORES = "casting-scores"
DEAD_LETTERS = "dead-letters"
SIGNAL_STATES = "signal-states"
CASTING_WINDOWS = "casting-windows"

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""

# source topic -> (output topic, table)
ROUTES = {
    SIGNAL_SAMPLES: (SIGNAL_PREDICTIONS, SIGNAL_STATES),
    CASTING_SAMPLES: (CASTING_SCORES, CASTING_WINDOWS),
}


@dataclass(frozen=True)
class Route:
    """The names on the broker of one task: prefix and application id applied."""

    task: Task
    source: str
    output: str
    changelog: str
    dead_letters: str


def routes(settings: Settings) -> dict[Task, Route]:
    """Return the routes by task."""
    both: dict[Task, str] = {"signal": SIGNAL_SAMPLES, "casting": CASTING_SAMPLES}
    return {task: _route(settings, task, source) for task, source in both.items()}


def _route(settings: Settings, task: Task, source: str) -> Route:
    output, table = ROUTES[source]
    return Route(
        task,
        settings.topic(source),
        settings.topic(output),
        settings.changelog(table),
        settings.topic(DEAD_LETTERS),
    )
