"""Turn a failure on the command line into one line that says what was wrong, and an exit status."""

from __future__ import annotations

import typer

from core.errors import CaststreamError
from stream_app.exits import EXIT_FAILED, EXIT_REFUSED, EXIT_UNREACHABLE, status_of

# Typer does not export the base of its usage errors.
_UsageError = typer.BadParameter.__mro__[1]


def explain(error: Exception) -> tuple[str, int]:
    """Return the line to show for an error ("" if it was shown already) and the exit status."""
    text = " ".join(str(error).split())
    if isinstance(error, CaststreamError):
        status = status_of(error)
        return f"caststream: {text}", EXIT_FAILED if status == EXIT_UNREACHABLE else status
    if isinstance(error, typer.Abort):
        return "caststream: nothing was done", EXIT_FAILED
    if isinstance(error, _UsageError):
        return _usage(error), EXIT_REFUSED
    return f"caststream: unexpected {type(error).__name__}: {text[:300]}; --debug shows the traceback", EXIT_FAILED


def _usage(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    if context is None:
        return f"caststream: {error}; see caststream --help"
    if type(error).__name__ == "NoArgsIsHelpError":  # a command group without a command: Typer has shown the help
        return ""
    message = " ".join(getattr(error, "format_message", error.__str__)().split()).rstrip(".")
    return f"caststream: {message}; see {context.command_path} --help"
