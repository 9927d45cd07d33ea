"""Sends a mix of records at a steady pace from a process of its own; started by `loads.py` with a `MixedLoad` as JSON.

What a plant sends that is no steady feed: streams that come and go, casts, bad records, duplicates, a hot stream. Each
mix is an endless iterator over records, decided by its arguments. Unlike `paced_sender.py` it encodes as it goes, so it
can send for hours. Every tick it sends what is due by an absolute schedule, one batch per partition.

    python benchmarks/mixed_sender.py LOAD
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from paced_sender import BATCH_BYTES, BATCHED_TICK_S, FLUSH_S, START_MS, STARTED, VALUES, Sent, due, report

from core.native.records import Records

Record = tuple[int, bytes | None, bytes | None]  # partition, key, value

# Shares of the samples that are followed by a record of this kind.
BAD, REPEATED, GAP, LATE = 0.002, 0.005, 0.001, 0.001
SENSORS = b',"casting_speed":%.3f,"mold_temperature":%.1f,"mold_level":%.2f,"cooling_water_flow":%.1f,"superheat":%.1f'
CONDITIONS = [b",".join(b"1.0" if i == chosen else b"0.0" for i in range(4)) for chosen in range(4)]
# An escaped solidus, as several JSON writers have it: not the plain case, so the full decoder takes these records.
ESCAPED = b"line\\/"
# Each of these is a dead letter, whatever state its stream has.
GARBAGE = (
    b"",
    b"{not json",
    b"\x00\xff\xfe\x01" * 20,
    b'{"sequence":"s","step":1}',
    b'{"sequence":"s","step":1,"signal":NaN,"condition_vector":[1.0,0.0,0.0,0.0]}',
    b'{"sequence":"s","step":1,"signal":1e300,"condition_vector":[1.0,0.0,0.0,0.0]}',
    b'{"sequence":"s","step":-1,"signal":0.5,"condition_vector":[1.0,0.0,0.0,0.0]}',
    b'{"sequence":"s","step":1,"signal":"high","condition_vector":[1.0,0.0,0.0,0.0]}',
    b'{"sequence":"s","step":1,"signal":0.5,"condition_vector":[1.0,0.0,0.0]}',
    b"[" * 500,
)


def _values(seed: int) -> list[float]:
    return np.random.default_rng(seed).standard_normal(VALUES).tolist()  # type: ignore[no-any-return]


def _sample(sequence: bytes, step: int, value: float, condition: bytes) -> bytes:
    head = b'{"sequence":"%b","step":%d,"timestamp_ms":%d' % (sequence, step, START_MS + step)
    return head + b',"signal":%.6f,"condition_vector":[%b]}' % (value, condition)


def even(streams: int, sequence: str, partitions: int, seed: int = 1, escaped: bool = False) -> Iterator[Record]:
    """One sample of each stream, then the next of each; ``escaped`` ones cost the worker many times as much."""
    values = _values(seed)
    name = (ESCAPED if escaped else b"") + sequence.encode()
    about = [(i % partitions, b"signal-%04d" % i, CONDITIONS[i % 4], 7919 * i) for i in range(streams)]
    for step in count():
        for partition, key, condition, first in about:
            yield partition, key, _sample(name, step, values[(first + step) % VALUES], condition)


def hot(others: int, sequence: str, partitions: int, seed: int = 1, escaped: bool = False) -> Iterator[Record]:
    """Every second sample is of one stream, in partition 0; the others are `even`."""
    values = _values(seed + 1)
    name = (ESCAPED if escaped else b"") + sequence.encode()
    for step, record in enumerate(even(others, sequence, partitions, seed, escaped)):
        yield record
        yield 0, b"hot", _sample(name, step, values[step % VALUES], CONDITIONS[0])


def garbage(
    others: int, sequence: str, partitions: int, seed: int = 1, every: int = 5, escaped: bool = False
) -> Iterator[Record]:
    """One record in ``every`` is garbage of one stream, in partition 0; the others are `even`."""
    bad = cycle(GARBAGE)
    for sent, record in enumerate(even(others, sequence, partitions, seed, escaped)):
        yield record
        if sent % (every - 1) == every - 2:
            yield 0, b"garbage", next(bad)


@dataclass
class _Feed:
    """A place for streams: one lives for a while, then another takes its place."""

    place: int
    left: int  # samples until the stream goes
    life: int = 0
    sequence: int = 0
    step: int = -1

    @property
    def key(self) -> bytes:
        """Streams of even places come back, those of odd places are new ones for ever."""
        return b"feed-%04d-%d" % (self.place, self.life if self.place % 2 else self.life % 4)

    def name(self, back: int = 0) -> bytes:
        """The name of the sequence, or of an earlier one of the same stream."""
        return b"%d-%d-%d" % (self.place, self.life, self.sequence - back)


def coming_and_going(places: int, steps: int, sequences: int, partitions: int, seed: int = 1) -> Iterator[Record]:
    """Signals: each stream lives for some ``sequences`` of ``steps`` samples, then goes, and another takes its place.

    Some samples are followed by a record that cannot be used, by themselves once more, or by a sample of the sequence
    before; some steps are missing. Each place keeps its partition.
    """
    draw, values = random.Random(seed), _values(seed)
    feeds = [_Feed(place, draw.randrange(1, steps * sequences)) for place in range(places)]
    while True:
        for feed in feeds:
            partition, condition = feed.place % partitions, CONDITIONS[feed.place % 4]
            chance = draw.random()
            feed.step += 2 if chance > 1 - GAP and feed.step >= 0 else 1
            sample = _sample(feed.name(), feed.step, values[(7919 * feed.place + feed.step) % VALUES], condition)
            yield partition, feed.key, sample
            if chance < BAD:
                yield partition, feed.key, draw.choice(GARBAGE)
            elif chance < BAD + REPEATED:
                yield partition, feed.key, sample
            elif chance < BAD + REPEATED + LATE and feed.sequence:
                yield partition, feed.key, _sample(feed.name(1), 3, 0.5, condition)
            _go_on(feed, steps, sequences)


def _go_on(feed: _Feed, steps: int, sequences: int) -> None:
    feed.left -= 1
    if not feed.left:
        feed.left, feed.life, feed.sequence, feed.step = steps * sequences, feed.life + 1, 0, -1
    elif feed.step + 1 >= steps:
        feed.sequence, feed.step = feed.sequence + 1, -1


@dataclass
class _Strand:
    place: int
    cast: int = 0
    step: int = -1
    length: int = 0
    ending: str = "end"
    pause: int = 0


def casts(
    strands: int, partitions: int, idle_turns: int, shortest: int = 60, longest: int = 500, seed: int = 1
) -> Iterator[Record]:
    """Castings: casts of drawn lengths, which end by ``end``, by the next sequence, or by silence of ``idle_turns``."""
    from core.data.castings import NOISE_STD, NOMINAL

    draw = random.Random(seed)
    rows = NOMINAL + NOISE_STD * np.random.default_rng(seed).standard_normal((4096, 5))
    values = [tuple(row) for row in rows.tolist()]
    feeds = [_Strand(place) for place in range(strands)]
    turn = 0
    while True:
        turn += 1
        for feed in feeds:
            if feed.pause:
                feed.pause -= 1
                continue
            if feed.step + 1 >= feed.length:
                feed.cast, feed.step, feed.length = feed.cast + 1, -1, draw.randrange(shortest, longest)
                feed.ending = draw.choices(("end", "next", "silence"), (6, 3, 1))[0]
            feed.step += 1
            last = feed.step + 1 == feed.length
            yield feed.place % partitions, b"strand-%02d" % feed.place, _casting(feed, values[turn % 4096], last)
            if last and feed.ending == "silence":
                feed.pause = idle_turns


def _casting(feed: _Strand, row: tuple[float, ...], last: bool) -> bytes:
    head = b'{"sequence":"cast-%d-%d","step":%d,"timestamp_ms":%d'
    end = b',"end":true}' if last and feed.ending == "end" else b"}"
    return head % (feed.place, feed.cast, feed.step, START_MS + 1000 * feed.step) + SENSORS % row + end


MIXES: dict[str, Callable[..., Iterator[Record]]] = {
    "even": even,
    "hot": hot,
    "garbage": garbage,
    "coming_and_going": coming_and_going,
    "casts": casts,
}


AT_ONCE = 20_000  # records in a tick: one that is far behind must not fall silent while it encodes
LATENESSES = 100_000


@dataclass(frozen=True)
class MixedLoad:
    """A mixed load, with its rate and its length.

    Args:
        mix: a key of `MIXES`.
        arguments: of the mix, without ``partitions``.
        rate: records per second.
    """

    program: ClassVar[str] = str(Path(__file__).resolve())

    config: dict[str, Any]
    topic: str
    mix: str
    rate: float
    seconds: float
    partitions: int = 4
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """All records, good and bad."""
        return round(self.rate * self.seconds)

    def records(self) -> Iterator[Record]:
        """Yield the records that the broker gets."""
        endless = MIXES[self.mix](partitions=self.partitions, **self.arguments)
        return islice(endless, self.samples)


async def send(load: MixedLoad) -> dict[str, Any]:
    """Send it all, or until SIGTERM; the report is `paced_sender.send`'s.

    Raises:
        SystemExit: the broker did not take every record.
    """
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError

    producer = AIOKafkaProducer(bootstrap_servers=load.config["bootstrap.servers"], enable_idempotence=True, acks="all")
    await producer.start()
    try:
        await producer.partitions_for(load.topic)
        gc.collect()
        gc.freeze()
        over = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
        print(STARTED, flush=True)
        return await _paced(producer, load, over)
    except (KafkaError, TimeoutError) as error:
        raise SystemExit(f"{load.topic}: records were not taken: {error!r}") from error
    finally:
        await producer.stop()


async def _paced(producer: Any, load: MixedLoad, over: asyncio.Event) -> dict[str, Any]:
    source, total = load.records(), load.samples
    acks: list[Any] = []
    late: list[float] = []
    sent = 0
    started = time.perf_counter()
    while sent < total and not over.is_set():
        now = time.perf_counter() - started
        wanted = min(due(now, load.rate, total), sent + AT_ONCE)
        if wanted > sent:
            late.append(now - sent / load.rate)
            acks += await _send_batches(producer, load, islice(source, wanted - sent))
            sent = wanted
        if len(late) > LATENESSES:
            late = late[::2]
        for ack in acks:
            if ack.done():
                ack.result()
        acks = [ack for ack in acks if not ack.done()]
        await asyncio.sleep(max(0.0, now + BATCHED_TICK_S - (time.perf_counter() - started)))
    await asyncio.wait_for(asyncio.gather(*acks), FLUSH_S)
    return report(Sent(sent, time.perf_counter() - started, late))


async def _send_batches(producer: Any, load: MixedLoad, records: Iterator[Record]) -> list[Any]:
    from stream_app.native.batches import BatchBuilder

    parts = [Records(partition) for partition in range(load.partitions)]
    for partition, key, value in records:
        parts[partition].append(key, value, -1, 0)  # no source offset: no header
    acks = []
    for partition, part in enumerate(parts):
        given = 0
        while given < len(part):
            builder = BatchBuilder(BATCH_BYTES)
            given = builder.extend(part, given, time.time_ns() // 1_000_000, b"", 0)
            acks.append(await producer.send_batch(builder, load.topic, partition=partition))
    return acks


if __name__ == "__main__":
    print(json.dumps(asyncio.run(send(MixedLoad(**json.loads(sys.argv[1]))))))
