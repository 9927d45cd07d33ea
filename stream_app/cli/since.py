"""Points in time as people write them on a command line."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from core.errors import StartupError

_AGO = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def since_ms(text: str, now_ms: int | None = None) -> int:
    """Unix epoch in ms of an ISO 8601 time, UTC where it names no zone, or of so long ago: 90s, 15m, 2h, 3d. Not before
    1970: Kafka takes negative times for questions of another kind.

    Raises:
        StartupError: it is neither.
    """
    if ago := _AGO.fullmatch(text.strip()):
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        return max(0, now_ms - int(ago[1]) * _UNIT_MS[ago[2]])
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise StartupError(
            f"{text!r} is no time: write 2026-11-30T14:00 (UTC), or how long ago, as 90m or 2h"
        ) from error
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))
