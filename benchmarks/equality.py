"""The distance of the compiled kernel from nn.LSTM: the shipped signal model over whole generated signals.

    .venv/bin/python benchmarks/equality.py [--quick] [--json] [--signals 1000] [--steps 10000] [--seed 11]

For each signal, the largest difference between two runs' predictions over all steps. The kernel is compared with
nn.LSTM on all signals. On the first tenth of them, three more comparisons show what float32 leaves open: nn.LSTM alone
with nn.LSTM in a batch, and both with nn.LSTM in float64. The kernel has the same bits in every batch.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from reporting import Report, Row, Say, markdown, parser, run_script

from core.data.signals import draw_signals
from core.engines.infer import advance_sequences, prepare
from core.models.factory import load_model
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM

BATCH = 50
BOUND = 1e-5
Floats = NDArray[np.float32]
Numbers = NDArray[np.floating[Any]]
Run = Callable[[Floats], Numbers]
"""(B, T, F) to predictions (B, T)."""


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The distribution of the largest difference of a signal, for each pair of runs."""
    count = 20 if options.quick else options.signals
    model = load_model(checkpoint_path("signal"), "signal")
    assert isinstance(model, SignalExtractionLSTM)
    prepare(model)
    runs = runs_of(model)
    pairs: dict[str, list[float]] = {}
    largest = 0.0
    for first in range(0, count, BATCH):
        samples = signals(options.seed, first, min(BATCH, count - first), options.steps)
        found = {name: runs[name](samples) for name in ("kernel", "nn.LSTM")}
        largest = max(largest, float(np.abs(found["nn.LSTM"]).max()))
        _add(pairs, found, ("kernel", "nn.LSTM"), len(samples))
        few = max(0, min(len(samples), -(-count // 10) - first))
        if few:
            found |= {name: runs[name](samples[:few]) for name in ("nn.LSTM alone", "float64")}
            for pair in (("nn.LSTM alone", "nn.LSTM"), ("kernel", "float64"), ("nn.LSTM", "float64")):
                _add(pairs, found, pair, few)
        say(f"{first + len(samples)} of {count} signals")
    return {
        "signals": count,
        "steps": options.steps,
        "seed": options.seed,
        "largest_prediction": largest,
        "pairs": {name: summary(each) for name, each in pairs.items()},
    }


def signals(seed: int, first: int, count: int, steps: int) -> Floats:
    """Generated model inputs, (B, T, 5)."""
    drawn = draw_signals(seed, first, count, steps)
    samples = np.empty((count, steps, 5), np.float32)
    samples[..., 0], samples[..., 1:] = drawn.mixed, drawn.conditions[:, None]
    return samples


def runs_of(model: SignalExtractionLSTM) -> dict[str, Run]:
    """The ways to compute the same predictions."""
    exact = copy.deepcopy(model).double()
    return {
        "kernel": lambda samples: np.stack(advance_sequences(model, list(samples))[0]),
        "nn.LSTM": lambda samples: _by_torch(model, samples),
        "nn.LSTM alone": lambda samples: np.concatenate([_by_torch(model, each[None]) for each in samples]),
        "float64": lambda samples: _by_torch(exact, samples),
    }


def _by_torch(model: SignalExtractionLSTM, samples: Floats) -> Numbers:
    x = torch.from_numpy(samples).to(model.fc.weight)
    if model.input_statistics is not None:
        x = (x - x.new_tensor(model.input_statistics["mean"])) / x.new_tensor(model.input_statistics["std"])
    with torch.inference_mode():
        found: Numbers = model(x)[0][..., 0].numpy()
    return found


def _add(pairs: dict[str, list[float]], found: dict[str, Numbers], pair: tuple[str, str], count: int) -> None:
    one, other = (found[name][:count] for name in pair)
    pairs.setdefault(" to ".join(pair), []).extend(np.abs(one - other).max(axis=1).tolist())


def summary(differences: list[float]) -> dict[str, Any]:
    """Quantiles over signals, how many are above the bound, and which signal is the worst."""
    return {
        "signals": len(differences),
        "median": float(np.median(differences)),
        "p99": float(np.quantile(differences, 0.99)),
        "max": max(differences),
        "worst": int(np.argmax(differences)),
        "above": sum(each > BOUND for each in differences),
    }


def table(report: Report) -> str:
    """A row for each pair."""
    rows: list[Row] = [
        (name, pair["signals"], *(f"{pair[key]:.1e}" for key in ("median", "p99", "max")), pair["above"], pair["worst"])
        for name, pair in report["pairs"].items()
    ]
    header = ("largest difference of a signal", "signals", "median", "p99", "max", f"above {BOUND:g}", "worst signal")
    told = f"{report['steps']:,} steps each, predictions up to {report['largest_prediction']:.2f}"
    return f"{told}\n\n{markdown(header, rows)}"


if __name__ == "__main__":
    options = parser(__doc__ or "")
    options.add_argument("--signals", type=int, default=1000)
    options.add_argument("--steps", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=11)
    sys.exit(run_script(options.parse_args(), measure, table))
