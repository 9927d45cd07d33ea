"""The streams of the system that version 0.1 left: what is sent in each phase of its life, and what must come of all.

The files hold the records of all phases but the last; the last one is sent to the worker of now.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain, zip_longest

import msgspec

from tests.broker import ToSend
from tests.golden.inputs import PACKED, few_digits
from tests.offline import Expected, Sample, casting_samples, predictions, scores, signal_samples

TIME_MS = 1_700_000_000_000
APART_MS = 20


class Phase(IntEnum):
    """The parts of the system's life."""

    OTHER_MODEL = 0
    """By a worker with another model."""
    COMMITTED = 1
    """Committed, all of it."""
    STATES_WRITTEN = 2
    """In the states; the last committed offset of partition 1 is older, as if the worker had died between the two."""
    PUBLISHED = 3
    """Published, but neither in states nor committed: the worker was killed."""
    WAITING = 4
    """Sent when no worker ran."""
    AFTER = 5
    """Sent to the worker of now."""


@dataclass(frozen=True)
class History:
    """One stream from its beginning to its end."""

    name: str
    task: str
    partition: int
    sent: dict[Phase, list[Sample]]
    runs: list[list[Sample]]
    """The samples that count, by runs: the model begins at zeros with each of them."""
    ended: bool = False
    """Of a cast: its last run has its final score."""
    refused: int = 0
    """Dead letters."""
    packed: bool = False
    by_other: int = 0
    """Samples of the first run that the other model has seen; its outputs are not compared."""
    offsets: list[int] = field(default_factory=list)

    def records(self, phase: Phase) -> list[ToSend]:
        """The records of a phase, without a time."""
        return [self._record(sample) for sample in self.sent.get(phase, [])]

    def _record(self, sample: Sample) -> ToSend:
        value = msgspec.msgpack.encode(sample) if self.packed else json.dumps(sample, ensure_ascii=False).encode()
        return ToSend(self.name, value, PACKED if self.packed else [], self.partition)

    def predictions(self) -> list[float]:
        """All predictions of a signal, in order, without those of the other model."""
        first, *others = self.runs
        return list(chain.from_iterable(map(predictions, [first[self.by_other :], *others])))

    def scores(self) -> list[Expected]:
        """All scores of a cast, in order."""
        *before, last = self.runs
        found = [score for run in before for score in scores(run, True, _steps(run))]
        return found + scores(last, self.ended, _steps(last))


def records_of(histories: Sequence[History], phase: Phase, start_ms: int) -> dict[str, list[ToSend]]:
    """The records of a phase by task, of all streams in turn, each ``APART_MS`` after the one before."""
    turns = [one for turn in zip_longest(*(_named(history, phase) for history in histories)) for one in turn if one]
    found: dict[str, list[ToSend]] = {"signal": [], "casting": []}
    for number, (task, one) in enumerate(turns):
        time_ms = start_ms + number * APART_MS
        found[task].append(ToSend(one.key, one.value, one.headers, one.partition, time_ms))
    return found


def _named(history: History, phase: Phase) -> list[tuple[str, ToSend]]:
    return [(history.task, record) for record in history.records(phase)]


def _steps(run: Sequence[Sample]) -> list[int]:
    """The steps of a run; those that count without a step begin at 0."""
    return [sample.get("step", place) for place, sample in enumerate(run)]


def _parts(samples: Sequence[Sample], *counts: int, first: Phase = Phase.COMMITTED) -> dict[Phase, list[Sample]]:
    """Samples for one phase after the other; the rest for the last one."""
    found, at = {}, 0
    for phase, count in zip(list(Phase)[first:], counts, strict=False):
        found[phase] = list(samples[at : at + count])
        at += count
    found[Phase.AFTER] = [*found.get(Phase.AFTER, []), *samples[at:]]
    return found


def _named_sequence(samples: Sequence[Sample], sequence: str) -> list[Sample]:
    return [{**sample, "sequence": sequence} for sample in samples]


def _timed(samples: Sequence[Sample]) -> list[Sample]:
    return [{**sample, "timestamp_ms": TIME_MS + 10 * place} for place, sample in enumerate(samples)]


def all_histories() -> list[History]:
    """Every stream, of both tasks."""
    return [*_signals(), *_casts()]


