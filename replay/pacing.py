"""Compute when each sample is due. Pure: the caller brings the clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.errors import StartupError


def parse_speed(text: str) -> float:
    """The factor that ``text`` stands for: a number above 0, or ``max`` (infinity).

    Raises:
        StartupError: anything else.
    """
    if text.strip().lower() == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise StartupError(f"speed is {text!r}: must be a number above 0, or max")
    return speed


@dataclass(frozen=True)
class Pacer:
    """A schedule: step k is due at ``start_s + k * step_s``; with ``step_s`` 0 everything is due at once.

    It is a schedule, not a pause between steps: whoever falls behind finds all the steps due that he missed, and no
    error adds up. ``start_s`` is on the caller's clock.
    """

    start_s: float
    step_s: float

    def due(self, now_s: float) -> float:
        """Return how many steps are due at ``now_s``: a whole number, or infinity without a pace."""
        if self.step_s == 0:
            return math.inf
        # A due time is met although the division may say 2.9999999999.
        return max(0, math.floor((now_s - self.start_s) / self.step_s + 1e-6) + 1)

    def late_s(self, step: int, now_s: float) -> float:
        """Seconds that have passed at ``now_s`` since ``step`` was due; below 0 when it is not due yet."""
        return now_s - self.start_s - step * self.step_s if self.step_s else 0.0
