"""A timer that is cheap to put off: the event loop's own is made anew each time, and its old one cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class SharedTimer:
    """Calls back once when its time has come, on the loop that runs when it is set.

    Args:
        ring: what is called.
    """

    __slots__ = ("_due", "_loop", "_ring", "_timer")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None

    @property
    def is_set(self) -> bool:
        """True if it is going to ring."""
        return self._due is not None

    def set(self, after_s: float) -> None:
        """Ring so many seconds from now, in place of whatever was set before."""
        self._due = due = self._loop.time() + after_s
        if self._timer is not None:
            if self._timer.when() <= due:
                return  # it finds then that there is time left
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._look)

    def stop(self) -> None:
        """Do not ring."""
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        due = self._due
        if due is None:
            return
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self._look)
        else:
            self._due = None
            self._ring()
