"""The run of ``caststream train FILE.toml HISTORY`` for a task that learns targets, or labels of sequences."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from stream_app.cli.options import say
from stream_app.exits import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from pathlib import Path

    from core.tasks.declaration import Declaration
    from core.training.config import TaskSettings
    from core.training.tasks.finish_targets import FinishedTargets
    from core.training.tasks.places import Places
    from core.training.tasks.train_classifier import TrainedClassifier
    from core.training.tasks.train_regressor import TrainedRegressor

    Trained = TrainedRegressor | TrainedClassifier


def train_targets(
    declaration: Declaration, data: Path, weights: Path, settings: TaskSettings, run: dict[str, Any]
) -> None:
    """Train, write the card and the task file, and say what came of it.

    Args:
        run: further arguments of `core.training.tasks.train_regressor.train_regressor`.
    """
    from core.training.extras import require
    from core.training.tasks.finish_targets import finish_targets
    from core.training.tasks.places import Places
    from core.training.tasks.train_classifier import train_classifier
    from core.training.tasks.train_regressor import train_regressor
    from stream_app.cli.trained_display import Screen
    from stream_app.cli.training_display import ending

    places = Places(weights)
    run["log_dir"] = run["log_dir"] or places.logs
    words = shlex.join(["caststream", *sys.argv[1:]])
    came: list[tuple[Trained, FinishedTargets]] = []

    def finish(trained: Trained) -> None:
        came.append((trained, finish_targets(declaration, trained, places, words)))

    if classifies := declaration.training.learn == "classify":
        require("sklearn")
    train: Any = train_classifier if classifies else train_regressor
    with Screen() as screen:
        told = {"on_read": screen.phase("reading"), "on_progress": screen.training, "on_note": say}
        done = train(declaration, data, places, settings, then=finish, **told, **run)
    typer.echo(ending(done, weights), err=True)
    for trained, finished in came:
        for line in done_lines(declaration, trained, finished, places):
            typer.echo(line, err=True)
    if done.reason == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)


def done_lines(declaration: Declaration, trained: Trained, finished: FinishedTargets, places: Places) -> Iterator[str]:
    """Say what came of a training, the tables that the task file has now, and what to type next."""
    yield from _quality(trained)
    path = declaration.path
    yield f"{path} has these tables now:"
    for name, lines in finished.tables.items():
        yield from (f"  [{name}]", *(f"  {line}" for line in lines))
    if finished.ranges:
        yield f"and what is normal of the fields {', '.join(finished.ranges)}, from what was learnt from"
    yield f"written: {places.weights}, {places.example.name}, the card {places.card.name}"
    name = shlex.quote(str(path))
    yield "next:"
    yield f"  caststream task check {name}"
    yield f"  caststream topics create --tasks {name}"
    yield f"  caststream worker --tasks {name}"


def _quality(trained: Trained) -> Iterator[str]:
    from core.training.tasks.target_cards import classifier_doubts, regressor_doubts
    from core.training.tasks.train_classifier import TrainedClassifier

    if isinstance(trained, TrainedClassifier):
        last, doubts = trained.figures["last"], classifier_doubts(trained.figures)
        others = ", ".join(f"{name} {each:.3g}" for name, each in trained.figures["baselines"].items())
        yield (
            f"on {last['count']:,} held-out sequences: balanced accuracy {last['balanced_accuracy']:.3g} of their last "
            f"windows ({others}), {trained.figures['all']['balanced_accuracy']:.3g} of all windows"
        )
    else:
        doubts = regressor_doubts(trained.figures)
        for each in trained.figures:
            known = "" if each["last_rmse"] is None else f", of the last known value {each['last_rmse']:.3g}"
            yield (
                f"{each['target']}, {each['count']:,} held-out values: RMSE {each['rmse']:.3g} (of the mean "
                f"{each['mean_rmse']:.3g}{known})"
            )
    yield from (f"warning: {line.replace('**', '')}" for line in doubts)
