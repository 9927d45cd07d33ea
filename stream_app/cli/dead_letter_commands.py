"""``caststream dead-letters`` and ``caststream tail dead-letters``."""

# Typer reads the annotations of the commands as objects, so they are not postponed here.
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import StartupError
from stream_app.cli.options import (
    HELP,
    KAFKA,
    CountOption,
    FromBeginningOption,
    JsonLinesOption,
    command,
    say,
)
from stream_app.exits import EXIT_FAILED

if TYPE_CHECKING:
    from stream_app.letters.corrections import Correction
    from stream_app.letters.dead_letters import ResendFate, ResendPlan, ResendVerdict
    from stream_app.letters.letter import Choice
    from stream_app.routes import Partition
    from stream_app.settings import Settings

RESEND_SETTINGS = (*KAFKA, "app_id", "topic_prefix", "tasks")
TAIL_SETTINGS = (*KAFKA, "topic_prefix")

OfTaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        help="Only dead letters of this task: signal, casting or a task file; repeatable.",
        show_default=False,
    ),
]
ReasonsOption = Annotated[
    list[str] | None, typer.Option("--reason", help="Only dead letters of this reason; repeatable.", show_default=False)
]
StreamNamesOption = Annotated[
    list[str] | None, typer.Option("--stream", help="Only dead letters of this stream; repeatable.", show_default=False)
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        help="Only dead letters since then: 2026-11-30T14:00 (UTC), or how long ago, as 90m, 2h, 3d.", metavar="TIME"
    ),
]
CorrectedOption = Annotated[
    Path | None,
    typer.Option(
        help="Corrected lines of `tail dead-letters --json`; only these are sent. - is standard input.",
        show_default=False,
    ),
]
EvenIfLateOption = Annotated[
    bool, typer.Option("--even-if-late", help="Also resend dead letters whose stream has already moved past them.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
LettersAsJsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per dead letter, on stdout.")]


def add_dead_letter_commands(app: typer.Typer, tail_app: typer.Typer) -> None:
    """Add the commands to the command line and to its group ``tail``."""
    group = typer.Typer(no_args_is_help=True, context_settings=HELP)
    app.add_typer(group, name="dead-letters", help="Send back the records that could not be used.")
    command(
        group,
        "resend",
        settings=RESEND_SETTINGS,
        example="caststream dead-letters resend --stream press-7 --corrected corrected.jsonl",
    )(resend)
    command(
        tail_app,
        "dead-letters",
        settings=TAIL_SETTINGS,
        example="caststream tail dead-letters --from-beginning --reason wrong_type --json",
    )(follow)


def follow(
    settings: "Settings",
    as_json: JsonLinesOption = False,
    from_beginning: FromBeginningOption = False,
    count: CountOption = None,
    reason: ReasonsOption = None,
    stream: StreamNamesOption = None,
    task: OfTaskOption = None,
) -> None:
    """Show the records that could not be used, with the reason, as they come, until Ctrl-C."""
    from stream_app.cli.tail import follow_on_screen, topic_of

    kind, topic = topic_of(settings, "dead-letters")
    choice = _choice(settings, reason, stream, None, task)
    follow_on_screen(settings, kind, topic, as_json=as_json, from_beginning=from_beginning, count=count, choice=choice)


def resend(
    settings: "Settings",
    reason: ReasonsOption = None,
    stream: StreamNamesOption = None,
    since: SinceOption = None,
    task: OfTaskOption = None,
    corrected: CorrectedOption = None,
    even_if_late: EvenIfLateOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: LettersAsJsonOption = False,
) -> None:
    """Send dead letters back to their topic and partition, after you have removed the cause.

    Skipped: dead letters already resent, those that were truncated, those that a worker would refuse again, and,
    without --even-if-late, those whose stream has moved past them. Exit status 1 if any was skipped or refused.
    """
    from stream_app.letters.dead_letters import make_plan
    from stream_app.letters.resend import Resender, overtaken

    choice = _choice(settings, reason, stream, since, task)
    corrections = None if corrected is None else _read_corrected(corrected, may_ask=not (yes or dry_run))
    plan = make_plan(settings, choice, corrections, even_if_late, on_wait=say)
    passed: list[ResendVerdict] = []
    told: list[str] = []
    if plan.to_send and not dry_run:
        if not yes:
            told = _lines(plan.verdicts)
            _say_all(told)
            _ask(plan, settings)
        sender = Resender(settings)  # from here on no other run can send
        plan = make_plan(settings, choice, corrections, even_if_late)
        passed = overtaken(settings, plan, sender.send(plan.to_send))
    if as_json:
        for verdict in plan.verdicts:
            typer.echo(_json(verdict))
    else:
        before = set(told)
        _say_all(line for line in _lines(plan.verdicts, dry_run) if line not in before)
    for verdict in passed:
        say(f"{_place(verdict)}: its stream moved past it while it was sent: check its outputs")
    counts = plan.counts()
    say(_summary(counts, dry_run))
    if passed or _left_out(counts):
        raise typer.Exit(EXIT_FAILED)


def _choice(
    settings: "Settings",
    reasons: list[str] | None,
    streams: list[str] | None,
    since: str | None,
    tasks: list[str] | None,
) -> "Choice":
    from core.tasks.reading import find_declaration
    from core.wire.records import REASONS
    from stream_app.cli.since import since_ms
    from stream_app.letters.letter import Choice
    from stream_app.routes import route_of

    for reason in reasons or []:
        if reason not in REASONS:
            raise StartupError(f"--reason {reason!r}: there is no such reason; the reasons are: {', '.join(REASONS)}")
    return Choice(
        frozenset(reasons or []),
        frozenset(streams or []),
        None if since is None else since_ms(since),
        frozenset(route_of(settings, find_declaration(name, need_files=False)).source for name in tasks or []),
    )


def _read_corrected(path: Path, may_ask: bool) -> "dict[tuple[Partition, int], Correction]":
    from stream_app.letters.corrections import read_corrections

    if str(path) == "-":
        if may_ask:
            raise StartupError(
                "--corrected - takes standard input, so it cannot answer a question: add --yes or --dry-run"
            )
        return read_corrections(sys.stdin.buffer, "standard input")
    try:
        with path.open("rb") as lines:
            return read_corrections(lines, str(path))
    except OSError as error:
        raise StartupError(f"{path}: cannot be read: {error.strerror}") from error


def _ask(plan: "ResendPlan", settings: "Settings") -> None:
    records = Counter(verdict.to[0] for verdict in plan.to_send)
    topics = ", ".join(f"{count:,} into {topic}" for topic, count in sorted(records.items()))
    typer.confirm(f"Send records on {settings.broker} again: {topics}?", abort=True, err=True)


def _lines(verdicts: "Iterable[ResendVerdict]", dry_run: bool = False) -> list[str]:
    """Write a line for each dead letter that stays, and in a dry run for each that would be sent too."""
    from stream_app.letters.dead_letters import ResendFate

    words = {ResendFate.LATE: "skipped: ", ResendFate.REFUSED: "refused: "}
    if dry_run:
        words |= {ResendFate.RESEND: "would be resent", ResendFate.RESENT: "resent before"}
    return [f"{_place(each)}: {words[each.fate]}{each.why}" for each in verdicts if each.fate in words]


def _say_all(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)


def _json(verdict: "ResendVerdict") -> str:
    import msgspec

    letter = verdict.letter
    fields = {
        "fate": verdict.fate.value,
        "why": verdict.why or None,
        "stream": letter.stream,
        "topic": letter.topic,
        "partition": letter.source_partition,
        "offset": letter.source_offset,
        "reason": letter.reason,
        "letter_partition": letter.partition,
        "letter_offset": letter.offset,
    }
    return msgspec.json.encode(fields).decode()


def _place(verdict: "ResendVerdict") -> str:
    from stream_app.cli.tail import source_text

    letter = verdict.letter
    return f"{source_text(letter)} (letter {letter.partition}/{letter.offset})"


def _summary(counts: "Counter[ResendFate]", dry_run: bool) -> str:
    from stream_app.letters.dead_letters import ResendFate

    sent = f"{counts[ResendFate.RESEND]:,} {'would be resent' if dry_run else 'resent'}"
    others = {
        ResendFate.RESENT: "resent before",
        ResendFate.LATE: "skipped, because their streams have moved past them (--even-if-late sends them)",
        ResendFate.REFUSED: "refused",
    }
    return "; ".join([sent, *(f"{counts[fate]:,} {words}" for fate, words in others.items() if counts[fate])])


def _left_out(counts: "Counter[ResendFate]") -> int:
    from stream_app.letters.dead_letters import ResendFate

    return counts[ResendFate.LATE] + counts[ResendFate.REFUSED]
