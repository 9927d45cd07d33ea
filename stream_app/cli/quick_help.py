"""Spares a help what it does not show: Typer's help imports Rich's Markdown and tracebacks, and the parsers of both.

They are two fifths of the time that a help takes. Stand-ins take their places until somebody uses one.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

UNSHOWN = ("rich.markdown", "rich.traceback")


class _Later(type):
    """A class that becomes the one of a module when it is called or asked for a member."""

    module: str

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        return cls.real()(*arguments, **named)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(cls.real(), name)

    def real(cls) -> Any:
        if isinstance(sys.modules.get(cls.module), _StandIn):
            del sys.modules[cls.module]
        return getattr(import_module(cls.module), cls.__name__)


class _StandIn(ModuleType):
    """A module of such classes."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Later(name, (), {"module": self.__name__})


def postpone() -> None:
    """Put the stand-ins in place, where the modules are not loaded yet."""
    for name in UNSHOWN:
        sys.modules.setdefault(name, _StandIn(name))
