"""The packages of the extra ``train``, loaded where they are needed: the worker runs without them."""

from __future__ import annotations

import importlib
from types import ModuleType

from core.errors import StartupError


def require(module: str) -> ModuleType:
    """Import ``module``.

    Raises:
        StartupError: it is not installed, or cannot be loaded; with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise StartupError(
            f"this needs the packages for training: pip install 'caststream[train]' ({error})"
        ) from error
