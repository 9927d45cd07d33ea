"""The signal model's step on a GPU beside the CPU: steps per second and latency of a chunk, by number of streams.

    .venv/bin/python benchmarks/bench_cuda.py [--quick] [--json] [--device cuda:0]

No Kafka: a chunk's arrays go to the bank of hidden states that a worker has, and its predictions come back. Streams
take turns, in chunks of at most 4,000 samples as a worker gets them, and in chunks with a sample of each stream. Both
banks get the same chunks, their predictions are compared, and each figure is the best of several rounds. Where there
is no CUDA device, one line says so, JSON is {"available": false}, and the exit status is 0.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from reporting import Report, Row, Say, markdown, parser, run_script, say

from core.device import check_device
from core.engines.bank import StateBank
from core.engines.hidden import make_hidden
from core.errors import RunError, StartupError
from core.models.factory import load_model
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM

STREAMS = (1_000, 10_000, 100_000)
CHUNK = 4_000  # samples that a worker takes in one turn, at most
TOLERANCE = 1e-4
BACKLOG_STEPS = 4  # samples of each stream in a chunk, where streams have a backlog


@dataclass(frozen=True)
class Load:
    """Chunks in which ``streams`` streams take turns, ``rows`` of them in each with ``steps`` samples."""

    name: str
    streams: int
    rows: int
    steps: int = 1


def measure(options: argparse.Namespace, say: Say) -> Report:
    """Steps per second of both banks by load, and what a commit's read of all states takes."""
    models = {device: _model(device) for device in ("cpu", options.device)}
    budget_s = 0.5 if options.quick else 3.0
    loads = []
    for streams in STREAMS:
        for load in _loads(streams):
            loads.append({**vars(load), **_load(models, load, budget_s, options.seed)})
            say(f"{streams:,} streams, {load.name}: measured")
    return {"available": True, "gpu": torch.cuda.get_device_name(options.device), "loads": loads, "seed": options.seed}


def _model(device: str) -> SignalExtractionLSTM:
    return cast(SignalExtractionLSTM, load_model(checkpoint_path("signal"), "signal", device))


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


def _chunks(load: Load, seed: int) -> list[tuple[NDArray[Any], ...]]:
    """As many as it takes for every stream to have its turn, at least 4."""
    draw = np.random.default_rng(seed)
    runs, times = np.repeat(np.arange(load.rows), load.steps), np.tile(np.arange(load.steps), load.rows)
    lengths, last = np.full(load.rows, load.steps), np.arange(load.rows)
    chunks: list[tuple[NDArray[Any], ...]] = []
    for number in range(max(4, -(-load.streams // load.rows))):
        samples = draw.standard_normal((load.rows * load.steps, 5)).astype(np.float32)
        rows = 1 + (number * load.rows + last) % load.streams
        chunks.append((samples, runs, times, lengths, rows, rows, last))
    return chunks


def _compare(banks: list[StateBank], chunks: list[tuple[NDArray[Any], ...]], load: Load) -> None:
    for chunk in chunks:
        expected, found = (bank.step(*chunk) for bank in banks)
        difference = float(np.abs(expected - found).max())
        if not difference <= TOLERANCE:
            raise RunError(
                f"{load.streams:,} streams, {load.name}: CPU and GPU differ by {difference:.1e}, "
                f"allowed are {TOLERANCE:.0e}"
            )


def _seconds(bank: StateBank, chunks: list[tuple[NDArray[Any], ...]]) -> float:
    started = time.perf_counter()
    for chunk in chunks:
        bank.step(*chunk)
    return time.perf_counter() - started


def _read_all_ms(bank: StateBank, streams: int) -> float:
    rows, taken = np.arange(1, streams + 1), []
    for _ in range(3):
        started = time.perf_counter()
        bank.read(rows)
        taken.append(time.perf_counter() - started)
    return 1000 * min(taken)


def table(report: Report) -> str:
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


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--device", default="cuda", help="cuda or cuda:N; default cuda")
    options.add_argument("--seed", type=int, default=1, help="of the samples; default 1")
    given = options.parse_args()
    try:
        check_device(given.device)
    except StartupError as error:
        say(f"nothing measured: {error}")
        if given.json:
            print(json.dumps({"available": False}))
        return 0
    return run_script(given, measure, table)


if __name__ == "__main__":
    sys.exit(main())
