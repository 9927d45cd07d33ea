"""Settings as command-line options: `command` gives a function the options of the settings that it works with.

What the options are called and mean stands here as text, so that ``--help`` loads neither the settings nor the rest.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from typer.core import TyperGroup

from stream_app.cli.postponed import nothing, postponed

# Every setting, in the order of the help; a test holds it equal to the fields of `Settings`.
MEANINGS = {
    "broker": "Kafka's address: host:port, several separated by commas.",
    "app_id": "Name of the application: the consumer group, and the first part of the changelogs' names.",
    "topic_prefix": "Text put before the name of each source and output topic.",
    "partitions": "Partitions of each topic; at most this many workers share a topic.",
    "replication_factor": "Copies of each partition; use 3 on a cluster.",
    "processing_guarantee": "at_least_once, or exactly_once: outputs, states and offsets in Kafka transactions.",
    "commit_interval": "Seconds between commits of outputs, states and offsets.",
    "max_commit_interval": "Upper limit for commit_interval under heavy load, in seconds.",
    "max_delay": "Seconds that a record may wait for others at low load, to save CPU; 0 is never.",
    "session_timeout": "Seconds after which a silent worker's partitions go to another.",
    "output_format": "Encoding of predictions and scores: json or msgpack.",
    "tasks": "Tasks to run: names of those that ship, and files of your own, separated by commas.",
    "signal_checkpoint": "Weights of the signal model; by default those that ship with the package.",
    "defect_checkpoint": "Weights of the defect model; by default those that ship with the package.",
    "device": "Where the models run: cpu, cuda or cuda:N (GPU number N).",
    "window_length": "Largest number of samples of a cast that a score looks at.",
    "window_min": "Samples of a cast before its first score.",
    "hop": "Samples between two scores of a cast.",
    "gap_policy": "What to do when steps are missing: step (continue), hold (repeat the last sample) or reset.",
    "max_gap": "Largest number of missing steps that 'hold' fills.",
    "max_step_jump": "Largest number of missing steps; a record beyond it is refused.",
    "idle_timeout": "Seconds of silence after which a stream starts again from zero.",
    "max_state_bytes": "Most bytes of model state that a stream may have; the check refuses a model with more.",
    "metrics_host": "Address on which a worker serves metrics and health; 0.0.0.0 is every IPv4 address, :: all.",
    "metrics_port": "Port for metrics and health. Worker i of --workers N takes the i-th after it; 0 is any free port.",
    "data_dir": "Directory for Kafka's jars, the local broker's data and the progress of replays.",
    "log_format": "Format of the log: text or json.",
    "security_protocol": "How to connect to Kafka: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
    "ssl_cafile": "Certificates of the authorities that are trusted (PEM); by default those of the system.",
    "ssl_certfile": "caststream's own certificate (PEM).",
    "ssl_keyfile": "The private key of that certificate (PEM).",
    "ssl_password": "Password of the private key. Only by environment or caststream.toml.",
    "ssl_password_file": "A file that holds nothing but the password of the private key.",
    "sasl_mechanism": "How to log in: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.",
    "sasl_username": "User name for Kafka.",
    "sasl_password": "Password for Kafka. Only by environment or caststream.toml.",
    "sasl_password_file": "A file that holds nothing but the password for Kafka.",
    "sasl_oauth_token_file": "A file that holds nothing but a token for OAUTHBEARER; read again for every use.",
    "sasl_oauth_token_command": "A command that prints a token, alone or as JSON; run again before the token expires.",
}
# As the help shows them: where there is no default, or the meaning tells it, a setting has none here. A test holds them
# equal to those of `Settings`, which the help does not load: that would take as long as all the rest of it.
DEFAULTS = {
    "broker": "127.0.0.1:9092",
    "app_id": "caststream",
    "topic_prefix": "none",
    "partitions": "4",
    "replication_factor": "1",
    "processing_guarantee": "at_least_once",
    "commit_interval": "0.5",
    "max_commit_interval": "5",
    "max_delay": "0.006",
    "session_timeout": "6",
    "output_format": "json",
    "tasks": "signal,casting",
    "device": "cpu",
    "window_length": "500",
    "window_min": "100",
    "hop": "30",
    "gap_policy": "step",
    "max_gap": "50",
    "max_step_jump": "1000000",
    "idle_timeout": "300",
    "max_state_bytes": "65536",
    "metrics_host": "127.0.0.1",
    "metrics_port": "8300",
    "data_dir": "~/.local/share/caststream",
    "log_format": "text",
    "security_protocol": "PLAINTEXT",
    "sasl_mechanism": "PLAIN",
}
# Anybody on the machine can read a command line.
NOT_ON_THE_COMMAND_LINE = {"sasl_password", "ssl_password"}
SECURITY = (*(name for name in MEANINGS if name.startswith(("security_", "ssl_", "sasl_"))),)
KAFKA = ("broker", *SECURITY)
ALL = tuple(MEANINGS)

F = TypeVar("F", bound=Callable[..., None])


class Debug:
    """Holds whether a traceback was asked for; the options of every command set it."""

    wanted = False


def want_debug(value: bool) -> bool:
    """Called by the option ``--debug``, which may stand before and after the command's name."""
    Debug.wanted = Debug.wanted or value
    return value


DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", callback=want_debug, is_eager=True)
]


