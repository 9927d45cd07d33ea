"""A loop written by hand around confluent-kafka, with the model in batches: what a good engineer has in an evening.

    python benchmarks/peers/confluent_loop.py

consume -> decode -> group by stream -> one LSTM call -> encode -> produce. Every 0.5 s the outputs are flushed, the
changed states written to a changelog topic, and then the offsets committed, so that a successor loses nothing. It
knows no duplicates, gaps, new sequences, bad records or metrics, and keeps one batch in hand at a time.

BENCH_BROKER, BENCH_APP_ID, BENCH_SOURCE, BENCH_OUTPUT and BENCH_CHANGELOG in the environment say what it reads and
writes. Shapes: N samples, B streams of the batch, T steps, F features, S streams in all.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections import defaultdict
from typing import Any

import msgspec
import numpy as np
import torch
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from numpy.typing import NDArray

from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.shipped import checkpoint_path

CHUNK = 8_000  # messages, at most
POLL_S = 0.05
COMMIT_S = 0.5
BROKER, GROUP, SOURCE, OUTPUT, CHANGELOG = (
    os.environ[f"BENCH_{name}"] for name in ("BROKER", "APP_ID", "SOURCE", "OUTPUT", "CHANGELOG")
)

Records = dict[int, list[dict[str, Any]]]  # by partition, as `produce_batch` takes them
_CONSUMER: dict[str, Any] = {"bootstrap.servers": BROKER, "enable.auto.commit": False}


class Sample(msgspec.Struct, gc=False):
    sequence: str
    step: int
    timestamp_ms: int
    signal: float
    condition_vector: tuple[float, float, float, float]


class Prediction(msgspec.Struct, gc=False):
    stream: str
    sequence: str
    step: int
    timestamp_ms: int
    prediction: float
    model: str


class Model:
    """The shipped model over the states of all streams."""

    def __init__(self) -> None:
        self.model: Any = load_model(checkpoint_path("signal"), "signal")
        self.name = fingerprint(self.model)
        self.statistics = {name: np.float32(row) for name, row in (self.model.input_statistics or {}).items()}
        self.states = np.zeros((1024, 2, self.model.num_layers, self.model.hidden_size), np.float32)  # (S, 2, L, H)

    def make_room(self, streams: int) -> None:
        """Zeros for the states of new streams."""
        if streams > len(self.states):
            self.states = np.concatenate((self.states, np.zeros_like(self.states)))

    @torch.inference_mode()
    def advance(self, slots: NDArray[np.int64], values: NDArray[np.float32]) -> list[float]:
        """Samples (N, F) of the streams in ``slots`` (N,), in order; returns the N predictions.

        One dense call per distinct length: a packed sequence takes another kernel of torch, whose results move away
        from the offline run's (8e-5 after 1,500 steps).
        """
        if self.statistics:
            values = (values - self.statistics["mean"]) / self.statistics["std"]
        order = np.argsort(slots, kind="stable")  # stream by stream, each in its own order
        streams, lengths = np.unique(slots, return_counts=True)
        starts = np.cumsum(lengths) - lengths
        predictions = np.empty(len(slots), np.float32)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            places = order[starts[rows, None] + np.arange(length)]  # (B, T)
            hidden = torch.from_numpy(self.states[streams[rows]]).permute(1, 2, 0, 3).contiguous()  # (2, L, B, H)
            output, after = self.model(torch.from_numpy(values[places]), tuple(hidden))
            predictions[places] = output[..., 0].numpy()
            self.states[streams[rows]] = torch.stack(after).permute(2, 0, 1, 3).numpy()
        return predictions.tolist()


class Loop:
    """The consumer's group of one or more processes; streams are known by (partition, key)."""

    def __init__(self) -> None:
        self.model = Model()
        self.decode = msgspec.json.Decoder(Sample).decode
        self.encode = msgspec.json.Encoder().encode
        self.consumer = Consumer({**_CONSUMER, "group.id": GROUP, "auto.offset.reset": "earliest"})
        self.producer = Producer(
            {
                "bootstrap.servers": BROKER,
                "enable.idempotence": True,  # outputs of a stream stay in order
                "queue.buffering.max.messages": 1_000_000,
                "delivery.report.only.error": True,
                "on_delivery": _delivered,
            }
        )
        self.slots: dict[tuple[int, bytes], int] = {}
        self.changed: dict[tuple[int, bytes], int] = {}
        self.applied: dict[tuple[int, bytes], int] = {}  # only of restored states: the next offset to apply
        self.positions: dict[int, int] = {}
        self.stopped = False

    def run(self) -> None:
        """Until `stop`."""
        self.consumer.subscribe([SOURCE], on_assign=self.restore, on_revoke=self.release)
        due = time.monotonic() + COMMIT_S
        while not self.stopped:
            self.process(self.consumer.consume(CHUNK, POLL_S))
            if time.monotonic() >= due:
                self.commit()
                due = time.monotonic() + COMMIT_S
        self.commit()
        self.consumer.close()

    def stop(self, *_: object) -> None:
        """After the batch in hand."""
        self.stopped = True

    def process(self, messages: list[Message]) -> None:
        """One batch: states move on, outputs are queued."""
        found, slots = [], []
        for message in messages:
            if message.error() is not None:
                raise RuntimeError(message.error())
            partition, key, offset = message.partition(), message.key(), message.offset()
            self.positions[partition] = offset + 1
            stream = (partition, key)
            if self.applied and offset < self.applied.get(stream, 0):
                continue  # the state that was restored includes it
            slot = self.slots.get(stream)
            if slot is None:
                slot = self.new_slot(stream)
            slots.append(slot)
            found.append((partition, key, self.decode(message.value())))
            self.changed[stream] = slot
        if found:
            values = np.array([(sample.signal, *sample.condition_vector) for _, _, sample in found], np.float32)
            self.publish(found, self.model.advance(np.array(slots), values))

    def new_slot(self, stream: tuple[int, bytes]) -> int:
        """The place of a stream's state."""
        slot = self.slots[stream] = len(self.slots)
        self.model.make_room(slot + 1)
        return slot

    def publish(self, found: list[tuple[int, bytes, Sample]], predictions: list[float]) -> None:
        """Queue the outputs."""
        encode, name = self.encode, self.model.name
        records: Records = defaultdict(list)
        for (partition, key, sample), prediction in zip(found, predictions, strict=True):
            value = Prediction(key.decode(), sample.sequence, sample.step, sample.timestamp_ms, prediction, name)
            records[partition].append({"key": key, "value": encode(value)})
        self.produce(OUTPUT, records)

    def produce(self, topic: str, records: Records) -> None:
        """Queue records by partition: one call for each, as `produce_batch` does not mind a record's own partition.

        Waits while the queue is full, which it is when the broker is slower than we are.
        """
        for partition, left in records.items():
            while self.producer.produce_batch(topic, left, partition) < len(left):
                left = [record for record in left if _may_come_later(record.pop("_error", None))]
                self.producer.poll(0.1)
        self.producer.poll(0)

    def commit(self) -> None:
        """Outputs, then states, then offsets: whoever dies in between repeats something and loses nothing."""
        self.producer.flush()
        ends = {partition: position.to_bytes(8, "big") for partition, position in self.positions.items()}
        states: Records = defaultdict(list)
        for (partition, key), slot in self.changed.items():
            states[partition].append({"key": key, "value": ends[partition] + self.model.states[slot].tobytes()})
        self.produce(CHANGELOG, states)
        self.producer.flush()
        offsets = [TopicPartition(SOURCE, partition, position) for partition, position in self.positions.items()]
        if offsets:
            self.consumer.commit(offsets=offsets, asynchronous=False)
        self.changed.clear()

    def release(self, *_: object) -> None:
        """Partitions go to somebody else."""
        self.commit()
        self.slots.clear()
        self.applied.clear()
        self.positions.clear()
        self.model.states.fill(0.0)

    def restore(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        """Read the states of the partitions that are ours now."""
        reader = Consumer({**_CONSUMER, "group.id": f"{GROUP}-restore", "enable.partition.eof": True})
        reader.assign([TopicPartition(CHANGELOG, each.partition, OFFSET_BEGINNING) for each in assigned])
        at_end = 0
        while at_end < len(assigned):
            for message in reader.consume(CHUNK, POLL_S):
                if message.error() is None:
                    stream = (message.partition(), message.key())
                    slot = self.slots[stream] if stream in self.slots else self.new_slot(stream)
                    self.applied[stream] = int.from_bytes(message.value()[:8], "big")
                    state = np.frombuffer(message.value(), np.float32, offset=8)
                    self.model.states[slot] = state.reshape(self.model.states.shape[1:])
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    at_end += 1
        reader.close()
        consumer.assign(assigned)


def _may_come_later(error: KafkaError | None) -> bool:
    """True if `produce_batch` found the queue full. A queued record has no error; every other error is final."""
    if error is not None and error.code() != KafkaError._QUEUE_FULL:
        raise RuntimeError(error)
    return error is not None


def _delivered(error: KafkaError | None, _: Message) -> None:
    if error is not None:
        raise RuntimeError(f"a record was not taken: {error}")


def main() -> None:
    """Until SIGTERM."""
    torch.set_num_threads(1)
    loop = Loop()
    signal.signal(signal.SIGTERM, loop.stop)
    gc.freeze()
    gc.set_threshold(200_000, 50, 1000)  # a batch makes tens of thousands of objects that are no garbage
    loop.run()


if __name__ == "__main__":
    main()
