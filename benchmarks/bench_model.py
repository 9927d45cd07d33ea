"""The models alone, without Kafka: the signal model on the CPU and on a GPU, and the defect model.

    .venv/bin/python benchmarks/bench_model.py [signal|defect|cuda] [--quick] [--json]

- signal: one call for B streams of T steps, by nn.LSTM and as the worker does it. One thread. ``nn_lstm`` is the
  library's call on data that lie ready; ``ours`` is the worker's call, with the states gathered from the rows of all
  streams and put back there. Both take turns, and each figure is the best of several calls: what else runs on the
  machine can only add to it. The predictions of both are compared.
- defect: casts of 300 steps by three variants of the model, one cast and batches. One thread, on the CPU, random
  weights (the time does not depend on them). Each variant runs in a process of its own, so that its peak memory is its
  own. The exit status is 1 where one cast takes too long or too much.
- cuda: the signal model's step on a GPU beside the CPU. A chunk's arrays go to the bank of hidden states that a worker
  has, and its predictions come back. Streams take turns, in chunks of at most 4,000 samples as a worker gets them, and
  in chunks with a sample of each stream. Both banks get the same chunks, their predictions are compared, and each
  figure is the best of several rounds. Where there is no CUDA device, one line says so, JSON is {"available": false},
  and the exit status is 0.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from reporting import Report, Row, Say, markdown, parser, run_script, say

from core.device import check_device
from core.engines.bank import StateBank
from core.engines.hidden import make_hidden
from core.engines.infer import prepare, score_windows
from core.errors import RunError, StartupError
from core.models.defect_lstm import SteelDefectLSTM
from core.models.factory import load_model
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM
from core.step_batch import StepBatch

BATCHES = (1, 4, 13, 64, 256, 1024, 4096)
STEPS = (1, 8, 64)
TOLERANCE, GPU_TOLERANCE = 1e-5, 1e-4
STREAMS = (1_000, 10_000, 100_000)
CHUNK = 4_000  # samples that a worker takes in one turn, at most
BACKLOG_STEPS = 4  # samples of each stream in a chunk, where streams have a backlog
CAST_STEPS = 300
CAST_BATCHES = (1, 16, 32, 64, 128)
MOST_MS, MOST_GIB = 200.0, 4.0  # of one cast
PLAIN = {"batch_norm": False, "layer_norm": False, "input_norm": False}
ALL_NORMS = {"batch_norm": True, "layer_norm": True, "input_norm": True}
# The configurations with 54,081, 140,619 and 1,344,139 parameters.
VARIANTS: dict[str, dict[str, Any]] = {
    "one-way 64x2": {"architecture": {"bidirectional": False}, "normalization": PLAIN},
    "two-way 64x2 (default)": {},
    "two-way 128x4": {
        "architecture": {"hidden_size": 128, "num_layers": 4},
        "classifier": {"hidden_dims": [64, 32, 16]},
        "normalization": ALL_NORMS,
    },
}
Call = Callable[[], NDArray[np.float32]]


def _model(device: str) -> SignalExtractionLSTM:
    return cast(SignalExtractionLSTM, load_model(checkpoint_path("signal"), "signal", device))


def signal(options: argparse.Namespace, say: Say) -> Report:
    """Microseconds per call and per sample by T and B, and how many times faster ours is."""
    model = _model("cpu")
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
    chunk = StepBatch(flat, runs, times, lengths, starts, targets, last)
    return lambda: bank.step(chunk)


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


@dataclass(frozen=True)
class Load:
    """Chunks in which ``streams`` streams take turns, ``rows`` of them in each with ``steps`` samples."""

    name: str
    streams: int
    rows: int
    steps: int = 1


def cuda(options: argparse.Namespace, say: Say) -> Report:
    """Steps per second of both banks by load, and what a commit's read of all states takes."""
    models = {device: _model(device) for device in ("cpu", options.device)}
    budget_s = 0.5 if options.quick else 3.0
    loads = []
    for streams in STREAMS:
        for load in _loads(streams):
            loads.append({**vars(load), **_load(models, load, budget_s, options.seed)})
            say(f"{streams:,} streams, {load.name}: measured")
    return {"available": True, "gpu": torch.cuda.get_device_name(options.device), "loads": loads, "seed": options.seed}


