"""Tasks that one worker runs together: each has its own names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from core.errors import StartupError
from core.tasks.declaration import Declaration


def refuse_clashes(tasks: Iterable[Declaration]) -> None:
    """Refuse tasks that share a name, a source, an output topic or a table, and tasks that feed each other.

    A source may be another's output topic, but no way may lead back: such records would go round for ever.

    Raises:
        StartupError: names the tasks and what they share, or the topics on the way round.
    """
    tasks = tuple(tasks)
    owners: dict[tuple[str, str], str] = {}
    for task in tasks:
        for what, name in _names(task):
            if (other := owners.get((what, name))) is not None:
                raise StartupError(f"tasks {other!r} and {task.name!r} share {what} {name!r}: each needs its own")
            owners[what, name] = task.name
    _refuse_rounds({task.topics.source: task for task in tasks})


def _refuse_rounds(by_source: Mapping[str, Declaration]) -> None:
    for first in by_source.values():
        way = [first]
        while (task := by_source.get(way[-1].topics.output)) is not None and task not in way:
            way.append(task)
        if task is first:
            steps = ", ".join(f"{each.name!r} publishes to {each.topics.output!r}" for each in way)
            raise StartupError(f"tasks feed each other: {steps}, the source of {first.name!r}: give one another source")


def _names(task: Declaration) -> Iterator[tuple[str, str]]:
    yield "the name", task.name
    yield "the source", task.topics.source
    yield "the output topic", task.topics.output
    yield "the table", task.topics.table
