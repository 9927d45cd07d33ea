"""Bytewax: `stateful_map` with one LSTM step per message, Kafka in and out. Written as its documentation shows it.

    python -m bytewax.recovery . 1
    python -m bytewax.run bytewax_plain -r . -s 1 -b 0

in a directory that takes the recovery store; this file's directory is in PYTHONPATH. BENCH_BROKER, BENCH_SOURCE and
BENCH_OUTPUT in the environment say what it reads and writes. Bytewax writes no changelog topic and commits no
offsets: both are in its recovery store, SQLite, at every snapshot.
"""

import os

import msgspec
from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from one_step import MODEL, ZEROS, advance

BROKERS = [os.environ["BENCH_BROKER"]]


class Sample(msgspec.Struct):
    sequence: str
    step: int
    timestamp_ms: int
    signal: float
    condition_vector: list[float]


class Prediction(msgspec.Struct):
    stream: str
    sequence: str
    step: int
    timestamp_ms: int
    prediction: float
    model: str


decode = msgspec.json.Decoder(Sample).decode
encode = msgspec.json.Encoder().encode


def parse(message: KafkaSourceMessage) -> tuple[str, Sample]:
    """The stream and its sample: a keyed stream, as `stateful_map` needs one."""
    return message.key.decode(), decode(message.value)


def predict(state: bytes | None, sample: Sample) -> tuple[bytes, tuple[Sample, float]]:
    """The state moves on by one step. It is immutable, as Bytewax asks of states, so a snapshot needs no copy."""
    prediction, after = advance(sample.signal, sample.condition_vector, ZEROS if state is None else state)
    return after, (sample, prediction)


def as_message(keyed: tuple[str, tuple[Sample, float]]) -> KafkaSinkMessage:
    """The record to publish."""
    name, (sample, prediction) = keyed
    value = Prediction(name, sample.sequence, sample.step, sample.timestamp_ms, prediction, MODEL)
    return KafkaSinkMessage(key=name.encode(), value=encode(value))


def fail(problem: object) -> None:
    """A record that cannot be read ends the flow: its prediction would be missing."""
    raise RuntimeError(problem)


flow = Dataflow("bench")
source = kop.input("samples", flow, brokers=BROKERS, topics=[os.environ["BENCH_SOURCE"]])
op.inspect("errors", source.errs, lambda _, problem: fail(problem))
samples = op.map("parse", source.oks, parse)
predictions = op.stateful_map("predict", samples, predict)
kop.output("predictions", op.map("encode", predictions, as_message), brokers=BROKERS, topic=os.environ["BENCH_OUTPUT"])
