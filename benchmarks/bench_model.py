"""The signal model alone, without Kafka: one call for B streams of T steps, by nn.LSTM and as the worker does it.

    .venv/bin/python benchmarks/bench_model.py [--quick] [--json]

One thread. ``nn_lstm`` is the library's call on data that lie ready; ``ours`` is the worker's call, with the states
gathered from the rows of all streams and put back there. Both take turns, and each figure is the best of several
calls: what else runs on the machine can only add to it. The predictions of both are compared.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from reporting import Report, Row, Say, markdown, parser, run_script

from core.engines.hidden import make_hidden
from core.engines.infer import prepare
from core.errors import RunError
from core.models.factory import load_model
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM

BATCHES = (1, 4, 13, 64, 256, 1024, 4096)
STEPS = (1, 8, 64)
TOLERANCE = 1e-5
Call = Callable[[], NDArray[np.float32]]


def measure(options: argparse.Namespace, say: Say) -> Report:
    """Microseconds per call and per sample by T and B, and how many times faster ours is."""
    model = cast(SignalExtractionLSTM, load_model(checkpoint_path("signal"), "signal"))
    prepare(model)
    budget_s = 0.1 if options.quick else 0.5
    shapes: list[dict[str, Any]] = []
    for steps in STEPS:
        for batch in BATCHES:
            shapes.append({"T": steps, "B": batch, **_shape(model, batch, steps, budget_s, options.seed)})
        say(f"T={steps}: measured")
    return {"shapes": shapes, "seed": options.seed}


def _shape(model: SignalExtractionLSTM, batch: int, steps: int, budget_s: float, seed: int) -> dict[str, float]:
    samples = np.random.default_rng(seed).standard_normal((batch, steps, model.input_size)).astype(np.float32)
    calls = {"nn_lstm": library_call(model, samples), "ours": our_call(model, samples)}
    first = {name: call() for name, call in calls.items()}
    difference = float(np.abs(first["nn_lstm"] - first["ours"]).max())
    if not difference <= TOLERANCE:
        raise RunError(f"B={batch} T={steps}: the two differ by {difference:.1e}, allowed are {TOLERANCE:.0e}")
    best = best_of(list(calls.values()), budget_s)
    found = {f"{name}_us": 1e6 * seconds for name, seconds in zip(calls, best, strict=True)}
    per_sample = {
        f"{name}_us_per_sample": 1e6 * seconds / (batch * steps) for name, seconds in zip(calls, best, strict=True)
    }
    return {**found, **per_sample, "ratio": best[0] / best[1], "max_abs_diff": difference}


def best_of(calls: Sequence[Callable[[], object]], budget_s: float) -> list[float]:
    """Seconds of the fastest run of each call; they take turns for about ``budget_s`` each, 5 times or more."""
    best, spent, rounds = [float("inf")] * len(calls), 0.0, 0
    while rounds < 5 or spent < budget_s * len(calls):
        for i, call in enumerate(calls):
            started = time.perf_counter()
            call()
            took = time.perf_counter() - started
            best[i], spent = min(best[i], took), spent + took
        rounds += 1
    return best


def library_call(model: SignalExtractionLSTM, samples: NDArray[np.float32]) -> Call:
    """nn.LSTM and the linear layer from zeros, (B, T, F) to (B * T,)."""
    statistics = model.input_statistics
    x = torch.from_numpy(samples)
    if statistics is not None:
        x = (x - x.new_tensor(statistics["mean"])) / x.new_tensor(statistics["std"])
    zeros = torch.zeros(model.num_layers, len(samples), model.hidden_size)

    def call() -> NDArray[np.float32]:
        with torch.inference_mode():
            output, _ = model.lstm(x, (zeros, zeros))
            return cast(NDArray[np.float32], model.fc(output).reshape(-1).numpy())

    return call


def our_call(model: SignalExtractionLSTM, samples: NDArray[np.float32]) -> Call:
    """The worker's step from zeros into B rows, (B, T, F) to (B * T,)."""
    batch, steps, features = samples.shape
    bank = make_hidden(model)
    while bank.capacity <= batch:
        bank.grow()
    flat = np.ascontiguousarray(samples.reshape(-1, features))
    runs = np.repeat(np.arange(batch), steps)
    times = np.tile(np.arange(steps), batch)
    lengths, starts = np.full(batch, steps), np.zeros(batch, np.int64)
    targets, last = np.arange(1, batch + 1), np.arange(batch)
    return lambda: bank.step(flat, runs, times, lengths, starts, targets, last)


def table(report: Report) -> str:
    """A row per shape."""
    rows: list[Row] = [
        (
            f"T={shape['T']}, B={shape['B']}",
            shape["nn_lstm_us"],
            shape["ours_us"],
            shape["nn_lstm_us_per_sample"],
            shape["ours_us_per_sample"],
            shape["ratio"],
        )
        for shape in report["shapes"]
    ]
    header = ("shape", "nn.LSTM, µs", "ours, µs", "nn.LSTM, µs per sample", "ours, µs per sample", "times faster")
    return markdown(header, rows)


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--seed", type=int, default=1, help="of the samples; default 1")
    return run_script(options.parse_args(), measure, table)


if __name__ == "__main__":
    sys.exit(main())