def _signals() -> list[History]:
    plain = _named_sequence(signal_samples(40, 21), "Schicht ä")
    gap = [sample for sample in signal_samples(44, 22) if not 5 <= sample["step"] < 9]
    first, again = signal_samples(10, 23), signal_samples(20, 24)
    uncounted = [{name: held for name, held in one.items() if name != "step"} for one in signal_samples(36, 25)]
    packed = signal_samples(36, 26)
    other = _named_sequence(signal_samples(28, 27), "A")
    return [
        History("Gießrinne 1", "signal", 0, _parts(plain, 20, 6, 6, 4), [plain]),
        History("gap", "signal", 0, _parts(gap, 18, 6, 6, 4), [gap]),
        History("restarted", "signal", 1, _parts([*first, *again], 14, 5, 4, 3), [first, again]),
        History("uncounted", "signal", 1, _parts(uncounted, 16, 5, 5, 4), [uncounted]),
        History("packed", "signal", 1, _parts(packed, 16, 5, 5, 4), [packed], packed=True),
        History("quiet", "signal", 0, _parts(packed, 30), [packed]),
        History(
            *("remodelled", "signal", 0),
            _parts(other, 12, 0, 0, 0, 8, first=Phase.OTHER_MODEL),
            [other],
            by_other=12,
        ),
        _step_back(),
        _late(),
    ]


def _step_back() -> History:
    """The last record that its state includes went back; the next one follows on it and begins again."""
    samples = _named_sequence(_timed(signal_samples(40, 28)), "A")
    counted = [{**sample, "step": sample["step"] - 15} for sample in samples[18:]]
    back, again = counted[0], counted[1:]
    sent = {
        Phase.COMMITTED: samples[:14],
        Phase.STATES_WRITTEN: [*samples[14:18], back],
        Phase.PUBLISHED: again[:5],
        Phase.WAITING: again[5:9],
        Phase.AFTER: again[9:],
    }
    return History("stepped back", "signal", 0, sent, [samples[:18], again], refused=1)


def _late() -> History:
    """Records of the sequence before the current one come in every phase."""
    one, two = _named_sequence(signal_samples(20, 29), "one"), _named_sequence(signal_samples(30, 30), "two")
    sent = {
        Phase.COMMITTED: [*one[:10], *two[:6]],
        Phase.STATES_WRITTEN: two[6:10],
        Phase.PUBLISHED: [*two[10:12], one[10], *two[12:14]],
        Phase.WAITING: [one[11], *two[14:18]],
        Phase.AFTER: [one[12], *two[18:]],
    }
    return History("late", "signal", 1, sent, [one[:10], two], refused=3)


def _casts() -> list[History]:
    opened = _named_sequence(few_digits(casting_samples(262, 31)), "cast-1")
    opened[-1]["end"] = True
    closed = _named_sequence(few_digits(casting_samples(112, 32)), "cast-1")
    closed[109]["end"] = True
    next_one = _named_sequence(few_digits(casting_samples(104, 33)), "cast-2")
    first = _named_sequence(few_digits(casting_samples(30, 34)), "cast-1")
    second = _named_sequence(few_digits(casting_samples(134, 35)), "cast-2")
    long = _named_sequence(few_digits(casting_samples(620, 36)), "cast-1")
    gappy = [one for one in few_digits(casting_samples(150, 37)) if not 60 <= one["step"] < 70]
    other = _named_sequence(few_digits(casting_samples(135, 38)), "cast-1")
    return [
        History("strand 1", "casting", 0, _parts(opened, 170, 15, 40, 20), [opened], ended=True),
        History(
            *("closed", "casting", 0),
            {Phase.COMMITTED: closed[:110], Phase.PUBLISHED: closed[110:111], Phase.AFTER: [closed[111], *next_one]},
            [closed[:110], next_one],
            refused=2,
        ),
        History("second", "casting", 1, _parts([*first, *second], 50, 40, 35, 20), [first, second]),
        History("long", "casting", 1, _parts(long, 545, 10, 20, 15), [long]),
        History("with a gap", "casting", 0, _parts(gappy, 80, 15, 15, 10), [gappy]),
        History("remodelled", "casting", 1, _parts(other, 90, 0, 0, 0, 15, first=Phase.OTHER_MODEL), [other]),
    ]
