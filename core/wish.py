"""A wish in words: ``1/week``, ``2/day``, ``0.5/month``."""

from __future__ import annotations

import re

from core.errors import StartupError

_PER_WEEK = {"hour": 168.0, "day": 7.0, "week": 1.0, "month": 12 * 7 / 365.25, "year": 7 / 365.25}
_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*([a-z]+?)s?\s*", re.IGNORECASE)


def wish_per_week(text: str) -> float:
    """Read false alarms per stream and time as a number per week.

    Raises:
        StartupError: the text is no such wish.
    """
    found = _FORM.fullmatch(text)
    unit = found.group(2).lower() if found else ""
    if found is None or unit not in _PER_WEEK or float(found.group(1)) <= 0:
        raise StartupError(
            f"false alarms are {text!r}: write a number above 0 per time, for instance 1/week or 2/month"
        )
    return float(found.group(1)) * _PER_WEEK[unit]
