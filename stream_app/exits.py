"""Exit statuses, of commands and of worker processes alike."""

from __future__ import annotations

from core.errors import OutageError, StartupError, UnreachableError

EXIT_FAILED = 1
"""Something went wrong, or was found wrong; the next try may end well."""
EXIT_REFUSED = 2
"""Somebody has to put something right first: the next try would end in the same way."""
EXIT_UNREACHABLE = 4
"""A worker process tells its supervisor that no broker answered. A command ends with `EXIT_FAILED` then."""
EXIT_INTERRUPTED = 130
"""Ctrl-C."""


def status_of(error: Exception) -> int:
    """The status to end with for an error."""
    if not isinstance(error, StartupError) or isinstance(error, OutageError):
        return EXIT_FAILED
    return EXIT_UNREACHABLE if isinstance(error, UnreachableError) else EXIT_REFUSED
