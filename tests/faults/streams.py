"""Endless streams of each task as producers send them, with all the faults of real ones, drawn from a seed."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import msgspec

SIGNAL, CASTING, PUMP = "signal-samples", "casting-samples", "pump-samples"
FIRST_MS = 1_700_000_000_000  # the clock of samples that say their time
MSGPACK = (("content-type", b"application/msgpack"),)


@dataclass(frozen=True)
class Record:
    """One record to be sent, or, without a topic, a pause."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    pause_s: float = 0.0


@dataclass(frozen=True)
class Habits:
    """How often, per sample, a producer does what it should not."""

    duplicate: float = 0.004
    block: float = 0.001  # the last samples once more
    swap: float = 0.003
    overtaken: float = 0.002  # a sample comes after some that were taken later
    restart: float = 0.006  # of the counter, in the middle of a sequence
    odd_step: float = 0.002  # of a new sample, far below the last one
    gap: float = 0.004
    bad: float = 0.003
    late: float = 0.002
    new_sequence: float = 0.003
    pause: float = 0.0005
    longest_pause_s: float = 3.0


class Stream:
    """One stream; iterate over it for what its producer sends, in order.

    Args:
        number: of the stream, among those of its kind.
        partitions: of the topic.
        seed: decides everything.
        habits: of its producer.
    """

    topic: ClassVar[str]
    word: ClassVar[str]

    def __init__(self, number: int, partitions: int, seed: str, habits: Habits) -> None:
        self.random = random.Random(f"{seed}/{self.word}/{number}")
        self.key = f"{self.word}-{number:03d}".encode()
        self.partition = number % partitions
        self.habits = habits
        self.counted = self.random.random() < 0.6
        """Else its samples have no steps: only offsets keep them from being applied twice."""
        self.timed = self.random.random() < 0.6
        """Its samples say their own time."""
        self.packed = self.random.random() < 0.3
        self.restarts = 0
        self._sequences = 0
        self._taken = 0
        self._zero = 0
        self._sent: list[Record] = []
        self._events: list[tuple[float, Callable[[], Iterator[Record]]]] = [
            (habits.duplicate, self._duplicate),
            (habits.block, self._block),
            (habits.swap, self._swapped),
            (habits.overtaken, self._overtaken),
            (habits.restart, self._restart),
            (habits.odd_step, self._odd_step),
            (habits.gap, self._gap),
            (habits.bad, self._bad),
            (habits.late, self._late),
            (habits.new_sequence, self._new_sequence),
            (habits.pause, self._pause),
        ]
        self.begin()

    # What a kind of stream adds.

    def begin(self) -> None:
        """Another sequence begins."""
        self._sequences += 1
        self.step = self._zero = 0

    @property
    def sequence(self) -> str:
        raise NotImplementedError

    def numbers(self) -> dict[str, Any]:
        """The fields that the model reads, of the sample at ``step``."""
        raise NotImplementedError

    def sample(self) -> Record:
        """The next sample of the sequence."""
        record = self.record(self._fields(self.sequence, self.step))
        self.step += 1
        return record

    # What its producer does.

    def __iter__(self) -> Iterator[Record]:
        while True:
            yield self._keep(self.sample())
            dice = self.random.random()
            for share, event in self._events:
                dice -= share
                if dice < 0:
                    yield from event()
                    break

    def _duplicate(self) -> Iterator[Record]:
        yield self._sent[-1]

    def _block(self) -> Iterator[Record]:
        yield from self._sent[-self.random.randint(2, 20) :]

    def _swapped(self) -> Iterator[Record]:
        first, second = self.sample(), self.sample()
        yield self._keep(second)
        yield self._keep(first)

    def _overtaken(self) -> Iterator[Record]:
        late = self.sample()
        for _ in range(self.random.randint(1, 5)):
            yield self._keep(self.sample())
        yield self._keep(late)

    def _restart(self) -> Iterator[Record]:
        """The counter begins again; only samples that say their time can be told from repeats."""
        if self.counted and self.timed and self.step - self._zero > 3:
            self.restarts += 1
            self._zero = self.step - self.random.choice((0, 0, 1))
            first = self._keep(self.sample())
            yield from [first] * self.random.choice((1, 1, 2))

    def _odd_step(self) -> Iterator[Record]:
        fields = self._fields(self.sequence, self.step)
        if "step" in fields and fields["step"] > 3:
            yield self._keep(self.record(fields | {"step": self.random.randrange(fields["step"])}))

    def _gap(self) -> Iterator[Record]:
        self.step += self.random.choice((1, 1, 2, 5, 30, 80))
        yield self._keep(self.sample())

    def _late(self) -> Iterator[Record]:
        if self._sent:
            yield replace(self.random.choice(self._sent[:5]))

    def _new_sequence(self) -> Iterator[Record]:
        self.begin()
        yield self._keep(self.sample())

    def _pause(self) -> Iterator[Record]:
        yield Record("", 0, None, None, pause_s=self.random.uniform(0.5, self.habits.longest_pause_s))

    def _bad(self) -> Iterator[Record]:
        good = self._fields(self.sequence, self.step)
        key, value, headers = self.random.choice(BAD)(self.key, good)
        yield Record(self.topic, self.partition, key, value, headers)

    def record(self, fields: dict[str, Any]) -> Record:
        value = msgspec.msgpack.encode(fields) if self.packed else json.dumps(fields).encode()
        return Record(self.topic, self.partition, self.key, value, MSGPACK if self.packed else ())

    def _fields(self, sequence: str, step: int) -> dict[str, Any]:
        self._taken += 1
        counter = {"step": step - self._zero} if self.counted else {}
        own_time = {"timestamp_ms": FIRST_MS + 10 * self._taken} if self.timed else {}
        return {**self.numbers(), **counter, **own_time, "sequence": sequence}

    def _keep(self, record: Record) -> Record:
        self._sent = [*self._sent[-40:], record]
        return record


