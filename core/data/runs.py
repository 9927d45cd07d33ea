"""Rules that replay and offline reference share: how many streams, which run, which event time."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

# Streams played side by side where nobody says how many; a file with fewer rows has fewer.
DEFAULT_STREAMS = {"casting": 8}
OTHER_STREAMS = 20
_FORMAT = "%Y%m%dT%H%M%S.%f"


def default_streams(kind: str, rows: int) -> int:
    """The number of streams for a file of ``rows`` rows of the task ``kind``."""
    return min(DEFAULT_STREAMS.get(kind, OTHER_STREAMS), rows)


def run_name(start_ms: int) -> str:
    """The name of a run that starts at ``start_ms``, in UTC: ``20250131T235959.125Z``."""
    moment = datetime.fromtimestamp(start_ms // 1000, UTC).replace(microsecond=start_ms % 1000 * 1000)
    return moment.strftime(_FORMAT)[:-3] + "Z"


def run_start_ms(run: str) -> int | None:
    """Return the start that a name from `run_name` holds; None for any other name."""
    try:
        moment = datetime.strptime(run.removesuffix("Z"), _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    start_ms = round(moment.timestamp() * 1000)
    return start_ms if run_name(start_ms) == run else None


def event_times_ms(start_ms: int, first: int, count: int, period_ms: float) -> list[int]:
    """The event times of the samples at positions ``first`` to ``first + count`` of their stream.

    The position counts on from one sequence of the stream to the next, and from pass to pass, so that event time never
    goes back within a stream: a sequence starts when the one before it has ended.
    """
    times: list[int] = (np.rint(np.arange(first, first + count) * period_ms).astype(np.int64) + start_ms).tolist()
    return times
