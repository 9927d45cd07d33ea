"""``caststream import`` and ``caststream import-csv``."""

# Typer reads the annotations of the commands as objects, so they are not postponed here.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stream_app.cli.options import (
    ColumnNamesOption,
    DecimalSignOption,
    SamplingRateOption,
    SkipBadLinesOption,
    command,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.data.csv.casts import CastSummary
    from core.data.csv.import_csv import ImportOptions, ImportSummary
    from core.data.csv.signals import SignalSummary
    from core.data.csv.tasks import TaskSummary


def add_import_commands(app: typer.Typer) -> None:
    """Add ``import-csv`` and ``import`` to the command line."""
    command(app, "import-csv", example="caststream import-csv casts.csv casts.h5")(import_csv_file)
    command(app, "import", example="caststream import history.parquet history.h5 --task pump.toml")(import_file)


def import_csv_file(
    file: Annotated[Path, typer.Argument(help="A CSV of recordings, one sample on each line.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="The HDF5 file to write.", show_default=False)],
    task: Annotated[
        Literal["casting", "signal"] | None,
        typer.Option(help="Task of the recordings; by default the columns decide.", show_default=False),
    ] = None,
    column: ColumnNamesOption = None,
    decimal: DecimalSignOption = None,
    skip_bad: SkipBadLinesOption = False,
    sampling_rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Sampling rate of signals in Hz; by default from their times.", show_default=False
        ),
    ] = None,
) -> None:
    """Turn a CSV of your own recordings into an HDF5 file for train, evaluate, predict and replay.

    Columns of casts: sequence (the cast), the five sensors, and, if there are any, step, timestamp_ms or timestamp,
    label, defect_probability, trigger. Of signals: signal, c1 to c4, and, if there are any, sequence, step,
    timestamp_ms or timestamp, target.
    """
    from core.data.csv.import_csv import FIELDS, ImportOptions
    from core.data.csv.names import parse_renamed

    renamed = parse_renamed(column or [], FIELDS)
    _import(file, out, ImportOptions(task, renamed, decimal, skip_bad, sampling_rate))


def import_file(
    file: Annotated[
        Path, typer.Argument(help="A CSV, Parquet or Feather file, one sample on each line.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(help="The HDF5 file to write.", show_default=False)],
    task: Annotated[
        str | None,
        typer.Option(
            help="signal, casting or a task file; by default the columns decide between the two.", show_default=False
        ),
    ] = None,
    column: ColumnNamesOption = None,
    decimal: DecimalSignOption = None,
    skip_bad: SkipBadLinesOption = False,
    sampling_rate: SamplingRateOption = None,
) -> None:
    """Turn a table of your own recordings into an HDF5 file of a task, for predict, replay and task check.

    Columns: those of the task's fields (`caststream task describe` shows them), and, if there are any, stream,
    sequence, step, and timestamp_ms or timestamp. Those of signal and casting are as `import-csv` has them. Parquet
    and Feather need the extra `tables`.
    """
    from core.data.csv.import_csv import ImportOptions, fields_of
    from core.data.csv.names import parse_renamed
    from core.tasks.reading import SHIPPED, find_declaration

    declared = None if task is None else find_declaration(task, need_files=False)
    own = None if declared is None or declared.name in SHIPPED else declared
    shipped: Any = declared.name if declared is not None and own is None else None
    renamed = parse_renamed(column or [], fields_of(own))
    _import(file, out, ImportOptions(shipped, renamed, decimal, skip_bad, sampling_rate, own))


def _import(file: Path, out: Path, options: "ImportOptions") -> None:
    from core.data.csv.import_csv import import_csv
    from stream_app.cli.progress import phases

    notices: list[str] = []
    try:
        with phases() as phase:
            done = import_csv(file, out, phase("reading"), options, notices.append)
    except BaseException:
        for notice in notices:
            say(notice)
        raise
    for line in (*_what_was_written(done, out), *notices):
        say(line)
    if (skipped := done.left_out).lines:
        of = f", of {', '.join(skipped.sequences)}" if skipped.sequences else ""
        say(f"skipped {skipped.lines:,} {skipped.what}s that cannot be used{of}: {'; '.join(skipped.named)}")


def _what_was_written(done: "ImportSummary", out: Path) -> "Iterator[str]":
    from core.data.csv.casts import CastSummary
    from core.data.csv.signals import SignalSummary

    if isinstance(done, CastSummary):
        return _casts_written(done, out)
    return _signals_written(done, out) if isinstance(done, SignalSummary) else _samples_written(done, out)


def _samples_written(done: "TaskSummary", out: Path) -> "Iterator[str]":
    yield f"wrote {done.samples:,} samples of {done.sequences:,} sequences of task {done.task} to {out}"
    if not done.times and done.sampling_rate is None:
        yield "the file has no times and no sampling rate: 1 Hz is assumed; --sampling-rate says another"
    if done.lacking:
        yield f"{done.lacking:,} values are missing: the one before is held there"
    if done.gaps:
        yield f"{done.gaps:,} steps are missing inside sequences"


def _casts_written(done: "CastSummary", out: Path) -> "Iterator[str]":
    labels = f"{done.defective:,} defective, {done.good:,} good, {done.unknown:,} without a label"
    yield f"wrote {done.casts:,} casts of {done.samples:,} samples to {out}: {labels}"
    if done.short:
        yield f"{done.short:,} casts are too short for a score"
    if done.gaps:
        yield f"{done.gaps:,} steps are missing inside casts"


def _signals_written(done: "SignalSummary", out: Path) -> "Iterator[str]":
    targets = "with targets" if done.targets else "without targets: to predict and replay, not to train"
    yield f"wrote {done.rows:,} signals of {done.steps:,} samples to {out}, {targets}"
    if done.sampling_rate is None:
        yield "the file does not say its sampling rate: 1000 Hz is assumed; --sampling-rate says another"
    if done.gaps:
        yield f"{done.gaps:,} steps are missing inside sequences"
    if done.other_lengths:
        yield f"skipped, because they have another length: {', '.join(done.other_lengths[:20])}"
