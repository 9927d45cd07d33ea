"""``caststream send`` and ``caststream tail``: of the tasks that ship, and of task files."""

# Typer reads the annotations of the commands as objects, so they are not postponed here.
from typing import TYPE_CHECKING, Annotated

import typer

from stream_app.cli.options import (
    HELP,
    KAFKA,
    ColumnNamesOption,
    CountOption,
    DecimalSignOption,
    FromBeginningOption,
    JsonLinesOption,
    command,
    file_commands,
    say,
)
from stream_app.exits import EXIT_FAILED, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from replay.send import SendSummary
    from stream_app.settings import Settings

SEND_SETTINGS = (*KAFKA, "topic_prefix")
StreamOption = Annotated[
    str | None, typer.Option(help="The stream of lines that have no field 'stream'.", show_default=False)
]
SkipBadOption = Annotated[bool, typer.Option("--skip-bad", help="Bad lines do not make the exit status 1.")]
RateOption = Annotated[float | None, typer.Option(help="Records per second, at most.", show_default=False)]


def send_command(group: typer.Typer, name: str, example: str) -> None:
    """Add the command that sends samples of a task: of one that ships, or of the task file ``name``."""

    def send_lines(
        settings: "Settings",
        stream: StreamOption = None,
        rate: RateOption = None,
        column: ColumnNamesOption = None,
        decimal: DecimalSignOption = None,
        skip_bad: SkipBadOption = False,
    ) -> None:
        from core.data.csv.names import parse_renamed
        from core.tasks.reading import find_declaration
        from replay.line_names import LineNames
        from replay.send import send
        from stream_app.cli.faulty_lines import FaultyLines
        from stream_app.clients.access import check_access
        from stream_app.routes import route_of

        task = find_declaration(name, need_files=False)
        renamed = parse_renamed(column or [], LineNames.of(task).nameable)
        check_access(settings.client_config())

        bad = FaultyLines(say)
        done: SendSummary = send(
            task,
            client_config=settings.client_config(),
            topic=route_of(settings, task).source,
            stream=stream,
            rate=rate,
            renamed=renamed,
            decimal=decimal,
            on_bad=bad.tell,
            on_notice=say,
        )
        bad.end()
        say(f"{'stopped' if done.interrupted else 'done'}: {done.sent:,} records sent, {done.bad:,} bad lines")
        if done.interrupted:
            raise typer.Exit(EXIT_INTERRUPTED)
        if done.bad and not skip_bad:
            raise typer.Exit(EXIT_FAILED)

    send_lines.__doc__ = (
        f"Send samples of {name}: JSON lines or CSV with a header. "
        "A bad line is reported and skipped; exit status 1 then."
    )
    command(group, name, settings=SEND_SETTINGS, example=example)(send_lines)


def tail_command(group: typer.Typer, name: str, what: str) -> None:
    """Add the command that shows a topic: one of those that ship, or the outputs of the task file ``name``."""

    def follow(
        settings: "Settings",
        as_json: JsonLinesOption = False,
        from_beginning: FromBeginningOption = False,
        count: CountOption = None,
    ) -> None:
        from stream_app.cli.tail import follow_on_screen, topic_of

        kind, topic = topic_of(settings, name)
        follow_on_screen(settings, kind, topic, as_json=as_json, from_beginning=from_beginning, count=count)

    follow.__doc__ = f"Show {what} as they come, until Ctrl-C."
    command(group, name, settings=SEND_SETTINGS, example=f"caststream tail {name} --json --count 10")(follow)


def _send_file(group: typer.Typer, name: str) -> None:
    send_command(group, name, f"caststream send {name} --stream press-7 < samples.jsonl")


def _tail_file(group: typer.Typer, name: str) -> None:
    tail_command(group, name, f"the outputs of {name}")


send_app, tail_app = (
    typer.Typer(no_args_is_help=True, context_settings=HELP, cls=file_commands(add)) for add in (_send_file, _tail_file)
)

send_command(send_app, "signal", "caststream send signal --stream press-7 < samples.jsonl")
send_command(send_app, "casting", "mosquitto_sub -t caster/1 | caststream send casting --stream strand-1")
tail_command(tail_app, "predictions", "the predictions of the signal model")
tail_command(tail_app, "scores", "the defect probabilities of the casts")
