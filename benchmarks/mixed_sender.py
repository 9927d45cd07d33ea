"""Sends a mix of records at a steady pace from a process of its own; started by `loads.py` with a `MixedLoad` as JSON.

Unlike `paced_sender.py` it encodes as it goes, so it can send for hours, and any of `mixes.py`. Every tick it sends
what is due by an absolute schedule, one batch per partition.

    python benchmarks/mixed_sender.py LOAD
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from mixes import MIXES, Record
from paced_sender import BATCH_BYTES, BATCHED_TICK_S, FLUSH_S, STARTED, Sent, due, report

from core.native.records import Records

AT_ONCE = 20_000  # records in a tick: one that is far behind must not fall silent while it encodes
LATENESSES = 100_000


@dataclass(frozen=True)
class MixedLoad:
    """What is sent, how fast and how long.

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
        """What the broker gets."""
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
