"""The run of ``caststream train FILE.toml HISTORY`` for a task that learns targets, or labels of sequences."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import typer

from stream_app.cli.options import say
from stream_app.exits import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from pathlib import Path

    from core.tasks.declaration import Declaration
    from core.training.config import TaskSettings
    from core.training.tasks.task_file import WrittenTables
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
    from stream_app.cli.trained_lines import targets_lines
    from stream_app.cli.training_display import ending

    places = Places(weights)
    run["log_dir"] = run["log_dir"] or places.logs
    words = shlex.join(["caststream", *sys.argv[1:]])
    came: list[tuple[Trained, WrittenTables]] = []

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
        for line in targets_lines(declaration, trained, finished, places):
            typer.echo(line, err=True)
    if done.reason == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)
