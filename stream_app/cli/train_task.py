"""``caststream train FILE.toml HISTORY``."""

# Typer reads the annotations of the commands as objects, so they are not postponed here.
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_app.cli.options import (
    MACHINE_OPTIONS,
    ColumnNamesOption,
    ConfigOption,
    DecimalSignOption,
    HistoryArgument,
    SamplingRateOption,
    command,
    say,
)
from stream_app.cli.train_targets import train_targets
from stream_app.exits import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from core.tasks.declaration import Declaration
    from core.training.config import TaskSettings

# A training that ends in an error of import would have been for nothing.
PACKAGES = ("torch", "matplotlib", "torch.utils.tensorboard")

TASK_OPTIONS = {
    "epochs": Annotated[int | None, typer.Option(help="Passes over the file, at most. Default: 1,000.")],
    "batch_size": Annotated[int | None, typer.Option(help="Rows of a batch, at most. Default: 32.")],
    "learning_rate": Annotated[float | None, typer.Option(help="The first learning rate. Default: 0.003.")],
    **MACHINE_OPTIONS,
    "max_minutes": Annotated[float | None, typer.Option(help="Minutes after which training ends. Default: 3.")],
}


def train_file_command(group: typer.Typer, name: str) -> None:
    """Add the training of a task file as the command ``name``."""

    @command(group, name, example=f"caststream train {name} history.csv", given=TASK_OPTIONS)
    def train_task_model(
        data: HistoryArgument,
        out: Annotated[
            Path | None,
            typer.Option(
                "--out",
                "-o",
                help="The weights to write; by default NAME.safetensors beside the task file.",
                show_default=False,
            ),
        ] = None,
        config: ConfigOption = None,
        *,
        given: dict[str, Any],
        column: ColumnNamesOption = None,
        decimal: DecimalSignOption = None,
        sampling_rate: SamplingRateOption = None,
        resume: Annotated[bool, typer.Option("--resume", help="Continue where this training was interrupted.")] = False,
        false_alarms: Annotated[
            str | None,
            typer.Option(
                metavar="NUMBER/TIME",
                help="False alarms per stream that are accepted, as 0.5/day; by default as [train] says, else 1/week.",
                show_default=False,
            ),
        ] = None,
        log_dir: Annotated[
            Path | None,
            typer.Option(help="Logs for TensorBoard; by default NAME-logs beside the weights.", show_default=False),
        ] = None,
    ) -> None:
        """Train a model of this task on a history. Without labels it learns what is normal; the task's table [train]
        can choose targets of each sample, or labels of sequences, instead. Ctrl-C keeps the best model so far.
        """
        from core.data.csv.import_csv import fields_of
        from core.data.csv.names import parse_renamed
        from core.tasks.reading import read_to_train
        from core.training.config import read_settings
        from core.training.extras import require
        from core.training.tasks.history import HistoryOptions
        from core.wish import wish_per_week

        for package in PACKAGES:
            require(package)
        path = Path(name)
        weights = out or path.with_name(f"{path.stem}.safetensors")
        declaration = read_to_train(path, weights)
        options = HistoryOptions(parse_renamed(column or [], fields_of(declaration)), decimal, sampling_rate)
        per_week = declaration.training.false_alarms if false_alarms is None else wish_per_week(false_alarms)
        run = {"options": options, "resume": resume, "log_dir": log_dir}
        chosen = read_settings("task", config, **given)
        if declaration.training.learn == "forecast":
            _train(declaration, data, weights, per_week, chosen, run)
        else:
            train_targets(declaration, data, weights, chosen, run)


def _train(
    declaration: "Declaration",
    data: Path,
    weights: Path,
    per_week: float,
    settings: "TaskSettings",
    run: dict[str, Any],
) -> None:
    from core.training.tasks.card import write_card
    from core.training.tasks.finish import Finished, finish
    from core.training.tasks.places import Places
    from core.training.tasks.plots import write_training_plots
    from core.training.tasks.train import train_forecaster
    from core.training.tasks.trained import Trained
    from stream_app.cli.trained_display import Screen
    from stream_app.cli.trained_lines import forecaster_lines
    from stream_app.cli.training_display import ending

    places = Places(weights)
    run["log_dir"] = run["log_dir"] or places.logs
    came: list[tuple[Trained, Finished]] = []

    with Screen() as screen:

        def judge(trained: Trained) -> None:
            told = screen.phase("judging")
            finished = finish(declaration, trained, places, per_week=per_week, on_progress=told)
            came.append((trained, finished))
            write_training_plots(places.plots, trained, finished)
            write_card(places.card, trained, finished, places, shlex.join(["caststream", *sys.argv[1:]]))

        reading = screen.phase("reading")
        done = train_forecaster(
            declaration,
            data,
            places,
            settings,
            on_read=reading,
            on_progress=screen.training,
            on_note=say,
            then=judge,
            **run,
        )
    typer.echo(ending(done, weights), err=True)
    for trained, finished in came:
        for line in forecaster_lines(declaration, data, trained, finished, places):
            typer.echo(line, err=True)
    if done.reason == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)
