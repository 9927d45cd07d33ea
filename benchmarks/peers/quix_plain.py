"""Quix Streams: one message, one LSTM step, one state write, one output. Written as its documentation shows it.

    python benchmarks/peers/quix_plain.py

A stateful function in `StreamingDataFrame.apply`, the state kept by `set_bytes` in RocksDB with a changelog topic.
BENCH_BROKER, BENCH_APP_ID, BENCH_SOURCE and BENCH_OUTPUT in the environment say what it reads and writes. Every other
setting is the default: at least once, a checkpoint every 5 s, the state in a folder of the working directory.
"""

import os
from typing import Any

from one_step import MODEL, ZEROS, advance
from quixstreams import Application, State


def predict(sample: dict[str, Any], key: bytes, _timestamp: int, _headers: Any, state: State) -> dict[str, Any]:
    """One sample's prediction; the stream's (h, c) moves on by one step."""
    prediction, after = advance(sample["signal"], sample["condition_vector"], state.get_bytes("hidden", default=ZEROS))
    state.set_bytes("hidden", after)
    return {
        "stream": key.decode(),
        "sequence": sample["sequence"],
        "step": sample["step"],
        "timestamp_ms": sample["timestamp_ms"],
        "prediction": prediction,
        "model": MODEL,
    }


def main() -> None:
    """The source -> predictions, until told to stop."""
    app = Application(
        broker_address=os.environ["BENCH_BROKER"],
        consumer_group=os.environ["BENCH_APP_ID"],
        auto_offset_reset="earliest",
    )
    samples = app.topic(os.environ["BENCH_SOURCE"])
    predictions = app.topic(os.environ["BENCH_OUTPUT"])
    app.dataframe(samples).apply(predict, stateful=True, metadata=True).to_topic(predictions)
    app.run()


if __name__ == "__main__":
    main()
