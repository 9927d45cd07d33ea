"""Keeps a command's help quick: Typer imports Rich's Markdown and tracebacks with it, and the parsers of both.

No help shows them, and they are two fifths of the time that one takes. Stand-ins take their places until they are used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

UNSHOWN = ("rich.markdown", "rich.traceback")


class _Later(type):
    """The type of classes that stand for those of a module, which is imported at the first call or look at a member."""

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
    """A module whose every class is a `_Later`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Later(name, (), {"module": self.__name__})


def postpone() -> None:
    """Put the stand-ins in place, where the modules are not loaded yet."""
    for name in UNSHOWN:
        sys.modules.setdefault(name, _StandIn(name))
