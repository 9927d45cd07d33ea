"""Sends samples at a steady pace from a process of its own; started by `loads.py`, which gives it a `Load` as JSON.

Every tick of a millisecond or two it sends what is due by an absolute schedule, so that an error of one tick is not
carried on. How far behind the schedule each sample left is part of its report: a sender that is late makes bursts.

    python benchmarks/paced_sender.py LOAD
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

TICK_S = 0.002
# From this rate on, records are encoded into batches before the clock starts, and a tick sends one batch per partition:
# record by record, 170,000/s took two thirds of a core, which the worker and the broker then missed.
BATCHED_RATE = 50_000
BATCHED_TICK_S = 0.005
BATCH_BYTES = 900_000
START_MS = 1_700_000_000_000
VALUES = 2**16  # the models' speed does not depend on what the numbers are: a few are enough
FLUSH_S = 120.0
ENCODED_AHEAD = 2_000_000  # samples, some 400 MB; more are encoded as they go
STARTED = "started"
PUMP_CHANNELS = 12

Record = tuple[int, bytes, bytes]  # partition, key, value


@dataclass(frozen=True)
class Load:
    """A load. Samples go out in rounds, one of each stream; stream i is in partition i modulo ``partitions``.

    Args:
        rate: samples per second over all streams; 0 is as fast as possible.
        first_step: of every stream.
        stagger: stream i begins i modulo ``stagger`` steps later, so that windows are not all due at once.
        fill: send instead all that comes before: every stream from step 0 up to where it would begin.
        skip: samples of an earlier load that this one goes on from, so that no stream has a gap.
    """

    program: ClassVar[str] = str(Path(__file__).resolve())

    config: dict[str, Any]
    topic: str
    kind: Literal["signal", "casting", "pump"]
    streams: int
    rate: float
    samples: int
    sequence: str
    partitions: int = 4
    first_step: int = 0
    stagger: int = 1
    fill: bool = False
    seed: int = 1
    skip: int = 0


def order(load: Load) -> Iterator[tuple[int, int]]:
    """(stream, step) in the order in which they are sent."""
    begins = [load.first_step + stream % load.stagger for stream in range(load.streams)]
    if load.fill:
        for step in range(max(begins)):
            yield from ((stream, step) for stream, begin in enumerate(begins) if step < begin)
        return
    for sent in range(load.skip, load.skip + load.samples):
        passed, stream = divmod(sent, load.streams)
        yield stream, begins[stream] + passed


def records(load: Load) -> Iterator[Record]:
    """Yield the records that the broker gets."""
    write = _WRITERS[load.kind](load)
    keys = [f"{load.kind}-{stream:04d}".encode() for stream in range(load.streams)]
    for stream, step in islice(order(load), None if load.fill else load.samples):
        yield stream % load.partitions, keys[stream], write(stream, step)


def _signals(load: Load) -> Any:
    values = np.random.default_rng(load.seed).standard_normal(VALUES).tolist()
    start = b'{"sequence":"%b","step":' % load.sequence.encode()
    ends = [
        b',"condition_vector":[%b]}' % b",".join(b"1.0" if i == chosen else b"0.0" for i in range(4))
        for chosen in range(4)
    ]

    def write(stream: int, step: int) -> bytes:
        value = values[(stream * 7919 + step) % VALUES]
        return start + b'%d,"timestamp_ms":%d,"signal":%.6f' % (step, START_MS + step, value) + ends[stream % 4]

    return write


def _castings(load: Load) -> Any:
    from core.data.castings import NOISE_STD, NOMINAL

    rows = NOMINAL + NOISE_STD * np.random.default_rng(load.seed).standard_normal((VALUES, 5))
    values = [tuple(row) for row in rows.tolist()]
    start = b'{"sequence":"%b","step":' % load.sequence.encode()
    sensors = (
        b',"casting_speed":%.3f,"mold_temperature":%.1f,"mold_level":%.2f,"cooling_water_flow":%.1f,"superheat":%.1f}'
    )

    def write(stream: int, step: int) -> bytes:
        row = values[(stream * 7919 + step) % VALUES]
        return start + b'%d,"timestamp_ms":%d' % (step, START_MS + 1000 * step) + sensors % row

    return write


def _pumps(load: Load) -> Any:
    rows = 6 * np.random.default_rng(load.seed).standard_normal((VALUES, PUMP_CHANNELS))
    values = [",".join(f"{number:.4f}" for number in row).encode() for row in rows.tolist()]
    start = b'{"sequence":"%b","step":' % load.sequence.encode()

    def write(stream: int, step: int) -> bytes:
        vibration = values[(stream * 7919 + step) % VALUES]
        return start + b'%d,"timestamp_ms":%d,"vibration":[%b]}' % (step, START_MS + step, vibration)

    return write


_WRITERS = {"signal": _signals, "casting": _castings, "pump": _pumps}


def due(elapsed_s: float, rate: float, samples: int) -> int:
    """Samples that should have left ``elapsed_s`` after the start; all at once where the rate is 0."""
    return samples if rate == 0 else min(samples, int(elapsed_s * rate) + 1)


def send(load: Load) -> dict[str, Any]:
    """Send it all; the report: seconds it took, how late samples left (p50, p99 and max in ms), CPU seconds.

    Raises:
        SystemExit: the broker did not take every record.
    """
    if load.rate >= BATCHED_RATE:
        return asyncio.run(_send_batches(load))
    from confluent_kafka import KafkaError, Message, Producer

    failures: list[KafkaError] = []

    def failed(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    config: dict[str, Any] = {
        "enable.idempotence": True,
        "linger.ms": 0 if load.rate else 20,
        "queue.buffering.max.messages": 500_000,
        "delivery.report.only.error": True,
        "log_level": 3,
    }
    producer = Producer({**load.config, **config, "on_delivery": failed})
    found = producer.list_topics(load.topic, timeout=FLUSH_S).topics[load.topic]  # connected before the clock starts
    if found.error is not None:
        raise SystemExit(f"{load.topic}: {found.error.str()}")
    source = records(load)
    ahead = list(source) if load.rate and load.samples <= ENCODED_AHEAD else None  # encoded before the clock starts
    _spare_garbage_collection()
    print(STARTED, flush=True)
    late_s = _paced(producer, load, iter(ahead) if ahead is not None else source)
    left = producer.flush(FLUSH_S)
    if failures or left:
        raise SystemExit(f"{load.topic}: {len(failures) + left:,} records were not taken: {failures[:1]}")
    return report(late_s)


def report(sent: Sent) -> dict[str, Any]:
    """Samples, seconds, how late they left (ms), CPU seconds."""
    late_ms = 1000 * np.array(sent.late or [0.0])
    p50, p99 = np.percentile(late_ms, (50, 99))
    return {
        "samples": sent.sent,
        "seconds": sent.seconds,
        "late_p50_ms": float(p50),
        "late_p99_ms": float(p99),
        "late_max_ms": float(late_ms.max()),
        "cpu_s": time.process_time(),
    }


@dataclass
class Sent:
    """The records sent, the seconds that took, and the lateness (s) of the first sample of each tick."""

    sent: int
    seconds: float
    late: list[float]


def _paced(producer: Any, load: Load, source: Iterator[Record]) -> Sent:
    produce, late, sent = producer.produce, [], 0
    total = sys.maxsize if load.fill else load.samples
    started = time.perf_counter()
    while sent < total:
        now = time.perf_counter() - started
        wanted = due(now, load.rate, total)
        if load.rate and wanted > sent:
            late.append(now - sent / load.rate)  # of the first one: the others of this tick are less late
        count = 0
        for partition, key, value in islice(source, min(wanted - sent, 10_000)):
            count += 1
            while True:
                try:
                    produce(load.topic, value, key, partition)
                    break
                except BufferError:  # the queue is full: the broker is slower than we are
                    producer.poll(0.05)
        if not count and wanted > sent:
            break  # a fill has come to its end
        sent += count
        producer.poll(0)
        if load.rate and sent < total:
            next_tick = max(now + TICK_S, sent / load.rate)
            time.sleep(max(0.0, next_tick - (time.perf_counter() - started)))
    return Sent(sent, time.perf_counter() - started, late)


async def _send_batches(load: Load) -> dict[str, Any]:
    """`send` for high rates."""
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError

    from core.native.records import Records
    from stream_app.native.batches import BatchBuilder

    encoded = [Records(partition) for partition in range(load.partitions)]
    for partition, key, value in records(load):
        encoded[partition].append(key, value, -1, 0)  # no source offset: no header
    producer = AIOKafkaProducer(bootstrap_servers=load.config["bootstrap.servers"], enable_idempotence=True, acks="all")
    await producer.start()
    acks: list[Any] = []
    _spare_garbage_collection()
    print(STARTED, flush=True)
    late, sent, given = [], 0, [0] * load.partitions
    started = time.perf_counter()
    while sent < load.samples:
        now = time.perf_counter() - started
        wanted = due(now, load.rate, load.samples)
        late.append(now - sent / load.rate)
        for partition in range(load.partitions):
            # Stream i, and so every record i of a round, is in partition i modulo their number.
            end = (wanted - partition + load.partitions - 1) // load.partitions
            while given[partition] < end:
                builder = BatchBuilder(BATCH_BYTES)
                part = encoded[partition][given[partition] : end]
                given[partition] += builder.extend(part, 0, time.time_ns() // 1_000_000, b"", 0)
                acks.append(await producer.send_batch(builder, load.topic, partition=partition))
        sent = wanted
        acks = [ack for ack in acks if not ack.done() or ack.exception()]
        await asyncio.sleep(max(0.0, now + BATCHED_TICK_S - (time.perf_counter() - started)))
    try:
        await asyncio.wait_for(asyncio.gather(*acks), FLUSH_S)
    except (KafkaError, TimeoutError) as error:
        raise SystemExit(f"{load.topic}: records were not taken: {error!r}") from error
    await producer.stop()
    return report(Sent(sent, time.perf_counter() - started, late))


def _spare_garbage_collection() -> None:
    gc.collect()
    gc.freeze()
    gc.disable()


if __name__ == "__main__":
    print(json.dumps(send(Load(**json.loads(sys.argv[1])))))
