"""How long the defect model takes for casts of 300 steps, and how much memory: three variants, one cast and batches.

    .venv/bin/python benchmarks/bench_defect_model.py [--quick] [--json]

One thread of torch, on the CPU, random weights (the time does not depend on them). Each variant runs in a process of
its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from typing import Any

import numpy as np
from machine import machine, versions

STEPS = 300
BATCHES = (1, 16, 32, 64, 128)
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


def measure(config: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Milliseconds of a batch, (median, smallest, largest) by size, and the process's peak memory in GiB."""
    from core.engines.infer import prepare, score_windows
    from core.models.defect_lstm import SteelDefectLSTM

    model = SteelDefectLSTM(config).eval()
    prepare(model)
    source = np.random.default_rng(1)
    batches = {}
    for size in BATCHES:
        windows = list(source.standard_normal((size, STEPS, model.input_size), np.float32))
        score_windows(model, windows)
        taken = []
        for _ in range(repeats):
            started = time.perf_counter()
            score_windows(model, windows)
            taken.append(1000.0 * (time.perf_counter() - started))
        batches[size] = {"median_ms": statistics.median(taken), "min_ms": min(taken), "max_ms": max(taken)}
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"parameters": sum(p.numel() for p in model.parameters()), "batches": batches, "peak_gib": peak_gib}


def main() -> None:
    """Measure and print; exit status 1 where one cast takes too long or too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 repeats instead of 20")
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    given = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    found = {}
    for name, config in VARIANTS.items():
        with spawn.Pool(1) as pool:
            found[name] = pool.apply(measure, (config, 3 if given.quick else 20))
    if given.json:
        print(json.dumps({"variants": found, "steps": STEPS, "machine": machine(), "versions": versions()}))
    else:
        show(found)
    one_cast = [(variant["batches"][1]["median_ms"], variant["peak_gib"]) for variant in found.values()]
    if any(taken > MOST_MS or peak > MOST_GIB for taken, peak in one_cast):
        raise SystemExit(1)


def show(found: dict[str, Any]) -> None:
    """A row per variant: milliseconds by batch size, median (smallest to largest)."""
    print(f"| variant, casts of {STEPS} steps | parameters | " + " | ".join(f"B={n}, ms" for n in BATCHES) + " | GiB |")
    print("| --- " * (len(BATCHES) + 3) + "|")
    for name, variant in found.items():
        cells = [_cell(**batch) for batch in variant["batches"].values()]
        print(f"| {name} | {variant['parameters']:,} | {' | '.join(cells)} | {variant['peak_gib']:.2f} |")


def _cell(median_ms: float, min_ms: float, max_ms: float) -> str:
    return f"{median_ms:.1f} ({min_ms:.1f} to {max_ms:.1f})"


if __name__ == "__main__":
    main()
