"""The screen of a task's training: one bar at a time while it runs, and sentences at its end."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from core.callbacks import OnProgress
from stream_app.cli.progress import phases
from stream_app.cli.training_display import training_display

if TYPE_CHECKING:
    from pathlib import Path

    from core.tasks.declaration import Declaration
    from core.training.loop import TrainingProgress
    from core.training.tasks.finish import Finished
    from core.training.tasks.places import Places
    from core.training.tasks.trained import Trained


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


def done_lines(
    declaration: Declaration, data: Path, trained: Trained, finished: Finished, places: Places
) -> Iterator[str]:
    """Say what came of a training, the tables that the task file has now, and what to type next."""
    ours, persistence = trained.losses
    yield (
        f"on held-out data: negative log-likelihood {ours:.3g} nats per step and number (persistence: "
        f"{persistence:.3g}); " + ", ".join(f"|z| < {k} in {share:.1%}" for k, share in trained.within.items())
    )
    if ours >= persistence:
        yield (
            "warning: that nothing changes is as good a forecast: more history, or other fields, may tell more; "
            "anomalies are then steps that are larger than usual"
        )
    yield from finished.chosen.lines()
    path = declaration.path
    yield f"{path} has these tables now:"
    for name, lines in finished.tables.items():
        yield from (f"  [{name}]", *(f"  {line}" for line in lines))
    if finished.ranges:
        yield f"and what is normal of the fields {', '.join(finished.ranges)}, from what was learnt from"
    yield f"written: {places.weights}, {places.example.name}, the card {places.card.name}, plots in {places.plots.name}"
    name = shlex.quote(str(path))
    yield "next:"
    yield f"  caststream topics create --tasks {name}"
    yield f"  caststream worker --tasks {name}"
    yield f"  {_sending(declaration, name, data)}"
    yield f"  caststream tail {name}"


def _sending(declaration: Declaration, name: str, data: Path) -> str:
    """The command that sends samples: those of an HDF5 file, or lines of a CSV."""
    if data.suffix.lower() in (".h5", ".hdf5", ".hdf", ".he5"):
        return f"caststream replay {shlex.quote(str(data))} --task {name}"
    return f"caststream send {name}{_columns(declaration)} < {shlex.quote(f'{data.stem}.csv')}"


def _columns(declaration: Declaration) -> str:
    named = declaration.training.columns
    return "".join(f" --column {shlex.quote(f'{field}={name}')}" for field, name in named.items())
