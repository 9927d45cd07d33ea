"""The callbacks with which long work reports its progress."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[int, int], None]  # (done, total)
OnCount = Callable[[int], None]  # done
OnNote = Callable[[str], None]  # one line for a person


def unheard(*_: object) -> None:
    """Ignore what is reported: the default where a caller gives no callback."""
