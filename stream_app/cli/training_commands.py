"""The commands that make and judge models: train, evaluate. They import what they need."""

# Typer reads the annotations of the commands as objects, so they are not postponed here.
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stream_app.cli.evaluate_task import evaluate_file_command
from stream_app.cli.options import (
    MACHINE_OPTIONS,
    ConfigOption,
    FiguresAsJsonOption,
    command,
    file_commands,
    say,
)
from stream_app.cli.train_task import train_file_command
from stream_app.exits import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from stream_app.settings import Settings

# A training that ends in an error of import would have been for nothing.
PACKAGES = ("torch", "matplotlib", "scipy", "sklearn", "torch.utils.tensorboard")

_JUDGED_ON = {
    "signal": "the samples that training held out, which chose the best epoch",
    "defect": "the casts that training held out, half of which chose the best epoch and half the calibration",
}

train_app = typer.Typer(no_args_is_help=True, cls=file_commands(train_file_command))
evaluate_app = typer.Typer(no_args_is_help=True, cls=file_commands(evaluate_file_command))

SignalsArgument = Annotated[Path, typer.Argument(help="An HDF5 file of signals.", show_default=False)]
CastingsArgument = Annotated[Path, typer.Argument(help="An HDF5 file of castings.", show_default=False)]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="The checkpoint to write; beside it go its form for workers (.safetensors) and its card (.md).",
    ),
]
# Settings of both trainings.
TRAINING_OPTIONS = {
    "epochs": Annotated[
        int | None,
        typer.Option(help="Passes over the file, at most. Default: 10 for signals, 12 for casts.", show_default=False),
    ],
    "batch_size": Annotated[int | None, typer.Option(help="Rows of a batch. Default: 64.", show_default=False)],
    "learning_rate": Annotated[
        float | None,
        typer.Option(
            help="The highest learning rate of the schedule. Default: 0.0001 for signals, 0.002 for casts.",
            show_default=False,
        ),
    ],
    **MACHINE_OPTIONS,
    "max_minutes": Annotated[
        float | None, typer.Option(help="Minutes after which training ends. Default: no limit.", show_default=False)
    ],
}
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue where the training of this checkpoint was interrupted.")
]
LogDirOption = Annotated[
    Path | None,
    typer.Option(help="Logs for TensorBoard; by default NAME-logs beside the checkpoint NAME.", show_default=False),
]
ValidationOption = Annotated[
    Path | None, typer.Option(help="Casts to hold out; by default the last fifth of the file.", show_default=False)
]
CheckpointOption = Annotated[
    Path | None, typer.Option(help="The model; by default that of the settings.", show_default=False)
]
PlotsOption = Annotated[Path, typer.Option(help="The folder that the plots go to.")]


def add_training_commands(app: typer.Typer) -> None:
    """Add ``train`` and ``evaluate`` to the command line."""
    app.add_typer(train_app, name="train", help="Train a model on a file. COMMAND may be a task file.")
    judged = "Measure a model on a file, beside limits and baselines. COMMAND may be a task file."
    app.add_typer(evaluate_app, name="evaluate", help=judged)


@command(
    train_app,
    "signal",
    example="caststream train signal train.h5 --out plant.pt --max-minutes 30",
    given=TRAINING_OPTIONS,
)
def train_signal_model(
    file: SignalsArgument,
    out: OutOption = Path("signal.pt"),
    config: ConfigOption = None,
    *,
    given: dict[str, Any],
    resume: ResumeOption = False,
    log_dir: LogDirOption = None,
) -> None:
    """Train the signal model. The file's last rows are held out and judge it. Ctrl-C keeps the best model so far."""
    _train("signal", file, out, config, given, resume=resume, log_dir=log_dir)


@command(train_app, "defect", given=TRAINING_OPTIONS, example="caststream train defect casts.h5 --out plant.pt")
def train_defect_model(
    file: CastingsArgument,
    out: OutOption = Path("defect.pt"),
    config: ConfigOption = None,
    validation: ValidationOption = None,
    *,
    given: dict[str, Any],
    resume: ResumeOption = False,
    log_dir: LogDirOption = None,
) -> None:
    """Train the defect model. Casts held out calibrate and judge it. Ctrl-C keeps the best model so far."""
    _train("defect", file, out, config, given, resume=resume, log_dir=log_dir, validation=validation)


