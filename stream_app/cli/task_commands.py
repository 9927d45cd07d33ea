"""``caststream task``."""

# Typer reads the annotations of the commands as objects, so they are not postponed here.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stream_app.cli.options import HELP, command, say

if TYPE_CHECKING:
    from stream_app.settings import Settings

task_app = typer.Typer(no_args_is_help=True, context_settings=HELP)

TaskArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME|FILE]",
        help="signal, casting or a task file; by default the tasks that ship.",
        show_default=False,
    ),
]


@command(
    task_app, "describe", settings=("app_id", "topic_prefix"), example="caststream task describe casting --asyncapi"
)
def task_describe(
    settings: "Settings",
    task: TaskArgument = None,
    asyncapi: Annotated[
        bool, typer.Option("--asyncapi", help="Print an AsyncAPI 3 document, with the JSON Schema of all records.")
    ] = False,
) -> None:
    """Show the topics, fields and outputs of a task, for those who send its samples or read its outputs."""
    import json

    from core.tasks.reading import SHIPPED, find_declaration
    from core.wire.schema import asyncapi as document
    from stream_app.cli.task_display import described

    tasks = [find_declaration(each, need_files=False) for each in ([task] if task else SHIPPED)]
    if asyncapi:
        typer.echo(json.dumps(document(tasks, settings.topic), indent=2, ensure_ascii=False))
        return
    typer.echo("\n\n".join("\n".join(described(each, settings)) for each in tasks))


@command(task_app, "new", example="caststream task new pump --from history.csv")
def task_new(
    name: Annotated[str, typer.Argument(help="Name of the task; NAME.toml is written.", show_default=False)],
    source: Annotated[
        Path,
        typer.Option(
            "--from", help="A CSV with a header, a Parquet, Feather or HDF5 file, or an ONNX model.", show_default=False
        ),
    ],
) -> None:
    """Draft a task file in this directory, with the fields of a file of samples or of an ONNX model.

    An existing file is not overwritten. Read the draft through: each line says what it is for.
    """
    from core.drafts.draft import check_task_name, write_draft
    from core.drafts.sources import draft_of

    check_task_name(name)
    path = Path(f"{name}.toml")
    draft = draft_of(source, Path())
    write_draft(name, draft, path)
    after = f"task check {path}" if draft.model else f"train {path} {source}"
    say(f"wrote {path}: read it through, then `caststream {after}`")


@command(task_app, "convert", example="caststream task convert plant.pt --out plant.safetensors")
def task_convert(
    file: Annotated[Path, typer.Argument(help="A model file of PyTorch.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write; by default FILE with the ending .safetensors.", show_default=False),
    ] = None,
) -> None:
    """Convert a model file of PyTorch to safetensors, which a worker reads without PyTorch and with 500 MB less memory.

    The weights and what is stored beside them stay the same. PyTorch must be installed here. An existing file is not
    overwritten.
    """
    from core.errors import StartupError
    from core.models.packed import SUFFIX
    from core.training.extras import require

    written = file.with_suffix(SUFFIX) if out is None else out
    if written.suffix != SUFFIX:
        raise StartupError(f"{written} does not end in {SUFFIX}")
    require("core.models.convert").convert(file, written)
    say(f"wrote {written}")


@command(task_app, "export-help", example="caststream task export-help torch")
def task_export_help(
    framework: Annotated[Literal["torch", "keras"], typer.Argument(help="The framework.", show_default=False)],
) -> None:
    """Print the lines that export a recurrent model to ONNX so that its state is carried correctly."""
    from stream_app.cli.export_help import EXPORTS

    typer.echo(EXPORTS[framework], nl=False)


@command(
    task_app,
    "check",
    settings=("max_state_bytes", "commit_interval", "data_dir"),
    example="caststream task check pump.toml --data history.h5",
)
def task_check(
    settings: "Settings",
    task: Annotated[Path, typer.Argument(metavar="FILE", help="The task file.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(
            help="An HDF5 file with a dataset for each field: its samples are tried in place of noise.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check the model of a task before it runs: names, states, fields, batches, and the example.

    A model that would give wrong outputs is refused, with what to do, and the exit status is 2. Findings are kept in
    the data directory: a check without `--data` runs again when the task, the model or this machine has changed.
    """
    from core.tasks.check.run import check_task
    from core.tasks.reading import read_declaration
    from stream_app.cli.task_findings import found

    name = read_declaration(task).name
    checked = check_task(task, settings.checks_dir, data, state_bytes=settings.max_state_bytes)
    for line in found(name, checked, settings.commit_interval):
        typer.echo(line)
