"""The setting ``tasks`` -> the declarations of its tasks."""

from __future__ import annotations

from core.errors import StartupError
from core.tasks.declaration import Declaration


def task_names(text: str) -> list[str]:
    """The names and files in the setting. Raises ValueError: it names none, or one twice."""
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError("a name is empty or there twice")
    return names


def read_tasks(text: str) -> tuple[Declaration, ...]:
    """Read the declarations. Files of models may be missing: most commands need none.

    Raises:
        StartupError: there is no such task, a file cannot be used, or two tasks share a name on the broker.
    """
    # Set-up reads settings too, before there are packages and compiled parts: jars come beside them.
    from core.tasks.reading import find_declaration
    from core.tasks.together import refuse_clashes

    try:
        found = tuple(find_declaration(name, need_files=False) for name in task_names(text))
        refuse_clashes(found)
    except StartupError as error:
        raise StartupError(f"setting tasks: {error}") from error
    return found
