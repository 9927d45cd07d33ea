"""The command line ``caststream``: parameters in, one call, a line of result. Commands import what they need.

Exit status: 0 done, 1 a run that failed, 2 something to put right first, 130 after Ctrl-C or SIGTERM (a worker and a
broker: 0).
"""

# Typer reads the annotations of the commands as objects, so they are not postponed here.
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from core.errors import StartupError
from stream_app.cli.audit_commands import add_audit_commands
from stream_app.cli.dead_letter_commands import add_dead_letter_commands
from stream_app.cli.generate_commands import generate_app
from stream_app.cli.import_commands import add_import_commands
from stream_app.cli.options import (
    ALL,
    HELP,
    KAFKA,
    Debug,
    DebugOption,
    command,
    say,
)
from stream_app.cli.quick_help import postpone
from stream_app.cli.record_commands import send_app, tail_app
from stream_app.cli.task_commands import task_app
from stream_app.cli.topic_commands import topics_app
from stream_app.cli.training_commands import add_training_commands
from stream_app.exits import EXIT_FAILED, EXIT_INTERRUPTED
from stream_app.failures import explain

if TYPE_CHECKING:
    from types import FrameType

    from stream_app.demo.pump_summary import PumpSummary
    from stream_app.demo.summary import Summary
    from stream_app.settings import Settings

MODELS = ("signal_checkpoint", "defect_checkpoint", "device")

app = typer.Typer(no_args_is_help=True, context_settings=HELP, pretty_exceptions_enable=False)


app.add_typer(topics_app, name="topics", help="Create, describe, grow or reset the topics.")
app.add_typer(task_app, name="task", help="Show, draft, check and convert tasks of your own.")
app.add_typer(generate_app, name="generate", help="Write synthetic data as HDF5.")
app.add_typer(send_app, name="send", help="Send each line of standard input as a record. COMMAND may be a task file.")
app.add_typer(tail_app, name="tail", help="Read an output topic. COMMAND may be a task file.")

HdfFileArgument = Annotated[
    Path, typer.Argument(help="An HDF5 file of signals, of castings, or of a task's samples.", show_default=False)
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        help="signal, casting or a task file; by default that of the two which the file holds.", show_default=False
    ),
]
StreamCountOption = Annotated[
    int | None, typer.Option(help="Streams side by side; by default 20 signals or 8 strands.")
]


def show_version(value: bool) -> None:
    """Called by the option ``--version``: print it and leave."""
    if value:
        from importlib.metadata import version

        typer.echo(f"caststream {version('caststream')}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", help="Show the version.", callback=show_version, is_eager=True)
]


@app.callback()
def caststream(version: VersionOption = False, debug: DebugOption = False) -> None:
    """Recurrent models on live sensor feeds: a step per record, or a score per window, equal to the offline run.

    `caststream demo` shows all of it on this machine.
    """


