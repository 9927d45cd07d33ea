"""For how long streams stood still when a worker died: the dead worker's, and those of its colleagues.

By the append times of the predictions, partition by partition. Every partition has many streams, so a pause of all of
them together is no habit of theirs.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from stream_app.routes import SIGNAL_PREDICTIONS
from stream_app.settings import Settings
from tests.broker import consume_all
from tests.faults.crew import Death
from tests.faults.schedule import Fault

AFTER_S = 15.0
# Faults which stop everybody, or more than the death did: what they cost is not the death's.
LOCAL = frozenset({"kill", "die at point", "compaction", "clock"})


@dataclass(frozen=True)
class Standstill:
    """Seconds after a death; None where there was nothing to be seen."""

    worker: int
    dead_s: float | None
    survivors_s: float | None


def append_times(settings: Settings) -> dict[int, list[float]]:
    """Partition -> append times of its predictions in seconds, ascending."""
    times: dict[int, list[float]] = {}
    for record in consume_all(settings, settings.topic(SIGNAL_PREDICTIONS)):
        times.setdefault(record.partition, []).append(record.timestamp / 1000)
    return {partition: sorted(found) for partition, found in times.items()}


def standstills(
    deaths: Sequence[Death], acted: Sequence[tuple[float, Fault]], source: str, times: Mapping[int, Sequence[float]]
) -> list[Standstill]:
    """One for each death beside which nothing else happened to more than a worker."""
    found = []
    for death in deaths:
        until_s = min([death.at_s + AFTER_S, *(other.at_s for other in deaths if other.at_s > death.at_s)])
        if any(death.at_s - 5 < at_s < until_s and fault.kind not in LOCAL for at_s, fault in acted):
            continue
        owned = {partition for topic, partition in death.owned if topic == source}
        dead = [_first_pause(times[partition], death.at_s, until_s) for partition in owned & times.keys()]
        others = [_longest_pause(times[partition], death.at_s, until_s) for partition in times.keys() - owned]
        found.append(Standstill(death.worker, _longest(dead), _longest(others)))
    return found


def _first_pause(times: Sequence[float], at_s: float, until_s: float) -> float | None:
    """From the death to the first prediction that its successor appended; None when there was none in time."""
    # What was on its way when the worker died is appended within some milliseconds.
    after = bisect.bisect_right(times, at_s + 0.1)
    return times[after] - at_s if after < len(times) and times[after] <= until_s else None


def _longest_pause(times: Sequence[float], at_s: float, until_s: float) -> float | None:
    inside = [time_s for time_s in times if at_s <= time_s <= until_s]
    return max((later - earlier for earlier, later in pairwise(inside)), default=None)


def _longest(pauses: Sequence[float | None]) -> float | None:
    return max((pause for pause in pauses if pause is not None), default=None)
