"""Lengths of time for people."""

from __future__ import annotations

_UNITS = (("days", 86_400.0, 172_800.0), ("h", 3_600.0, 7_200.0), ("min", 60.0, 120.0), ("s", 1.0, 1.0))


def duration(seconds: float) -> str:
    """A length of time in the unit in which it is short: 90 s, 5 min, 3 h, 2 days."""
    for unit, size, least in _UNITS:
        if abs(seconds) >= least or (unit == "h" and seconds == size) or (unit == "min" and seconds == size):
            return f"{seconds / size:.3g} {unit}"
    return f"{1000 * seconds:.3g} ms"


def count_of(number: int, what: str) -> str:
    """A number with its noun: 1 stream, 2,000 streams."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
