"""When each sample was answered, and for how long a partition was silent. Pure: times in, times out.

Shapes: N samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from latencies import Latencies, Times
from numpy.typing import NDArray

UNANSWERED = -1

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """Samples in the order of their log, and when each was answered first (N,), `UNANSWERED` where it was not."""

    samples: Times
    answered_ms: Integers
    repeated: int
    """Outputs that came again."""

    @property
    def unanswered(self) -> int:
        """Samples without an output."""
        return int((self.answered_ms == UNANSWERED).sum())

    def latency_ms(self, chosen: Mask | None = None) -> Integers:
        """Of those samples of the chosen ones that have an answer."""
        kept = self.answered_ms != UNANSWERED
        if chosen is not None:
            kept &= chosen
        return np.asarray((self.answered_ms - self.samples.times_ms)[kept])


def answers(samples: Times, outputs: Times) -> Answers:
    """Each sample's first output, found by partition and source offset; outputs of other samples do not count."""
    answered = np.full(len(samples.offsets), UNANSWERED, np.int64)
    repeated = 0
    for partition in np.unique(samples.partitions):
        places = np.flatnonzero(samples.partitions == partition)
        places = places[np.argsort(samples.offsets[places], kind="stable")]
        ours = outputs.partitions == partition
        found, repeats = _first_times(samples.offsets[places], outputs.sources[ours], outputs.times_ms[ours])
        answered[places] = found
        repeated += repeats
    return Answers(samples, answered, repeated)


def match(samples: Times, outputs: Times) -> Latencies:
    """Each answered sample with its latency."""
    found = answers(samples, outputs)
    answered = found.answered_ms != UNANSWERED
    return Latencies(samples.times_ms[answered], found.latency_ms(), found.unanswered, found.repeated)


def _first_times(offsets: Integers, sources: Integers, times_ms: Integers) -> tuple[Integers, int]:
    """For ascending offsets the earliest time of each, and how many more there were."""
    places = np.searchsorted(offsets, sources)
    known = places < len(offsets)
    known[known] = offsets[places[known]] == sources[known]
    latest = np.iinfo(np.int64).max
    first = np.full(len(offsets), latest, np.int64)
    np.minimum.at(first, places[known], times_ms[known])
    answered = int((first != latest).sum())
    return np.where(first == latest, UNANSWERED, first), int(known.sum()) - answered


@dataclass(frozen=True)
class Silence:
    """The longest time without an output."""

    begin_ms: int
    end_ms: int

    @property
    def seconds(self) -> float:
        return (self.end_ms - self.begin_ms) / 1000


def longest_silence(times_ms: Integers, begin_ms: int, end_ms: int) -> Silence:
    """Between two times; they count as outputs, so a partition that never goes on is silent to the end."""
    inside = np.sort(times_ms[(times_ms > begin_ms) & (times_ms < end_ms)])
    marks = np.concatenate(([begin_ms], inside, [end_ms]))
    longest = int(np.argmax(np.diff(marks)))
    return Silence(int(marks[longest]), int(marks[longest + 1]))
