"""The command that audits a system: verify. It imports what it needs."""

# Typer reads the annotations of the commands as objects, so they are not postponed here.
import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import StartupError
from stream_app.cli.options import KAFKA, command, say
from stream_app.exits import EXIT_FAILED

if TYPE_CHECKING:
    from stream_app.settings import Settings
    from stream_app.verify import VerifyReport

# What decides which outputs are right: they must be those of the workers.
RULES = ("window_length", "window_min", "hop", "gap_policy", "max_gap", "max_step_jump", "idle_timeout")
MODELS = ("signal_checkpoint", "defect_checkpoint", "device")


def add_audit_commands(app: typer.Typer) -> None:
    """Add ``verify`` to the command line."""
    command(
        app,
        "verify",
        settings=(*KAFKA, "app_id", "topic_prefix", "tasks", *MODELS, *RULES),
        example="caststream verify --since 10m --stream press-7",
    )(verify_system)


def verify_system(
    settings: "Settings",
    stream: Annotated[
        list[str] | None, typer.Option(help="Audit only this stream; repeatable.", metavar="NAME", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only records appended since then: 2026-11-30T14:00 (UTC), or how long ago, as 90m, 2h, 3d. A stream "
            "counts from where it certainly starts again.",
            metavar="TIME",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only records appended before; as --since.", metavar="TIME", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object on stdout.")] = False,
) -> None:
    """Audit a system, running or stopped: outputs, dead letters and states against the models run offline.

    Nothing is written and no worker is disturbed. The settings must be the workers' own. Exit status 1 if anything is
    missing, repeated or different, or if nothing could be compared.
    """
    from stream_app.cli.progress import phases
    from stream_app.cli.since import since_ms
    from stream_app.clients.access import check_access
    from stream_app.verify import verify

    now_ms = time.time_ns() // 1_000_000
    begin_ms = None if since is None else since_ms(since, now_ms)
    end_ms = None if until is None else since_ms(until, now_ms)
    if begin_ms is not None and end_ms is not None and begin_ms >= end_ms:
        raise StartupError(f"--since {since} is not before --until {until}")
    check_access(settings.client_config())
    with phases() as phase:
        report = verify(
            settings,
            streams=stream or None,
            since_ms=begin_ms,
            until_ms=end_ms,
            on_progress=phase("verifying"),
        )
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    for line in lines(report):
        say(line)
    if not report.ok:
        raise typer.Exit(EXIT_FAILED)


def lines(report: "VerifyReport") -> list[str]:
    """Return the report as lines for a person."""
    looked_at = (
        f"{report.records:,} records were read; {report.outputs:,} outputs, {report.dead_letters:,} dead letters and "
        f"{report.states:,} states were compared with the offline run"
    )
    found = [looked_at, *(f"caststream: {problem}" for problem in report.problems)]
    found += [f"  {example}" for example in report.examples]
    if report.pending:
        found.append(f"{report.pending:,} of the records were not committed yet: their outputs may be there or not")
    if report.not_judged:
        found.append(
            f"{report.not_judged:,} streams could not be judged, and none of their outputs was compared: they begin "
            "before what was read, and do not certainly start again in it (with a new sequence, or behind a pause "
            "longer than the idle timeout); an earlier --since, or none, reads more"
        )
    if not report.compared:
        found.append("caststream: nothing was compared")
    elif report.ok:
        what = "everything agrees" if not report.not_judged else "what was compared agrees"
        found.append(f"{what}; the largest difference is {report.max_abs_diff:.1e}")
    return found
