"""A hint for a name that is not known: the one that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection

_LONGEST = 256
"""Characters of a name that is compared: difflib takes long for long ones."""


def nearest(name: str, known: Collection[str], alike: float = 0.6) -> str | None:
    """The known name that resembles ``name`` most; None where none is ``alike``, from 0 to 1."""
    near = difflib.get_close_matches(name[:_LONGEST], known, 1, alike)
    return near[0] if near else None


def did_you_mean(name: str, known: Collection[str], what: str) -> str:
    """The end of a message about an unknown name: the nearest known one, or else all of them as ``what``."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else f"; {what} are: {', '.join(known)}"
