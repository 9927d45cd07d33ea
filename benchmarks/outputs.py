"""What a peer has published: read when it has stopped, checked against the offline run, and only then timed.

Shapes: S streams, T steps, N outputs.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from numpy.typing import NDArray

from core.errors import RunError
from stream_app.settings import Settings

TOLERANCE = 1e-5
WARM_UP = 0.1
"""Share of the outputs, the first ones, that a rate does not count, where the peer says nothing else."""

READ_AT_ONCE = 10_000
READ_TIMEOUT_S = 60.0
UNKNOWN = -1

Integers = NDArray[np.int64]


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
    for message in _read(settings, topic):
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


def _read(settings: Settings, topic: str) -> Iterator[Message]:
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


def check(outputs: Outputs, expected: NDArray[np.float32], needed: int) -> Verdict:
    """Hold the outputs against the offline run.

    Every stream's outputs must be its steps from 0 on without a hole, so that a peer that was stopped before the end of
    the topic has left nothing out either.

    Args:
        expected: (S, T), NaN where there is no sample.
        needed: different outputs that must be there.

    Raises:
        RunError: an output is missing, belongs to no sample, or differs by more than `TOLERANCE`.
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
    if not difference <= TOLERANCE:  # a NaN is none
        raise RunError(f"the outputs differ from the offline run by {difference:.1e}, allowed are {TOLERANCE:.0e}")
    return Verdict(np.sort(outputs.appended_ms[first]), len(streams) - len(cells), difference)


def _holes(seen: NDArray[np.bool_]) -> int:
    """Steps that are not there before one that is, in all rows together."""
    later = np.maximum.accumulate(seen[:, ::-1], axis=1)[:, ::-1]
    return int((later & ~seen).sum())


def timing(appended_ms: Integers, warm_up: float = WARM_UP) -> Timing:
    """How fast outputs came, from their ascending append times.

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
