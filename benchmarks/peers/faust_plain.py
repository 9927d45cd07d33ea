"""Plain Faust: one message, one LSTM step, one table write, one output. Written as Faust's user guide shows it.

    python benchmarks/peers/faust_plain.py worker --loglevel info --without-web

BENCH_BROKER, BENCH_APP_ID, BENCH_SOURCE, BENCH_OUTPUT and BENCH_PARTITIONS in the environment say what it reads and
writes. Every other Faust setting is Faust's default: at least once, changelog on, memory store.
"""

import os
from typing import Any

import faust
import torch

from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.shipped import checkpoint_path

torch.set_num_threads(1)

PARTITIONS = int(os.environ["BENCH_PARTITIONS"])

model: Any = load_model(checkpoint_path("signal"), "signal")
MODEL = fingerprint(model)
STATISTICS = model.input_statistics or {"mean": 0.0, "std": 1.0}
MEAN, STD = (torch.tensor(STATISTICS[name]) for name in ("mean", "std"))
STATE_SHAPE = (2, model.num_layers, 1, model.hidden_size)  # h and c, (L, B, H) each
ZEROS = bytes(4 * 2 * model.num_layers * model.hidden_size)


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
# Raw bytes: (h, c) as JSON or as a pickle would only be larger and slower.
states = app.Table("states", default=lambda: ZEROS, key_type=str, value_type=bytes, partitions=PARTITIONS)


@torch.inference_mode()
def advance(sample: Sample, blob: bytes) -> tuple[float, bytes]:
    """One step of one stream: the prediction, and the state after it."""
    x = torch.tensor([[[sample.signal, *sample.condition_vector]]])  # (1, 1, F)
    h, c = torch.frombuffer(bytearray(blob), dtype=torch.float32).view(STATE_SHAPE)
    output, (h, c) = model((x - MEAN) / STD, (h, c))
    return output.item(), torch.stack((h, c)).numpy().tobytes()


@app.agent(samples)
async def predict(stream: faust.StreamT) -> None:
    """The source -> predictions. One LSTM step per message; (h, c) in the table."""
    async for name, sample in stream.items():
        prediction, states[name] = advance(sample, states[name])
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
