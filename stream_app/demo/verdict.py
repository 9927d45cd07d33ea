"""The part of a verdict that every demo has: nothing lost, equal to offline, and how late outputs came."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from core.arrays import Int64s

TOLERANCE = 1e-5


def problems_of(lost: int, outputs: str, max_abs_diff: float | None) -> list[str]:
    """The reasons why a run is no success; empty if it is one.

    Args:
        lost: expected outputs that were not seen.
        outputs: these, in words.
        max_abs_diff: the largest difference to the offline run, None where nothing was seen.
    """
    found = []
    if lost:
        found.append(f"{lost} expected {outputs} were not seen")
    if max_abs_diff is None or not max_abs_diff <= TOLERANCE:
        found.append(f"the outputs differ from the offline reference by {max_abs_diff}")
    return found


def for_json(summary: Any) -> dict[str, Any]:
    """A summary, which is a dataclass with ``max_abs_diff``, for ``--json``."""
    found = asdict(summary)
    if summary.max_abs_diff is not None and not math.isfinite(summary.max_abs_diff):
        found["max_abs_diff"] = None  # JSON has no infinity; the exit status says that something is wrong
    return found


def median_and_p99(latencies_ms: Int64s) -> tuple[float | None, float | None]:
    """Both, to a tenth of a millisecond; None where nothing was measured."""
    if not len(latencies_ms):
        return None, None
    p50, p99 = np.percentile(latencies_ms, [50, 99])
    return round(float(p50), 1), round(float(p99), 1)


def figure(value: float | None, text: str) -> str:
    """A figure by its format, or that there is none."""
    return "not measured" if value is None or not math.isfinite(value) else text.format(value)