@command(
    app,
    "demo",
    settings=(*MODELS, "data_dir", "processing_guarantee", "commit_interval"),
    example="caststream demo --seconds 20 --json",
)
def demo(
    settings: "Settings",
    seconds: Annotated[float, typer.Option(min=1, help="How many seconds the signals play; casts end later.")] = 40.0,
    signal_streams: Annotated[int, typer.Option(min=1, help="Number of signal streams.")] = 20,
    casting_streams: Annotated[int, typer.Option(min=1, help="Number of casting strands.")] = 8,
    speed: Annotated[float, typer.Option(min=0.01, help="Factor on the recorded pace, of signals and casts.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")] = False,
    task: Annotated[
        Literal["pump"] | None,
        typer.Option(
            help="pump: learn what is normal of generated pumps, then alarms live on pumps with faults; needs PyTorch.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run everything on this machine: Kafka, a worker, HDF5 replay, a live view, and the check of the result."""
    import json

    from stream_app.demo.run import DemoPlan, run_demo, show

    summary: Summary | PumpSummary
    if task == "pump":
        from stream_app.demo.pump import PumpPlan, run_pump_demo

        summary = run_pump_demo(PumpPlan(seconds, speed), settings)
    else:
        summary = run_demo(DemoPlan(seconds, signal_streams, casting_streams, speed), settings)
    if as_json:
        typer.echo(json.dumps(summary.as_dict()))
    else:
        from rich.console import Console

        show(summary.rows(), Console().print)
    for problem in summary.problems:
        say(f"caststream: {problem}")
    if summary.problems:
        raise typer.Exit(EXIT_FAILED)
    say("everything arrived and equals the offline run")


@command(app, "broker", settings=("data_dir",), example="caststream broker --port 9092")
def broker(
    settings: "Settings",
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="By default the port of the setting broker; 0 for any free port."),
    ] = None,
    kafka_property: Annotated[
        list[str] | None, typer.Option("--property", metavar="NAME=VALUE", help="A setting of Kafka's own; repeatable.")
    ] = None,
) -> None:
    """Run a real Apache Kafka on this machine, without Docker: one node, on 127.0.0.1, until Ctrl-C or SIGTERM."""
    from stream_app.local.broker import LocalBroker, run_broker
    from stream_app.local.jars import KAFKA_VERSION

    def ready(running: LocalBroker) -> None:
        typer.echo(f"Apache Kafka {KAFKA_VERSION} is ready on {running.address}, data in {running.directory}")

    pairs = [text.partition("=") for text in kafka_property or []]
    wrong = ["".join(pair) for pair in pairs if not (pair[0] and pair[1])]
    if wrong:
        raise StartupError(f"--property {wrong[0]!r} is not NAME=VALUE")
    if port is None:
        port = int(settings.broker.split(",")[0].rpartition(":")[2])
    run_broker(settings.need_data_dir(), port, {name: value for name, _, value in pairs}, ready, say)


@command(app, "worker", settings=ALL, example="caststream worker --workers 2")
def worker(
    settings: "Settings",
    workers: Annotated[int, typer.Option(min=1, help="Worker processes; each is started again when it ends.")] = 1,
) -> None:
    """Run the models on the source topics until Ctrl-C or SIGTERM."""
    from stream_app.worker.supervisor import run_workers

    raise typer.Exit(run_workers(settings, workers, Debug.wanted))


@command(
    app,
    "replay",
    settings=(*KAFKA, "topic_prefix", "data_dir"),
    example="caststream replay casts.h5 --speed 10 --streams 8",
)
def replay(
    settings: "Settings",
    file: HdfFileArgument,
    speed: Annotated[str, typer.Option(help="Factor on the recorded pace, or max.")] = "1",
    streams: StreamCountOption = None,
    loop: Annotated[bool, typer.Option("--loop", help="Start again at the end of the file.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue where the file's last replay ended.")] = False,
    run: Annotated[
        str | None,
        typer.Option(
            help="First part of the sequences' names; by default the start time, or none for a file with names."
        ),
    ] = None,
    task: TaskOption = None,
) -> None:
    """Send a file's samples into the source topic of their task, in order and at the recorded pace."""
    import replay.display
    import replay.pacing
    import replay.run
    from core.tasks.reading import find_declaration, shipped
    from stream_app.clients.access import check_access
    from stream_app.routes import route_of

    declaration = None if task is None else find_declaration(task, need_files=False)
    check_access(settings.client_config())
    with replay.display.display(sys.stderr) as told:
        done = replay.run.replay(
            file,
            client_config=settings.client_config(),
            topic_signal=route_of(settings, shipped("signal")).source,
            topic_casting=route_of(settings, shipped("casting")).source,
            data_dir=settings.need_data_dir(),
            task=declaration,
            topic=None if declaration is None else route_of(settings, declaration).source,
            streams=streams,
            speed=replay.pacing.parse_speed(speed),
            loop=loop,
            resume=resume,
            run=run,
            on_progress=told,
            on_note=say,
        )
    say(
        f"{'stopped' if done.interrupted else 'done'}: {done.sent:,} records of {done.streams} streams, "
        f"{done.sequences} sequences of run {done.run}, in {done.seconds:.1f} s"
    )
    if done.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


@command(
    app,
    "predict",
    settings=(*MODELS, "window_length", "window_min", "hop"),
    example="caststream predict casts.h5 --output scores.jsonl",
)
def predict(
    settings: "Settings",
    file: HdfFileArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HDF5 if it ends in .h5, else JSON lines; - is stdout.")
    ] = Path("-"),
    run: Annotated[
        str | None, typer.Option(help="As replay --run; by default offline, or none for a file with names.")
    ] = None,
    streams: StreamCountOption = None,
    task: TaskOption = None,
) -> None:
    """Run a task's model over a whole file, without Kafka: the offline reference."""
    from core.tasks.reading import find_declaration
    from stream_app.cli.progress import phases
    from stream_app.offline import predict_file

    with phases() as phase:
        done = predict_file(
            settings,
            file,
            sys.stdout.buffer if str(output) == "-" else output,
            None if task is None else find_declaration(task),
            run=run,
            streams=streams,
            on_check=phase("checking the file"),
            on_progress=phase("predicting"),
            on_note=say,
        )
    sys.stdout.flush()
    what = {"signal": "predictions", "casting": "scores"}.get(done.kind, "outputs")
    say(f"{done.outputs:,} {what} of model {done.model}")


add_dead_letter_commands(app, tail_app)
add_training_commands(app)
add_import_commands(app)
add_audit_commands(app)


def _interrupt(number: int, frame: "FrameType | None") -> None:
    """Handle SIGTERM like Ctrl-C: a training finishes its update first, everything else is interrupted."""
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)


def main() -> NoReturn:
    """Run the command line and leave with its exit status."""
    # Whoever stops us with SIGTERM wants what Ctrl-C does: what was started is ended, what was sent is told. So does a
    # terminal that is closed, unless nohup has said otherwise.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    postpone()
    try:
        status = app(prog_name="caststream", standalone_mode=False)
    except Exception as error:
        if Debug.wanted:
            raise
        line, status = explain(error)
        if line:
            say(line)
        sys.exit(status)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
