"""The screen of a task's training: one bar at a time while it runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from core.callbacks import OnProgress
from stream_app.cli.progress import phases
from stream_app.cli.training_display import training_display

if TYPE_CHECKING:
    from core.training.loop import TrainingProgress


class Screen:
    """Shows what is going on, one thing at a time; a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._phase: tuple[str, OnProgress] | None = None
        self._training: Callable[[TrainingProgress], None] | None = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def phase(self, title: str) -> OnProgress:
        """A function to call with (done, total) of some work."""

        def told(done: int, total: int) -> None:
            if self._phase is None or self._phase[0] != title:
                self._clear()
                self._phase = title, self._stack.enter_context(phases())(title)
            self._phase[1](done, total)

        return told

    def training(self, now: TrainingProgress) -> None:
        """Show the progress of a training."""
        if self._training is None:
            self._clear()
            self._training = self._stack.enter_context(training_display())
        self._training(now)

    def _clear(self) -> None:
        self._stack.close()
        self._phase = self._training = None
