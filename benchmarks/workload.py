"""What every peer has to do: many streams, one sample per record, all in the source topic before a clock runs.

Shapes: S streams, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import msgspec
import numpy as np
import torch
from confluent_kafka import KafkaError, Message, Producer
from numpy.typing import NDArray

from core.data.signals import draw_signals
from core.errors import RunError
from core.models.signal_lstm import SignalExtractionLSTM
from stream_app.settings import Settings
from stream_app.topics import SIGNAL_SAMPLES

START_MS = 1_700_000_000_000
STREAMS_AT_ONCE = 100  # of the offline run: 3,000 steps of 100 streams are 77 MB of layer output
FLUSH_S = 120.0


class Sample(msgspec.Struct, frozen=True):
    """A record of the source topic as a producer outside caststream writes it."""

    sequence: str
    step: int
    timestamp_ms: int
    signal: float
    condition_vector: tuple[float, ...]


@dataclass(frozen=True)
class Record:
    """One record to send."""

    partition: int
    key: bytes
    value: bytes


@dataclass(frozen=True)
class Workload:
    """S streams of T samples each, step 0 of all streams first, then step 1, ...; the seed decides the values.

    Stream i is in partition i modulo ``partitions``, so that every partition has the same work.
    """

    streams: int = 1000
    steps: int = 3000
    partitions: int = 4
    seed: int = 1

    @property
    def samples(self) -> int:
        """Records of all streams together."""
        return self.streams * self.steps

    @cached_property
    def names(self) -> list[str]:
        """The streams' ids."""
        return [f"signal-{i:04d}" for i in range(self.streams)]

    @cached_property
    def signals(self) -> NDArray[np.float64]:
        """(S, T), to six decimals, as a sensor gives them."""
        blocks = [
            draw_signals(self.seed, first, min(STREAMS_AT_ONCE, self.streams - first), self.steps).mixed
            for first in range(0, self.streams, STREAMS_AT_ONCE)
        ]
        return np.concatenate(blocks).astype(np.float64).round(6)

    @cached_property
    def conditions(self) -> NDArray[np.float64]:
        """(S, 4), one-hot."""
        return np.eye(4)[np.arange(self.streams) % 4]

    def records(self) -> Iterator[Record]:
        """Every record, in the order in which they are sent."""
        encode = msgspec.json.Encoder().encode
        conditions = [tuple(row) for row in self.conditions.tolist()]
        streams = [
            (i % self.partitions, name.encode(), f"bench-{i:04d}", conditions[i]) for i, name in enumerate(self.names)
        ]
        for step in range(self.steps):
            values = self.signals[:, step].tolist()
            for value, (partition, key, sequence, condition) in zip(values, streams, strict=True):
                yield Record(partition, key, encode(Sample(sequence, step, START_MS + step, value, condition)))

    def predictions(self, model: SignalExtractionLSTM) -> NDArray[np.float32]:
        """(S, T): what the model gives offline, each stream as one whole sequence."""
        inputs = np.empty((self.streams, self.steps, 5), np.float32)
        inputs[..., 0] = self.signals
        inputs[..., 1:] = self.conditions[:, None]
        if (statistics := model.input_statistics) is not None:
            mean, std = (np.asarray(statistics[name], np.float32) for name in ("mean", "std"))
            inputs = (inputs - mean) / std
        with torch.inference_mode():
            blocks = [
                model(torch.from_numpy(inputs[first : first + STREAMS_AT_ONCE]))[0][..., 0]
                for first in range(0, self.streams, STREAMS_AT_ONCE)
            ]
        return cast(NDArray[np.float32], torch.cat(blocks).numpy())


def preload(workload: Workload, settings: Settings) -> float:
    """Send the whole workload to the source topic and wait until the broker has it.

    Returns:
        The mean size of the records' values, in bytes.

    Raises:
        RunError: the broker did not take every record.
    """
    topic = settings.topic(SIGNAL_SAMPLES)
    failures: list[KafkaError] = []
    config: dict[str, Any] = {
        "enable.idempotence": True,
        "linger.ms": 20,
        "queue.buffering.max.messages": 500_000,
        "log_level": 3,
    }

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer({**settings.client_config(), **config, "on_delivery": delivered})
    size = 0
    for record in workload.records():
        size += len(record.value)
        while True:
            try:
                producer.produce(topic, record.value, record.key, record.partition)
                break
            except BufferError:  # the queue is full: the broker is slower than we are
                producer.poll(0.1)
    left = producer.flush(FLUSH_S)
    if failures or left:
        raise RunError(f"{topic}: {len(failures) + left:,} records were not taken by the broker: {failures[:1]}")
    return size / workload.samples
