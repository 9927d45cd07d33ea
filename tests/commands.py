"""The command line as the documents show it: finding the commands in a text, and parsing them as Typer would."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import typer

from stream_app.cli.main import app
from stream_app.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "caststream"


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


Run = Callable[..., Done]

# What ends a command on a line of shell.
_ENDS = {"|", "||", "&&", ";", "&", "<", ">", ">>", "2>", "(", ")"}


def shell_lines(text: str) -> list[str]:
    """The lines of a shell script, continued ones joined, without comments."""
    return [line.strip() for line in text.replace("\\\n", " ").splitlines() if not line.lstrip().startswith("#")]


def commands_in(script: str, program: str = PROGRAM) -> list[list[str]]:
    """The words after ``program``, for each place where it is run."""
    found = []
    for line in shell_lines(script):
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.commenters = "#"
        command: list[str] | None = None
        start = True
        for word in words:
            if word in _ENDS:
                command, start = None, word not in ("<", ">", ">>", "2>")
            elif command is not None:
                command.append(word)
            elif start and word.rpartition("/")[2] == program:
                command = []
                found.append(command)
            else:
                start = start and bool(re.fullmatch(r"[A-Z_]+=.*", word))  # a variable before the command
    return found


def parse(words: list[str]) -> dict[str, Any]:
    """The values of a caststream command's options and arguments, by name, settings checked; nothing is run.

    Empty where nothing would be done: a group of commands alone, --help, --version.

    Raises:
        AssertionError: there is no such command, option or setting, or a value is not accepted.
    """
    command = _command_line()
    path, rest = [PROGRAM], list(words)
    while rest and hasattr(command, "commands") and (found := command.get_command(None, rest[0])):
        path.append(rest.pop(0))
        command = found
    if not rest and hasattr(command, "commands"):
        return {}  # a group of commands, which tells what is in it
    line = shlex.join([PROGRAM, *words])
    try:
        given = dict(command.make_context(" ".join(path), rest).params)
        load_settings(**{name: value for name, value in given.items() if name in Settings.model_fields})
    except typer.Exit:  # --help and --version end here
        return {}
    except Exception as error:
        raise AssertionError(f"{line}: {getattr(error, 'message', '') or error or type(error).__name__}") from error
    assert not hasattr(command, "commands"), f"{line}: there is no command {rest[0]!r}"
    return given


@lru_cache
def _command_line() -> Any:
    return typer.main.get_command(app)
