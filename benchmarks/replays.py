"""One replay, or the plain loop beside it, in a process of its own that loads nothing else: its memory is measured.

    python benchmarks/replays.py replay|loop FILE STREAMS CLIENT_CONFIG TOPIC SPEED

`bench_replay.py` starts it and reads the JSON that it prints.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import msgspec
from confluent_kafka import KafkaError, Message, Producer
from paced_sender import START_MS

from core.wire.records import SignalSample
from replay.run import replay


@dataclass(frozen=True)
class Run:
    """One replay: what it sent, in how many seconds, and the most memory that its process had, in MiB."""

    records: int
    seconds: float
    cpu_s: float
    peak_mib: float

    @property
    def rate(self) -> float:
        """Records per second."""
        return self.records / self.seconds


def replay_once(path: str, streams: int, client_config: dict[str, Any], topic: str, speed: float) -> Run:
    """Replay the file."""
    begun_s = time.process_time()
    with tempfile.TemporaryDirectory() as directory:
        done = replay(
            path,
            client_config=client_config,
            topic_signal=topic,
            topic_casting=topic,
            data_dir=Path(directory),
            streams=streams,
            speed=speed,
        )
    return _used(done.sent, done.seconds, time.process_time() - begun_s)


def loop_once(path: str, streams: int, client_config: dict[str, Any], topic: str, _speed: float) -> Run:
    """The same records by a plain loop, all of the file in memory.

    Raises:
        RuntimeError: records were lost.
    """
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer(client_config | {"enable.idempotence": True, "linger.ms": 5})
    with h5py.File(path) as file:
        signals, conditions = file["mixed_signals"][:], file["condition_vectors"][:].tolist()
    begun, begun_s = time.monotonic(), time.process_time()
    for first in range(0, len(signals), streams):
        rows = range(first, min(first + streams, len(signals)))
        for step, values in enumerate(signals[rows.start : rows.stop].T.tolist()):
            for row, value in zip(rows, values, strict=True):
                sample = SignalSample(value, tuple(conditions[row]), f"loop-{row}", step, START_MS + step)
                while True:
                    try:
                        producer.produce(
                            topic,
                            msgspec.json.encode(sample),
                            f"signal-{row % streams:04d}".encode(),
                            on_delivery=delivered,
                        )
                        break
                    except BufferError:
                        producer.poll(0.1)
            producer.poll(0)
    left = producer.flush(60.0)
    if failed or left:
        raise RuntimeError(f"the loop has lost {len(failed) + left} records")
    return _used(signals.size, time.monotonic() - begun, time.process_time() - begun_s)


def _used(records: int, seconds: float, cpu_s: float) -> Run:
    # Not getrusage's maximum, which a process takes over from the one that started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return Run(records, seconds, cpu_s, int(status["VmHWM"].split()[0]) / 1024)


def main() -> int:
    """Entry point."""
    what, path, streams, client_config, topic, speed = sys.argv[1:]
    once = replay_once if what == "replay" else loop_once
    print(json.dumps(asdict(once(path, int(streams), json.loads(client_config), topic, float(speed)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
