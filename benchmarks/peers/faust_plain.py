"""Plain Faust: one message, one LSTM step, one table write, one output. Written as Faust's user guide shows it.

    python benchmarks/peers/faust_plain.py worker --loglevel info --without-web

BENCH_BROKER, BENCH_APP_ID, BENCH_SOURCE, BENCH_OUTPUT and BENCH_PARTITIONS in the environment say what it reads and
writes. Every other Faust setting is Faust's default: at least once, changelog on, memory store.
"""

import os

import faust
from one_step import MODEL, ZEROS, advance

PARTITIONS = int(os.environ["BENCH_PARTITIONS"])


class Sample(faust.Record, serializer="json"):
    sequence: str
    step: int
    timestamp_ms: int
    signal: float
    condition_vector: list[float]


class Prediction(faust.Record, serializer="json", include_metadata=False):
    stream: str
    sequence: str
    step: int
    timestamp_ms: int
    prediction: float
    model: str


app = faust.App(
    os.environ["BENCH_APP_ID"],
    broker=f"kafka://{os.environ['BENCH_BROKER']}",
    store="memory://",
    topic_partitions=PARTITIONS,
)
samples = app.topic(os.environ["BENCH_SOURCE"], key_type=str, value_type=Sample)
predictions = app.topic(os.environ["BENCH_OUTPUT"], key_type=str, value_type=Prediction)
states = app.Table("states", default=lambda: ZEROS, key_type=str, value_type=bytes, partitions=PARTITIONS)


@app.agent(samples)
async def predict(stream: faust.StreamT) -> None:
    """The source -> predictions. One LSTM step per message; (h, c) in the table."""
    async for name, sample in stream.items():
        prediction, states[name] = advance(sample.signal, sample.condition_vector, states[name])
        await predictions.send(
            key=name,
            value=Prediction(
                stream=name,
                sequence=sample.sequence,
                step=sample.step,
                timestamp_ms=sample.timestamp_ms,
                prediction=prediction,
                model=MODEL,
            ),
        )


if __name__ == "__main__":
    app.main()
