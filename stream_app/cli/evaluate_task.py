"""``caststream evaluate FILE.toml DATA``."""

# Typer reads the annotations of the commands as objects, so they are not postponed here.
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_app.cli.options import (
    ColumnNamesOption,
    DecimalSignOption,
    FiguresAsJsonOption,
    HistoryArgument,
    SamplingRateOption,
    command,
    say,
)

if TYPE_CHECKING:
    from core.reports.evaluate import Evaluation
    from stream_app.settings import Settings

PACKAGES = ("matplotlib", "sklearn")
SHOWN_ALARMS = 20
NAME_WIDTH = 18  # the table of detectors fits into 80 columns


def evaluate_file_command(group: typer.Typer, name: str) -> None:
    """Add the evaluation of a task file as the command ``name``."""

    @command(
        group,
        name,
        settings=("data_dir", "max_state_bytes"),
        example=f"caststream evaluate {name} history.csv --false-alarms 1/week",
    )
    def evaluate_task_model(
        settings: "Settings",
        data: HistoryArgument,
        truth: Annotated[
            str | None,
            typer.Option(
                help="The column or dataset of 0 and 1 that marks anomalies; by default `anomaly`, if it is there.",
                show_default=False,
            ),
        ] = None,
        false_alarms: Annotated[
            str | None,
            typer.Option(
                metavar="NUMBER/TIME",
                help="False alarms per stream that are accepted, as 1/week: chooses the threshold on this file.",
                show_default=False,
            ),
        ] = None,
        score: Annotated[
            str | None, typer.Option(help="The output that is the anomaly score.", show_default=False)
        ] = None,
        history: Annotated[
            Path | None,
            typer.Option(
                help="A file that the simple detectors are fitted on; by default the first 30 % of each sequence.",
                show_default=False,
            ),
        ] = None,
        out: Annotated[
            Path | None,
            typer.Option(
                "--out",
                "-o",
                help="The folder of the report and its pictures; by default evaluation-NAME.",
                show_default=False,
            ),
        ] = None,
        pictures: Annotated[int, typer.Option(min=0, help="Pictures of alarms, at most.")] = 20,
        column: ColumnNamesOption = None,
        decimal: DecimalSignOption = None,
        sampling_rate: SamplingRateOption = None,
        as_json: FiguresAsJsonOption = False,
    ) -> None:
        """Judge the anomaly scores of this task on a file. If the file marks its anomalies (column `anomaly`), the
        model is compared with simple detectors; else the alarms that it would have raised are listed. Writes a report.
        """
        from core.data.csv.import_csv import fields_of
        from core.data.csv.names import parse_renamed
        from core.data.outputs import keep_inputs
        from core.reports.evaluate import Choices, evaluate_task
        from core.reports.pictures import write_pictures
        from core.reports.words import as_json as figures_of
        from core.reports.words import page
        from core.tasks.reading import read_declaration
        from core.training.extras import require
        from core.training.tasks.history import HistoryOptions
        from core.whole_file import whole_file
        from core.wish import wish_per_week
        from stream_app.cli.progress import phases
        from stream_app.offline import step_model

        for package in PACKAGES:
            require(package)
        declaration = read_declaration(Path(name))
        wish = None if false_alarms is None else wish_per_week(false_alarms)
        options = HistoryOptions(parse_renamed(column or [], fields_of(declaration)), decimal, sampling_rate)
        folder = out or Path(f"evaluation-{declaration.name}")
        report = folder / "report.md"
        keep_inputs([report, folder / "false-alarms.png"], [data, declaration.path, history])
        choices = Choices(truth, wish, score, history, options)
        with phases() as phase:
            done = evaluate_task(
                data, declaration, lambda: step_model(settings, declaration), choices, say, phase("evaluating")
            )
        written = write_pictures(done, folder, pictures)
        with whole_file(report) as partial:
            partial.write_text(page(done, written), encoding="utf-8")
        if as_json:
            typer.echo(json.dumps(figures_of(done)))
        else:
            _show(done)
        say(f"{report} and {len(written)} pictures are written")


def _show(done: "Evaluation") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from core.reports.words import DETECTOR_COLUMNS, alarm_columns, alarm_rows, detector_rows, first_lines

    console = Console()
    for line in (*first_lines(done), *done.notes):
        console.print(escape(line), highlight=False, soft_wrap=True)
    if done.detectors:
        table = Table(box=None, padding=(0, 1, 0, 0))
        name, *numbers = DETECTOR_COLUMNS
        table.add_column(name, max_width=NAME_WIDTH, overflow="fold")
        for each in numbers:
            table.add_column(each.replace(" ", "\n"), justify="right", no_wrap=True)
        for row in detector_rows(done.detectors):
            table.add_row(*map(escape, row))
        console.print(table)
    if done.alarms:
        columns = alarm_columns(done)
        shown = [place for place, each in enumerate(columns) if each != "end"]  # what lasts says; 80 columns are few
        table = Table(*(columns[place] for place in shown), box=None, padding=(0, 2, 0, 0))
        for column in table.columns:
            column.overflow = "fold"
        for row in alarm_rows(done, SHOWN_ALARMS):
            table.add_row(*(escape(row[place]) for place in shown))
        console.print(table)
    if len(done.alarms) > SHOWN_ALARMS:
        console.print(f"{len(done.alarms) - SHOWN_ALARMS:,} more alarms are in the report", highlight=False)