def _loads(streams: int) -> list[Load]:
    loads = [
        Load("live chunks", streams, min(streams, CHUNK)),
        Load("a backlog", streams, CHUNK // BACKLOG_STEPS, BACKLOG_STEPS),
    ]
    if streams > CHUNK:
        loads.append(Load("a sample of each", streams, streams))
    return loads


def _load(models: dict[str, SignalExtractionLSTM], load: Load, budget_s: float, seed: int) -> Report:
    """Both banks take turns over the same chunks."""
    banks = [_bank(model, load.streams) for model in models.values()]
    chunks = _chunks(load, seed)
    _compare(banks, chunks, load)
    rounds: list[list[float]] = [[], []]
    started = time.perf_counter()
    while len(rounds[0]) < 5 or time.perf_counter() - started < budget_s:
        for bank, taken in zip(banks, rounds, strict=True):
            taken.append(_seconds(bank, chunks))
    found: Report = {}
    for name, bank, taken in zip(("cpu", "cuda"), banks, rounds, strict=True):
        found[f"{name}_steps_per_s"] = load.rows * load.steps * len(chunks) / min(taken)
        found[f"{name}_chunk_ms"] = 1000 * statistics.median(taken) / len(chunks)
        found[f"{name}_read_all_ms"] = _read_all_ms(bank, load.streams)
    return found | {"ratio": found["cuda_steps_per_s"] / found["cpu_steps_per_s"]}


def _bank(model: SignalExtractionLSTM, streams: int) -> StateBank:
    bank = make_hidden(model)
    while bank.capacity <= streams:
        bank.grow()
    bank.warm_up()
    return bank


def _chunks(load: Load, seed: int) -> list[StepBatch]:
    """As many as it takes for every stream to have its turn, at least 4."""
    draw = np.random.default_rng(seed)
    runs, times = np.repeat(np.arange(load.rows), load.steps), np.tile(np.arange(load.steps), load.rows)
    lengths, last = np.full(load.rows, load.steps), np.arange(load.rows)
    chunks: list[StepBatch] = []
    for number in range(max(4, -(-load.streams // load.rows))):
        samples = draw.standard_normal((load.rows * load.steps, 5)).astype(np.float32)
        rows = 1 + (number * load.rows + last) % load.streams
        chunks.append(StepBatch(samples, runs, times, lengths, rows, rows, last))
    return chunks


def _compare(banks: list[StateBank], chunks: list[StepBatch], load: Load) -> None:
    for chunk in chunks:
        expected, found = (bank.step(chunk) for bank in banks)
        difference = float(np.abs(expected - found).max())
        if not difference <= GPU_TOLERANCE:
            raise RunError(
                f"{load.streams:,} streams, {load.name}: CPU and GPU differ by {difference:.1e}, "
                f"allowed are {GPU_TOLERANCE:.0e}"
            )


def _seconds(bank: StateBank, chunks: list[StepBatch]) -> float:
    started = time.perf_counter()
    for chunk in chunks:
        bank.step(chunk)
    return time.perf_counter() - started


def _read_all_ms(bank: StateBank, streams: int) -> float:
    rows, taken = np.arange(1, streams + 1), []
    for _ in range(3):
        started = time.perf_counter()
        bank.read(rows)
        taken.append(time.perf_counter() - started)
    return 1000 * min(taken)


def cuda_table(report: Report) -> str:
    """A row per load."""
    figures = ("cpu_steps_per_s", "cuda_steps_per_s", "ratio", "cpu_chunk_ms", "cuda_chunk_ms")
    rows: list[Row] = [
        (
            f"{load['streams']:,} streams, {load['name']}: {load['rows']:,} x {load['steps']}",
            *(load[key] for key in (*figures, "cpu_read_all_ms", "cuda_read_all_ms")),
        )
        for load in report["loads"]
    ]
    header = (report["gpu"], "CPU, steps/s", "GPU, steps/s", "times faster", "CPU, ms a chunk", "GPU, ms a chunk")
    return markdown((*header, "CPU, ms to read all states", "GPU, ms to read all states"), rows)


def defect(options: argparse.Namespace, say: Say) -> Report:
    """Each variant's batches and peak memory; ``failures`` where one cast takes too long or too much."""
    spawn = multiprocessing.get_context("spawn")
    found = {}
    for name, config in VARIANTS.items():
        with spawn.Pool(1) as pool:
            found[name] = pool.apply(cost_of, (config, 3 if options.quick else 20))
        say(f"{name}: measured")
    failures = [
        f"{name}: a cast takes {variant['batches'][1]['median_ms']:.0f} ms and {variant['peak_gib']:.1f} GiB, allowed "
        f"are {MOST_MS:g} ms and {MOST_GIB:g} GiB"
        for name, variant in found.items()
        if variant["batches"][1]["median_ms"] > MOST_MS or variant["peak_gib"] > MOST_GIB
    ]
    return {"variants": found, "steps": CAST_STEPS, "failures": failures}


def cost_of(config: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Milliseconds of a batch, (median, smallest, largest) by size, and the process's peak memory in GiB."""
    model = SteelDefectLSTM(config).eval()
    prepare(model)
    source = np.random.default_rng(1)
    batches = {}
    for size in CAST_BATCHES:
        windows = list(source.standard_normal((size, CAST_STEPS, model.input_size), np.float32))
        score_windows(model, windows)
        taken = []
        for _ in range(repeats):
            started = time.perf_counter()
            score_windows(model, windows)
            taken.append(1000.0 * (time.perf_counter() - started))
        batches[size] = {"median_ms": statistics.median(taken), "min_ms": min(taken), "max_ms": max(taken)}
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"parameters": sum(p.numel() for p in model.parameters()), "batches": batches, "peak_gib": peak_gib}


def defect_table(report: Report) -> str:
    """A row per variant: milliseconds by batch size, median (smallest to largest)."""
    rows = [
        (name, variant["parameters"], *(_cell(**batch) for batch in variant["batches"].values()), variant["peak_gib"])
        for name, variant in report["variants"].items()
    ]
    header = (f"variant, casts of {CAST_STEPS} steps", "parameters", *(f"B={n}, ms" for n in CAST_BATCHES), "GiB")
    return markdown(header, rows)


def _cell(median_ms: float, min_ms: float, max_ms: float) -> str:
    return f"{median_ms:.1f} ({min_ms:.1f} to {max_ms:.1f})"


BENCHES: dict[str, tuple[Callable[[argparse.Namespace, Say], Report], Callable[[Report], str]]] = {
    "signal": (signal, table),
    "defect": (defect, defect_table),
    "cuda": (cuda, cuda_table),
}


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("what", nargs="?", choices=list(BENCHES), default="signal", help="default signal")
    options.add_argument("--device", default="cuda", help="of cuda: cuda or cuda:N; default cuda")
    options.add_argument("--seed", type=int, default=1, help="of the samples; default 1")
    given = options.parse_args()
    if given.what == "cuda":
        try:
            check_device(given.device)
        except StartupError as error:
            say(f"nothing measured: {error}")
            if given.json:
                print(json.dumps({"available": False}))
            return 0
    return run_script(given, *BENCHES[given.what])


if __name__ == "__main__":
    sys.exit(main())