def _train(
    kind: Literal["signal", "defect"], file: Path, out: Path, config: Path | None, given: dict[str, Any], **rest: Any
) -> None:
    """Train, judge, write the card. A training that was interrupted ends with its checkpoint."""
    _require(*PACKAGES)

    from core.data.outputs import keep_inputs
    from core.training.card import write_card
    from core.training.config import read_settings
    from core.training.snapshot import beside, files_of, for_workers
    from stream_app.cli.progress import phases
    from stream_app.cli.training_display import doubt, ending, summary, training_display

    keep_inputs(files_of(out), [file, rest.get("validation"), config])
    settings = read_settings(kind, config, **given)
    rest["log_dir"] = rest["log_dir"] or beside(out, "-logs")
    with training_display() as told:
        done = _trainer(kind)(file, out, settings, on_progress=told, on_note=say, **rest)
    typer.echo(ending(done, out), err=True)
    if done.reason == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)
    with phases() as phase:
        report = _judge(kind, file, out, rest.get("validation"), settings.device, phase("judging"))
    card, model = beside(out, ".md"), for_workers(out)
    words = shlex.join(["caststream", *sys.argv[1:]])
    write_card(card, out, report, kind=kind, command=words, judged_on=_JUDGED_ON[kind], fitted=done)
    typer.echo(summary(kind, report), err=True)
    if poor := doubt(kind, report):
        say(poor)
    line = f"{out} and its card {card} are written; run it: caststream worker --{kind}-checkpoint {model}"
    typer.echo(line, err=True)


def _require(*packages: str) -> None:
    """Raise StartupError for a package of the extra ``train`` that is missing, before anything else is imported."""
    from core.training.extras import require

    for package in packages:
        require(package)


def _trainer(kind: str) -> Any:
    from core.training.defect import train_defect
    from core.training.signal import train_signal

    return train_signal if kind == "signal" else train_defect


def _judge(kind: str, file: Path, out: Path, validation: Path | None, device: str, told: Any) -> dict[str, Any]:
    """The figures on the held-out rows."""
    from core.training.held_out import judge_defect, judge_signal

    if kind == "signal":
        return judge_signal(file, out, device, told).figures
    return judge_defect(file, out, validation, device, told).figures


@command(
    evaluate_app,
    "signal",
    settings=("device",),
    example="caststream evaluate signal test.h5 --checkpoint plant.pt --json",
)
def evaluate_signal_model(
    settings: "Settings",
    file: SignalsArgument,
    checkpoint: CheckpointOption = None,
    plots: PlotsOption = Path("evaluation-signal"),
    max_samples: Annotated[
        int | None, typer.Option(min=1, help="Only this many, from the first on.", show_default=False)
    ] = None,
    as_json: FiguresAsJsonOption = False,
) -> None:
    """Measure a signal model as the stream runs it, beside a Kalman filter and a band-pass, with plots."""
    _require("torch")

    from core.data.outputs import keep_inputs
    from core.models.shipped import checkpoint_path
    from core.training.evaluate_signal import evaluate_signal
    from core.training.plots import PLOTS, write_signal_plots
    from stream_app.cli.progress import phases
    from stream_app.cli.training_display import signal_table

    chosen = checkpoint or settings.signal_checkpoint or checkpoint_path("signal")
    keep_inputs([plots / f"{name}.png" for name in PLOTS["signal"]], [file, chosen])
    with phases() as phase:
        report = evaluate_signal(
            file, chosen, device=settings.device, max_samples=max_samples, on_progress=phase("evaluating"), on_note=say
        )
    _show(report.figures, signal_table, as_json)
    written = write_signal_plots(report, plots)
    typer.echo(f"{len(written)} plots are in {plots}", err=True)


@command(
    evaluate_app,
    "defect",
    settings=("device", "window_length", "window_min", "hop"),
    example="caststream evaluate defect test.h5 --checkpoint plant.pt --json",
)
def evaluate_defect_model(
    settings: "Settings",
    file: CastingsArgument,
    checkpoint: CheckpointOption = None,
    plots: PlotsOption = Path("evaluation-defect"),
    baseline: Annotated[
        Path | None,
        typer.Option(help="Casts that the baselines learn from; by default generated ones.", show_default=False),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Threshold of an alarm; by default the checkpoint's.", show_default=False),
    ] = None,
    as_json: FiguresAsJsonOption = False,
) -> None:
    """Measure a defect model by its scores as the stream publishes them, beside limits and baselines, with plots."""
    _require("torch")

    from core.data.outputs import keep_inputs
    from core.models.shipped import checkpoint_path
    from core.training.evaluate_defect import evaluate_defect
    from core.training.plots import PLOTS, write_defect_plots
    from stream_app.cli.progress import phases
    from stream_app.cli.training_display import defect_table
    from stream_app.rules import window_rules

    chosen = checkpoint or settings.defect_checkpoint or checkpoint_path("defect")
    keep_inputs([plots / f"{name}.png" for name in PLOTS["defect"]], [file, chosen, baseline])
    with phases() as phase:
        report = evaluate_defect(
            file,
            chosen,
            device=settings.device,
            rules=window_rules(settings),
            baseline=baseline,
            threshold=threshold,
            on_progress=phase("evaluating"),
            on_note=say,
        )
    _show(report.figures, defect_table, as_json)
    written = write_defect_plots(report, plots)
    typer.echo(f"{len(written)} plots are in {plots}", err=True)


def _show(figures: dict[str, Any], table: "Callable[[dict[str, Any]], Table]", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        from rich.console import Console

        Console().print(table(figures))
