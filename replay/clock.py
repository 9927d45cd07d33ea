"""The clock that the replay goes by; tests bring one that is moved by hand."""

from __future__ import annotations

import time


class Clock:
    """Real time."""

    def now_s(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def epoch_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
