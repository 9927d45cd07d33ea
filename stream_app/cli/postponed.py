"""Commands whose options are made when they are used: the list of all commands shows none of them.

Some 400 options are a sixth of the time that a help or a start takes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import typer
from typer.core import TyperCommand


def postponed(make: Callable[[], Callable[..., None]]) -> type[TyperCommand]:
    """Return a kind of command that takes its options and its work from the function that ``make`` returns."""

    class Postponed(TyperCommand):
        @cached_property
        def _made(self) -> Any:
            alone = typer.Typer(add_completion=False)
            alone.command()(make())
            return typer.main.get_command(alone)

        @property
        def params(self) -> list[Any]:
            found: list[Any] = self._made.params
            return found

        @params.setter
        def params(self, _: list[Any]) -> None:
            """Ignore those of the function that stands for ours: it has none."""

        @property
        def callback(self) -> Callable[..., Any] | None:
            found: Callable[..., Any] | None = self._made.callback
            return found

        @callback.setter
        def callback(self, _: Callable[..., Any] | None) -> None:
            """Ignore the function that stands for ours."""

    return Postponed


def nothing() -> None:
    """Stand for a command's function where Typer wants one."""
