"""Brief training of the casting defect model on fresh casts, seen through the windows that a stream scores.

The target of a cast is the probability that the generator recorded, not the label drawn with it: the best model is
the same for both, and one source of chance less is in the gradients.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from core.data.castings import Cast, draw_cast, draw_lengths
from core.models.defect_lstm import SteelDefectLSTM
from core.models.evaluation import evaluating
from core.models.factory import ModelFactory
from core.training.metrics import auc_roc, brier

log = logging.getLogger(__name__)

CONFIG: dict[str, Any] = {
    "architecture": {"hidden_size": 64, "num_layers": 2, "bidirectional": True, "dropout": 0.0, "readout": "attention"},
    "classifier": {"hidden_dims": [32, 16], "dropout": 0.0},
    # The input is standardised by the statistics in the checkpoint, so a norm at the input has nothing left to do.
    "normalization": {"batch_norm": False, "layer_norm": True, "input_norm": False},
}
WINDOW, WINDOW_MIN = 500, 100
BATCH = 64
LEARNING_RATE, WARM_UP = 2e-3, 0.05
GRADIENT_CLIP = 1.0
CHECK_EVERY_S = 60.0
CHECK_SEED, CHECK_CASTS = 900_002, 600
CALIBRATION_SEED, CALIBRATION_CASTS = 900_003, 1_500


@dataclass(frozen=True)
class Windows:
    """Windows of one cast each: standardised inputs (T, 5), and the casts' labels and probabilities (N,)."""

    inputs: list[Tensor]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]


def final_windows(seed: int, casts: int, statistics: dict[str, list[float]]) -> Windows:
    """The window of the final score of every generated cast that is long enough to have one."""
    lengths = [(row, length) for row, length in enumerate(draw_lengths(seed, casts).tolist()) if length >= WINDOW_MIN]
    return _windows([(draw_cast(seed, row, length), length) for row, length in lengths], statistics)


def training_windows(source: np.random.Generator, statistics: dict[str, list[float]]) -> Windows:
    """A batch of windows of one length: half end where their cast ends, half before, as a running score's do.

    One length for all, because the backward pass through packed sequences of different lengths costs 36 times as much
    as through full ones (torch 2.15, 128 windows of about 300 steps, 64 units: 31.7 s against 0.9 s of CPU time).
    """
    seed = int(source.integers(1_000_000, 2**62))
    length = next(length for length in draw_lengths(seed, 100).tolist() if length >= WINDOW_MIN)
    drawn = []
    for row in range(BATCH):
        longer = int(source.integers(length, max(WINDOW, length) + 1)) if row % 2 else length
        drawn.append((draw_cast(seed, row, longer), length))
    return _windows(drawn, statistics)


def _windows(drawn: list[tuple[Cast, int]], statistics: dict[str, list[float]]) -> Windows:
    """Standardised windows from casts and the step at which each one's window ends."""
    mean, std = (np.asarray(statistics[name], np.float32) for name in ("mean", "std"))
    return Windows(
        [torch.from_numpy((cast.readings[max(0, end - WINDOW) : end] - mean) / std) for cast, end in drawn],
        np.array([cast.label for cast, _ in drawn]),
        np.array([cast.defect_probability for cast, _ in drawn], np.float32),
    )


def input_statistics(seed: int, casts: int = 300) -> dict[str, list[float]]:
    """Mean and standard deviation of each sensor over generated casts."""
    rows = [draw_cast(seed, row, length).readings for row, length in enumerate(draw_lengths(seed, casts).tolist())]
    readings = np.concatenate(rows).astype(np.float64)
    return {"mean": readings.mean(axis=0).tolist(), "std": readings.std(axis=0).tolist()}


def train_defect(out: Path, minutes: float, seed: int) -> None:
    """Train for ``minutes`` with the shape that ships, calibrate, and keep the best checkpoint in ``out``."""
    torch.manual_seed(seed)
    model = SteelDefectLSTM(CONFIG)
    model.input_statistics = input_statistics(seed)
    check = final_windows(CHECK_SEED, CHECK_CASTS, model.input_statistics)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=model.weight_decay)
    source = np.random.default_rng([seed, 8])
    started, seconds = time.monotonic(), minutes * 60.0
    best, check_at, updates, used = math.inf, CHECK_EVERY_S, 0, 0.0
    while used < seconds:
        _set_rate(optimizer, used / seconds)
        _update(model, optimizer, training_windows(source, model.input_statistics))
        updates += 1
        used = time.monotonic() - started
        if used >= min(check_at, seconds):
            found = _cross_entropy(model, check)
            log.info("%5.0f s, %d updates, cross entropy %.4f, %s", used, updates, found, evaluate_defect(model, check))
            check_at = used + CHECK_EVERY_S
            if found < best:
                best = found
                _save(model, out, updates, found, seed)


def _set_rate(optimizer: torch.optim.Optimizer, progress: float) -> None:
    shape = progress / WARM_UP if progress < WARM_UP else 0.5 * (1 + math.cos(math.pi * progress))
    for group in optimizer.param_groups:
        group["lr"] = LEARNING_RATE * max(0.01, shape)


def _update(model: SteelDefectLSTM, optimizer: torch.optim.Optimizer, windows: Windows) -> None:
    loss = binary_cross_entropy_with_logits(_logits(model, windows.inputs), torch.from_numpy(windows.probabilities))
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
    optimizer.step()


def _logits(model: SteelDefectLSTM, inputs: list[Tensor]) -> Tensor:
    """(B,) logits of windows of any lengths."""
    padded = nn.utils.rnn.pad_sequence(inputs, batch_first=True)  # (B, T, 5)
    logits: Tensor = model(padded, lengths=[len(each) for each in inputs])
    return logits[:, 0]


def _all_logits(model: SteelDefectLSTM, windows: Windows) -> Tensor:
    with evaluating(model):
        parts = [_logits(model, windows.inputs[first : first + 64]) for first in range(0, len(windows.inputs), 64)]
    return torch.cat(parts)


def _cross_entropy(model: SteelDefectLSTM, windows: Windows) -> float:
    targets = torch.from_numpy(windows.probabilities)
    return float(binary_cross_entropy_with_logits(_all_logits(model, windows), targets))


def evaluate_defect(model: SteelDefectLSTM, windows: Windows) -> dict[str, float | None]:
    """AUC and Brier score of the calibrated scores, beside those of the recorded probabilities."""
    fit = model.calibration or {"a": 1.0, "b": 0.0}
    scores = torch.sigmoid(fit["a"] * _all_logits(model, windows) + fit["b"]).numpy()
    return {
        "auc": auc_roc(scores, windows.labels),
        "auc_limit": auc_roc(windows.probabilities, windows.labels),
        "brier": brier(scores, windows.labels),
        "brier_limit": brier(windows.probabilities, windows.labels),
    }


def calibrate(model: SteelDefectLSTM, windows: Windows) -> dict[str, float]:
    """Platt scaling: a and b with which sigmoid(a * logit + b) fits the windows best."""
    logits, targets = _all_logits(model, windows), torch.from_numpy(windows.probabilities)
    scale = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([scale], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(scale[0] * logits + scale[1], targets)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    a, b = scale.tolist()
    return {"a": a, "b": b}


def _save(model: SteelDefectLSTM, out: Path, updates: int, loss: float, seed: int) -> None:
    assert model.input_statistics is not None
    held_out = final_windows(CALIBRATION_SEED, CALIBRATION_CASTS, model.input_statistics)
    model.calibration = calibrate(model, held_out)
    ModelFactory.save_checkpoint(model, out, epoch=updates, loss=loss, seed=seed)
    model.calibration = None