class SignalStream(Stream):
    """Sinusoids; every third stream has no sequence names, and begins again by step 0."""

    topic, word = SIGNAL, "signal"

    def begin(self) -> None:
        super().begin()
        self._named = int(self.key[-3:]) % 3 > 0
        self._condition = [float(i == self.random.randrange(4)) for i in range(4)]
        self._phase = self.random.uniform(0, 6.28)

    @property
    def sequence(self) -> str:
        return f"s{self._sequences}" if self._named else ""

    def numbers(self) -> dict[str, Any]:
        value = sum(math.sin(self._phase * k + 6.2832 * k * self.step / 1000) for k in (1, 3, 5, 7)) / 4
        return {"signal": value + self.random.gauss(0, 0.1), "condition_vector": self._condition}


class EndingStream(Stream):
    """Sequences, one after the other: some end with `end`, the others with their successor's first sample."""

    lengths: ClassVar[tuple[int, ...]]
    says_end: ClassVar[float]
    """The share of sequences that end with `end`."""
    called: ClassVar[str]
    """The word in their names."""

    def begin(self) -> None:
        super().begin()
        self._length = self.random.choice(self.lengths)
        self._says_end = self.random.random() < self.says_end

    @property
    def sequence(self) -> str:
        return f"{self.called}-{self._sequences}"

    def sample(self) -> Record:
        if self.step >= self._length:
            self.begin()
        fields = self._fields(self.sequence, self.step)
        self.step += 1
        return self.record({**fields, "end": True} if self._says_end and self.step >= self._length else fields)


class CastingStream(EndingStream):
    """Casts."""

    topic, word, called = CASTING, "strand", "cast"
    lengths, says_end = (10, 40, 60, 90, 150, 400), 0.6

    def numbers(self) -> dict[str, Any]:
        draw = self.random.gauss
        return {
            "casting_speed": draw(1.2, 0.05),
            "mold_temperature": draw(1520, 10),
            "mold_level": draw(150, 12),
            "cooling_water_flow": draw(200, 15),
            "superheat": draw(25, 3),
        }


class PumpStream(EndingStream):
    """A pump of `tests.pump`, whose records lack the load now and then, also where a run begins."""

    topic, word, called = PUMP, "pump", "run"
    lengths, says_end = (40, 150, 400), 0.5

    def numbers(self) -> dict[str, Any]:
        name = "vib" if self.random.random() < 0.1 else "vibration"
        found: dict[str, Any] = {name: [round(self.random.gauss(0, 1.5), 3) for _ in range(2)]}
        if self.random.random() < (0.97 if self.step == 0 else 0.7):
            found["load"] = self.random.uniform(0, 100)
        return found


Bad = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


def _text(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


BAD: tuple[Callable[[bytes, dict[str, Any]], Bad], ...] = (
    lambda key, fields: (None, _text(fields), ()),
    lambda key, fields: (b"\xff\xfe", _text(fields), ()),
    lambda key, fields: (b"k" * 256, _text(fields), ()),
    lambda key, fields: (key, None, ()),
    lambda key, fields: (key, b"{", ()),
    lambda key, fields: (key, b"\x81", MSGPACK),
    lambda key, fields: (key, _text(fields), (("content-type", b"text/csv"),)),
    lambda key, fields: (key, _text({**fields, "step": -1}), ()),
    lambda key, fields: (key, _text({**fields, "sequence": 7}), ()),
    lambda key, fields: (key, _text({"step": 3}), ()),
    lambda key, fields: (key, _text({**fields, "step": 2**52}), ()),
    lambda key, fields: (key, _text({name: 1e7 if type(v) is float else v for name, v in fields.items()}), ()),
    lambda key, fields: (key, _text({name: float("nan") if type(v) is float else v for name, v in fields.items()}), ()),
)
"""Records that cannot be used, made of good ones: key, value, headers."""
