"""A progress bar on stderr where that is a terminal, nothing where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from core.callbacks import OnCount, OnProgress


@contextmanager
def bar(title: str, total: int) -> Iterator[OnCount]:
    """Give a function to call with how much of ``total`` is done."""
    with phases() as phase:
        told = phase(title)
        yield lambda done: told(done, total)


@contextmanager
def phases() -> Iterator[Callable[[str], OnProgress]]:
    """Give a function that takes a title and returns the function to call with (done, total) for its bar."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:

        def phase(title: str) -> OnProgress:
            task = progress.add_task(title, total=None, visible=False)
            return lambda done, total: progress.update(task, completed=done, total=total, visible=True)

        yield phase
