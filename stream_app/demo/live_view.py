"""Draw while a demo runs: live on a terminal, else a line every few seconds."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Self

from rich.console import Console, Group
from rich.live import Live

BAR = 24
LINE_S = 5.0
BEHIND_S = 2.0
"""From here on the view says that the machine is busy."""


def lag_words(sent: int, seen: int, seconds: float) -> str:
    """Say how far the predictions that were read are behind the samples, where it is seconds; else nothing."""
    behind_s = (sent - seen) * seconds / sent if sent else 0.0
    return f"; this machine is busy: predictions come {behind_s:.0f} s late" if behind_s >= BEHIND_S else ""


def bar(share: float) -> str:
    """A bar that is filled by a share from 0 to 1."""
    filled = round(share * BAR)
    return f"{'█' * filled}{'░' * (BAR - filled)}"


class LiveView(ABC):
    """The view of a demo; a context manager.

    Args:
        console: where to draw (stderr).
        metrics_url: shown, so that the user may look.
    """

    def __init__(self, console: Console, metrics_url: str) -> None:
        self.console, self.metrics_url = console, metrics_url
        self._started = time.monotonic()
        self._next_line = self._started + LINE_S
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self) -> None:
        """Draw what stands now; call it a few times per second."""
        if self._live:
            self._live.update(self.drawing())
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_S
            self.console.print(self.line(), highlight=False, soft_wrap=True)

    @abstractmethod
    def drawing(self) -> Group:
        """All that a terminal shows."""

    @abstractmethod
    def line(self) -> str:
        """The line that stands for it elsewhere."""