# What several commands have in common.
HELP = {"help_option_names": ["-h", "--help"]}
ANY_FILE = "FILE.toml"
"""The name under which pages and lists show the commands that are named after a task file."""
JsonLinesOption = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
FromBeginningOption = Annotated[bool, typer.Option("--from-beginning", help="Start at the oldest record.")]
ColumnNamesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="FIELD=NAME", help="The field stands under another name; repeatable.", show_default=False
    ),
]
DecimalSignOption = Annotated[
    Literal["point", "comma"] | None,
    typer.Option(help="The decimal sign of a CSV, if its numbers could be read in two ways.", show_default=False),
]
CountOption = Annotated[int | None, typer.Option(min=1, help="Stop after this number of records.", show_default=False)]
HistoryArgument = Annotated[
    Path, typer.Argument(help="A CSV, Parquet, Feather or HDF5 file of the task's samples.", show_default=False)
]
SamplingRateOption = Annotated[
    float | None, typer.Option(min=0.001, help="Sampling rate in Hz; by default from the times.", show_default=False)
]
SkipBadLinesOption = Annotated[
    bool, typer.Option("--skip-bad", help="Skip lines that cannot be used, and report how many.")
]
ConfigOption = Annotated[
    Path | None, typer.Option(help="Settings as .toml or .yaml; options win over them.", show_default=False)
]
FiguresAsJsonOption = Annotated[bool, typer.Option("--json", help="The figures as one JSON object on stdout.")]
# Settings of every training.
MACHINE_OPTIONS = {
    "device": Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N. Default: cpu.", show_default=False)],
    "seed": Annotated[
        int | None, typer.Option(help="The same seed gives the same weights. Default: 0.", show_default=False)
    ],
    "threads": Annotated[int | None, typer.Option(help="Threads on the CPU. Default: 1.", show_default=False)],
}


def say(line: str) -> None:
    """Print a line for a person, on stderr; results for programs go to stdout."""
    typer.echo(line, err=True)


def say_followed(topic: str) -> Callable[[], None]:
    """A call for `tail` when it has begun: to a person before a topic where nothing comes it says so."""

    def begun() -> None:
        if sys.stdout.isatty():
            say(f"following {topic}, until Ctrl-C")

    return begun


def command(
    app: typer.Typer, name: str, *, example: str, settings: tuple[str, ...] = (), given: Mapping[str, Any] = {}
) -> Callable[[F], F]:
    """Add a function to ``app`` as a command.

    Args:
        example: a command line, shown at the end of the help.
        settings: names of settings that become options. The function is then called with ``settings``, the loaded
            `Settings`, beside its own parameters.
        given: more options, each with its annotation, in the place of the parameter ``given``. The function gets
            their values by name; None for an option that was not given.
    """

    def add(function: F) -> F:
        kind = postponed(partial(_with_options, function, settings, given))
        help_text = _paragraphs(function.__doc__)
        app.command(name, cls=kind, help=help_text, epilog=f"Example: {example}")(nothing)
        return function

    return add


def _paragraphs(text: str | None) -> str:
    """Join the lines of each paragraph: Typer joins and wraps those of the first one alone."""
    return "\n\n".join(" ".join(each.split()) for each in inspect.cleandoc(text or "").split("\n\n"))


def file_commands(add: Callable[[typer.Typer, str], None]) -> type[TyperGroup]:
    """Return a kind of command group whose commands are also the names of task files.

    Args:
        add: adds the command for a task file to an application.
    """

    class FileCommands(TyperGroup):
        takes_files = True

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            found = super().get_command(ctx, cmd_name)
            if found is None and cmd_name.endswith(".toml"):
                alone = typer.Typer(context_settings=HELP, add_completion=False)
                add(alone, cmd_name)
                found = typer.main.get_command(alone)
            return found

    return FileCommands


def commands_of(group: Any) -> dict[str, Any]:
    """Return the commands of a group by name, that for a task file as ``FILE.toml``; none of a command without any."""
    named = dict(getattr(group, "commands", {}))
    return named | {ANY_FILE: group.get_command(None, ANY_FILE)} if getattr(group, "takes_files", False) else named


def _with_options(
    function: Callable[..., None], names: tuple[str, ...], more: Mapping[str, Any]
) -> Callable[..., None]:
    names = tuple(name for name in names if name not in NOT_ON_THE_COMMAND_LINE)

    def run(**arguments: Any) -> None:
        arguments.pop("debug")
        overrides = {name: arguments.pop(name) for name in names}
        if more:
            arguments["given"] = {name: arguments.pop(name) for name in more}
        if names:
            from stream_app.settings import load_settings

            arguments["settings"] = load_settings(**overrides)
        function(**arguments)

    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(function).parameters.values():
        if one.name == "given":
            parameters += _parameters(more)
        elif one.name != "settings":
            parameters.append(one.replace(kind=one.KEYWORD_ONLY))
    parameters += _parameters({name: _option(name) for name in names})
    parameters.append(inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=DebugOption))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__doc__ = function.__doc__
    return run


def _parameters(annotations: Mapping[str, Any]) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in annotations.items()
    ]


def _option(name: str) -> Any:
    panel = "Kafka security" if name in SECURITY else "Settings (also CASTSTREAM_* in the environment, caststream.toml)"
    flag = f"--{name.replace('_', '-')}"
    meaning = f"{MEANINGS[name]} Default: {DEFAULTS[name]}." if name in DEFAULTS else MEANINGS[name]
    # Text, whatever the setting is: the settings check it, and their error says what is accepted.
    return Annotated[
        str | None, typer.Option(flag, help=meaning, rich_help_panel=panel, metavar="VALUE", show_default=False)
    ]
