"""The offline side of every comparison: the shipped models run by torch over whole sequences, nothing else.

Neither the stream engine nor its batched forward passes are used here, so that a fault in them cannot hide itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.models.defect_lstm import SteelDefectLSTM
from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.shipped import checkpoint_path
from core.models.signal_lstm import SignalExtractionLSTM
from core.wire.records import SENSORS

TOLERANCE = 1e-5
WINDOW, FIRST, HOP = 500, 100, 30
"""Window length, samples at the first score, samples between scores: the default settings."""

Sample = dict[str, Any]


@lru_cache
def signal_model() -> SignalExtractionLSTM:
    model = load_model(checkpoint_path("signal"), "signal")
    assert isinstance(model, SignalExtractionLSTM)
    return model


@lru_cache
def defect_model() -> SteelDefectLSTM:
    model = load_model(checkpoint_path("defect"), "defect")
    assert isinstance(model, SteelDefectLSTM)
    return model


def signal_samples(count: int, seed: int = 0) -> list[Sample]:
    """Samples of one sequence, with steps from 0: four sinusoids and noise, as the model knows them."""
    random = np.random.default_rng(seed)
    amplitudes, phases = random.uniform(0.5, 2, 4), random.uniform(0, 2 * np.pi, 4)
    angles = 2 * np.pi * np.outer(np.arange(count) / 1000, [1, 3, 5, 7]) + phases  # (T, 4)
    values = (amplitudes * np.sin(angles)).mean(axis=1) + random.normal(0, 0.1, count)
    condition = [float(i == seed % 4) for i in range(4)]
    return [
        {"step": step, "signal": value, "condition_vector": condition} for step, value in enumerate(values.tolist())
    ]


def casting_samples(count: int, seed: int = 0) -> list[Sample]:
    """Samples of one cast, with steps from 0."""
    noise = np.random.default_rng(seed).standard_normal((count, 5))
    rows = np.array([1.2, 1520.0, 150.0, 200.0, 25.0]) + noise * np.array([0.05, 10.0, 5.0, 15.0, 3.0])
    return [
        {"step": step, **dict(zip(SENSORS, map(float, row), strict=True))} for step, row in enumerate(rows.tolist())
    ]


def predictions(samples: Sequence[Sample]) -> list[float]:
    """The predictions of one sequence, from a state of zeros."""
    return run_signals(samples)[0]


def run_signals(
    samples: Sequence[Sample], model: SignalExtractionLSTM | None = None
) -> tuple[list[float], NDArray[np.float32]]:
    """Predictions of one sequence, and its final state (h of all layers, then c of all layers)."""
    model = model or signal_model()
    x = torch.tensor([[sample["signal"], *sample["condition_vector"]] for sample in samples])
    with torch.no_grad():
        outputs, (h, c) = model(_standardised(x, model)[None])  # (1, T, 5)
    return outputs[0, :, 0].tolist(), torch.cat((h.flatten(), c.flatten())).numpy()


@dataclass(frozen=True)
class Expected:
    """A score as it should be; ``probability`` and ``peak`` are None where the cast is too short."""

    step: int
    start: int
    length: int
    final: bool
    probability: float | None
    peak: int | None


def scores(samples: Sequence[Sample], ended: bool, steps: Sequence[int] | None = None) -> list[Expected]:
    """The scores of one cast at the default windows.

    Args:
        ended: the final score is there.
        steps: of the samples, where they are not 0, 1, 2 ...
    """
    count = len(samples)
    due = [*range(FIRST, count + 1, HOP)]
    if ended:
        due = [end for end in due if end != count] + [count]
    steps = range(count) if steps is None else steps
    return [_score(samples, steps, end, final=ended and end == count) for end in due]


def _score(samples: Sequence[Sample], steps: Sequence[int], end: int, final: bool) -> Expected:
    begin = max(0, end - WINDOW)
    probability, peak = score(samples[begin:end]) if end >= FIRST else (None, None)
    return Expected(
        step=steps[end - 1],
        start=steps[begin],
        length=end - begin,
        final=final,
        probability=probability,
        peak=None if peak is None else steps[begin + peak],
    )


def score(window: Sequence[Sample]) -> tuple[float, int]:
    """The calibrated probability of a window, and the index of the sample with the most attention."""
    model = defect_model()
    x = torch.tensor([[sample[name] for name in SENSORS] for sample in window])
    with torch.no_grad():
        logit = model(_standardised(x, model)[None])[0, 0]
        peak = int(model.get_attention_weights()[0].argmax())
    if model.calibration:
        logit = model.calibration["a"] * logit + model.calibration["b"]
    return float(torch.sigmoid(logit)), peak


@lru_cache
def signal_fingerprint() -> str:
    return fingerprint(signal_model())


@lru_cache
def defect_fingerprint() -> str:
    return fingerprint(defect_model())


def _standardised(x: torch.Tensor, model: SignalExtractionLSTM | SteelDefectLSTM) -> torch.Tensor:
    statistics = model.input_statistics
    if statistics is None:
        return x
    return (x - torch.tensor(statistics["mean"])) / torch.tensor(statistics["std"])
