"""The page of all commands, from Typer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from stream_app.cli.main import app
from stream_app.cli.options import MEANINGS, commands_of
from tools.docs.tables import code, page, table

INTRODUCTION = """
The command line is `caststream`. `--help` (or `-h`) of each command shows the same as this page. Options that are
settings are only named here: [settings](settings.md) says what they mean. `--debug` shows the traceback of an
error, `caststream --version` the version. Exit statuses: [installing](../install.md#exit-statuses).
"""


def commands_page() -> str:
    """Every command with what it does, its arguments and options, and an example."""
    found = list(commands())
    summary = [(f"[{name}](#{_anchor(name)})", _first_sentence(command.help)) for name, command in found]
    sections = [section(name, command) for name, command in found]
    return page("Commands", INTRODUCTION, table(("command", "does"), summary), *sections)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, such as ``caststream send signal``, in the order of ``--help``."""
    yield from _leaves("caststream", typer.main.get_command(app))


def section(name: str, command: Any) -> str:
    """One command."""
    settings = [one.name for one in command.params if _is_setting(one)]
    own = [one for one in command.params if one.name not in {*settings, "debug", "help"}]
    context = typer.Context(command, info_name=name)
    parts = [f"## {name}", command.help.strip()]
    if own:
        parts.append(table(("option", "meaning"), [_row(one, context) for one in own]))
    if settings:
        parts.append(f"Settings: {', '.join(map(code, _shortened(settings)))}.")
    parts.append(f"```sh\n{command.epilog.removeprefix('Example: ')}\n```")
    return "\n\n".join(parts)


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    found = commands_of(command)
    if not found:
        yield name, command
    for word, inner in found.items():
        if not inner.hidden:
            yield from _leaves(f"{name} {word}", inner)


def _anchor(heading: str) -> str:
    """The name of a heading in links, as a Git host and the site make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _is_setting(parameter: Any) -> bool:
    """True unless an option only has the name of a setting, as --device of a training."""
    return parameter.name in MEANINGS and bool(getattr(parameter, "rich_help_panel", None))


def _row(parameter: Any, context: Any) -> tuple[str, str]:
    """Return how a parameter is written, and what it means, in the words of ``--help``."""
    if parameter.param_type_name == "argument":
        return code(parameter.name.upper()), str(parameter.help or "")
    usage, meaning = parameter.get_help_record(context)
    shown = re.search(r"\[(default: .*?)\]$", meaning)
    text = f"{parameter.help or ''} ({shown[1]})" if shown and not parameter.is_flag else str(parameter.help or "")
    return code(re.sub(r"<(\w+)( range)?>", lambda kind: kind[1].upper(), usage)), text


def _shortened(names: list[str]) -> list[str]:
    """The settings of Kafka's security are always all there: two words say so."""
    security = [name for name in names if name.startswith(("ssl_", "sasl_"))]
    kept = [name for name in names if name not in security]
    return [*kept, "ssl_*", "sasl_*"] if security else kept


def _first_sentence(text: str) -> str:
    return text.strip().split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".") + "."
