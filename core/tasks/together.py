"""Tasks that one worker runs together: each has its own names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from core.errors import StartupError
from core.tasks.declaration import Declaration


def refuse_clashes(tasks: Iterable[Declaration]) -> None:
    """Refuse tasks that share a name, a source, an output topic or a table. A source may be another's output topic.

    Raises:
        StartupError: names both tasks and what they share.
    """
    owners: dict[tuple[str, str], str] = {}
    for task in tasks:
        for what, name in _names(task):
            if (other := owners.get((what, name))) is not None:
                raise StartupError(f"tasks {other!r} and {task.name!r} share {what} {name!r}: each needs its own")
            owners[what, name] = task.name


def _names(task: Declaration) -> Iterator[tuple[str, str]]:
    yield "the name", task.name
    yield "the source", task.topics.source
    yield "the output topic", task.topics.output
    yield "the table", task.topics.table
