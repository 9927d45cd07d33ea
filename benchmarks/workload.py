"""The task of every peer, and the record of what it published.

Many streams, one sample per record, all in the source topic before a clock runs. Outputs are read when the peer has
stopped, checked against the offline run, and only then timed.

Shapes: S streams, T steps, N samples or outputs.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, cast

import msgspec
import numpy as np
import torch
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from numpy.typing import NDArray

from core.data.signals import draw_signals
from core.engines.infer import prepare
from core.errors import RunError
from core.models.signal_lstm import SignalExtractionLSTM
from core.wire.records import CONTENT_TYPES
from stream_app.routes import SIGNAL_SAMPLES
from stream_app.settings import Settings

START_MS = 1_700_000_000_000
VALUES_AT_ONCE = 300_000  # of the generator and the offline run: 77 MB of layer output
RECORDS_AT_ONCE = 10_000
FLUSH_S = 120.0
TOLERANCE = 1e-5
WARM_UP = 0.1
"""Share of the outputs, the first ones, that a rate does not count, where the peer says nothing else."""

READ_AT_ONCE = 10_000
READ_TIMEOUT_S = 60.0
UNKNOWN = -1

Integers = NDArray[np.int64]


class Sample(msgspec.Struct, frozen=True):
    """A record of the source topic as a producer outside caststream writes it."""

    sequence: str
    step: int
    timestamp_ms: int
    signal: float
    condition_vector: tuple[float, ...]


class Record(NamedTuple):
    """One record to send."""

    partition: int
    key: bytes
    value: bytes


@dataclass(frozen=True)
class Workload:
    """N samples of S streams; the seed decides the values. Stream i is in partition i modulo ``partitions``.

    Args:
        samples: N.
        order: "turns": step 0 of all streams first, then step 1, ..., so that all streams are equally far, and every
            partition has the same work. "random": each sample is of a stream drawn at random.
        output_format: of samples and predictions, a key of `CONTENT_TYPES`.
    """

    streams: int = 1000
    samples: int = 3_000_000
    partitions: int = 4
    seed: int = 1
    order: Literal["turns", "random"] = "turns"
    output_format: Literal["json", "msgpack"] = "json"

    @cached_property
    def names(self) -> list[str]:
        """The streams' ids."""
        return [f"signal-{i:04d}" for i in range(self.streams)]

    @cached_property
    def _drawn(self) -> NDArray[np.int32]:
        """(N,): the stream of each sample, in the order "random"."""
        return np.random.default_rng([self.seed, 3]).integers(0, self.streams, self.samples, np.int32)

    @cached_property
    def lengths(self) -> Integers:
        """(S,): the samples of each stream."""
        if self.order == "random":
            return np.bincount(self._drawn, minlength=self.streams)
        return np.full(self.streams, self.samples // self.streams) + (
            np.arange(self.streams) < self.samples % self.streams
        )

    @property
    def steps(self) -> int:
        """T, of the longest stream."""
        return int(self.lengths.max())

    @property
    def _streams_at_once(self) -> int:
        return max(1, VALUES_AT_ONCE // self.steps)

    @cached_property
    def signals(self) -> NDArray[np.float64]:
        """(S, T), to six decimals, as a sensor gives them."""
        blocks = [
            draw_signals(self.seed, first, min(self._streams_at_once, self.streams - first), self.steps).mixed
            for first in range(0, self.streams, self._streams_at_once)
        ]
        return np.concatenate(blocks).astype(np.float64).round(6)

    @cached_property
    def conditions(self) -> NDArray[np.float64]:
        """(S, 4), one-hot."""
        return np.eye(4)[np.arange(self.streams) % 4]

    def records(self) -> Iterator[Record]:
        """Every record, in the order in which they are sent."""
        encode = (msgspec.json if self.output_format == "json" else msgspec.msgpack).Encoder().encode
        conditions = [tuple(row) for row in self.conditions.tolist()]
        about = [
            (i % self.partitions, name.encode(), f"bench-{i:04d}", conditions[i]) for i, name in enumerate(self.names)
        ]
        for streams, steps in self._cells():
            values = self.signals[streams, steps].tolist()
            for stream, step, value in zip(streams.tolist(), steps.tolist(), values, strict=True):
                partition, key, sequence, condition = about[stream]
                yield Record(partition, key, encode(Sample(sequence, step, START_MS + step, value, condition)))

    def _cells(self) -> Iterator[tuple[Integers, Integers]]:
        """Stream and step of every sample, some thousands at a time."""
        seen = np.zeros(self.streams, np.int64)
        for first in range(0, self.samples, RECORDS_AT_ONCE):
            places = np.arange(first, min(first + RECORDS_AT_ONCE, self.samples))
            if self.order == "turns":
                yield places % self.streams, places // self.streams
            else:
                streams = self._drawn[places].astype(np.int64)
                yield streams, seen[streams] + _earlier(streams)
                seen += np.bincount(streams, minlength=self.streams)

    def predictions(self, model: SignalExtractionLSTM) -> NDArray[np.float32]:
        """(S, T): what the model gives offline, each stream as one whole sequence; NaN past its end."""
        expected = np.empty((self.streams, self.steps), np.float32)
        for first in range(0, self.streams, self._streams_at_once):
            rows = slice(first, first + self._streams_at_once)
            inputs = np.empty((*self.signals[rows].shape, 5), np.float32)
            inputs[..., 0] = self.signals[rows]
            inputs[..., 1:] = self.conditions[rows, None]
            expected[rows] = offline(model, inputs)
        expected[np.arange(self.steps) >= self.lengths[:, None]] = np.nan
        return expected


def offline(model: SignalExtractionLSTM, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """(S, T): what the model makes of whole sequences (S, T, F), in one call."""
    prepare(model)
    if (statistics := model.input_statistics) is not None:
        mean, std = (np.asarray(statistics[name], np.float32) for name in ("mean", "std"))
        inputs = (inputs - mean) / std
    with torch.inference_mode():
        return np.asarray(model(torch.from_numpy(inputs))[0][..., 0].numpy())


def _earlier(streams: Integers) -> Integers:
    """Count how often each element stands earlier in the same array."""
    order = np.argsort(streams, kind="stable")
    _, first, counts = np.unique(streams[order], return_index=True, return_counts=True)
    earlier = np.empty_like(streams)
    earlier[order] = np.arange(len(streams)) - np.repeat(first, counts)
    return earlier


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
        "delivery.report.only.error": True,  # a call for each record would take half of the time
        "log_level": 3,
    }
    # As a producer of JSON does it: without a header.
    headers = None if workload.output_format == "json" else [("content-type", CONTENT_TYPES["msgpack"])]

    def failed(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer({**settings.client_config(), **config, "on_delivery": failed})
    size = 0
    for partition, key, value in workload.records():
        size += len(value)
        while True:
            try:
                producer.produce(topic, value, key, partition, headers=cast(Any, headers))
                break
            except BufferError:  # the queue is full: the broker is slower than we are
                producer.poll(0.1)
    left = producer.flush(FLUSH_S)
    if failures or left:
        raise RunError(f"{topic}: {len(failures) + left:,} records were not taken by the broker: {failures[:1]}")
    return size / workload.samples


class _Prediction(msgspec.Struct):
    stream: str
    step: int
    prediction: float


@dataclass(frozen=True)
class Outputs:
    """N outputs in the order in which they were read: by partition in the order of the log.

    ``streams`` are indices into the workload's names, `UNKNOWN` for others; ``appended_ms`` are append times at the
    broker.
    """

    streams: NDArray[np.int32]
    steps: Integers
    predictions: NDArray[np.float64]
    appended_ms: Integers


@dataclass(frozen=True)
class Verdict:
    """Outputs that are right.

    ``appended_ms`` (N,), ascending, has the first appearance of each; ``repeated`` are those that came again.
    """

    appended_ms: Integers
    repeated: int
    max_abs_diff: float


@dataclass(frozen=True)
class Timing:
    """``samples`` outputs were appended within ``seconds``."""

    samples: int
    seconds: float

    @property
    def rate(self) -> float:
        """Samples per second."""
        return self.samples / self.seconds


def read_outputs(settings: Settings, topic: str, names: Sequence[str]) -> Outputs:
    """Read a topic to its end, values in the settings' ``output_format``.

    Raises:
        RunError: the broker does not give it within a minute per batch.
    """
    streams, steps, predictions, appended_ms = array("i"), array("q"), array("d"), array("q")
    index = {name: i for i, name in enumerate(names)}
    decode = (msgspec.json if settings.output_format == "json" else msgspec.msgpack).Decoder(_Prediction).decode
    for message in read_messages(settings, topic):
        found = decode(message.value() or b"")
        streams.append(index.get(found.stream, UNKNOWN))
        steps.append(found.step)
        predictions.append(found.prediction)
        appended_ms.append(message.timestamp()[1])
    # Views, no copies: ten million outputs take 280 MB.
    return Outputs(
        np.frombuffer(streams, np.int32),
        np.frombuffer(steps, np.int64),
        np.frombuffer(predictions, np.float64),
        np.frombuffer(appended_ms, np.int64),
    )


def read_messages(settings: Settings, topic: str) -> Iterator[Message]:
    consumer = Consumer(
        {
            **settings.client_config(),
            "group.id": "bench",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(settings.partitions)])
    at_end: set[int] = set()
    deadline = time.monotonic() + READ_TIMEOUT_S
    try:
        while len(at_end) < settings.partitions:
            for message in consumer.consume(READ_AT_ONCE, 0.2):
                if _is_end(message, topic):
                    at_end.add(message.partition() or 0)
                else:
                    deadline = time.monotonic() + READ_TIMEOUT_S
                    yield message
            if time.monotonic() > deadline:
                raise RunError(f"{topic}: the broker gives no more records for {READ_TIMEOUT_S:g} s")
    finally:
        consumer.close()


def _is_end(message: Message, topic: str) -> bool:
    error = message.error()
    if error is None:
        return False
    if error.code() != KafkaError._PARTITION_EOF:
        raise RunError(f"{topic} cannot be read: {error}")
    return True


def check(outputs: Outputs, expected: NDArray[np.float32], needed: int, tolerance: float = TOLERANCE) -> Verdict:
    """Hold the outputs against the offline run.

    Every stream's outputs must be its steps from 0 on without a hole, so that a peer that was stopped before the end of
    the topic has left nothing out either.

    Args:
        expected: (S, T), NaN where there is no sample.
        needed: different outputs that must be there.

    Raises:
        RunError: an output is missing, belongs to no sample, or differs by more than ``tolerance``.
    """
    streams, steps = outputs.streams, outputs.steps
    strange = (streams == UNKNOWN) | (steps < 0) | (steps >= expected.shape[1])
    if not strange.any():
        strange = np.isnan(expected[streams, steps])
    if strange.any():
        raise RunError(f"{int(strange.sum()):,} outputs belong to no sample")
    cells, first = np.unique(streams.astype(np.int64) * expected.shape[1] + steps, return_index=True)
    seen = np.zeros(expected.shape, bool)
    seen.flat[cells] = True
    missing = max(_holes(seen), needed - len(cells))
    if missing:
        raise RunError(f"{missing:,} outputs are missing, {len(cells):,} are there")
    difference = float(np.abs(outputs.predictions[first] - expected.flat[cells]).max())
    if not difference <= tolerance:  # a NaN is none
        raise RunError(f"the outputs differ from the offline run by {difference:.1e}, allowed are {tolerance:.0e}")
    return Verdict(np.sort(outputs.appended_ms[first]), len(streams) - len(cells), difference)


def _holes(seen: NDArray[np.bool_]) -> int:
    """Steps that are not there before one that is, in all rows together."""
    later = np.maximum.accumulate(seen[:, ::-1], axis=1)[:, ::-1]
    return int((later & ~seen).sum())


def timing(appended_ms: Integers, warm_up: float = WARM_UP) -> Timing:
    """Return the speed of outputs, from their ascending append times.

    The clock starts at the append of the last output of the warm-up. What was appended in the same millisecond, in
    the same batch for example, is not counted: it took none of the time.

    Raises:
        RunError: all came at once, so there is no time to divide by.
    """
    start = appended_ms[int(warm_up * len(appended_ms))]
    seconds = float(appended_ms[-1] - start) / 1000
    if seconds <= 0:
        raise RunError(f"{len(appended_ms):,} outputs came within a millisecond: too few to be timed")
    return Timing(int((appended_ms > start).sum()), seconds)
