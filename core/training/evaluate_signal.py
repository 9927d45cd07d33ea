"""A signal model on a file, sample by sample as the stream runs it, beside the best possible and a plain filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float32s, Float64s, Int64s
from core.callbacks import OnNote, OnProgress, unheard
from core.data.layout import open_signals
from core.data.recording import Recording
from core.engines.infer import prepare
from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.signal_lstm import SignalExtractionLSTM
from core.offline.predict import signal_rows
from core.training.bandpass import bandpass
from core.training.facts import mixture_of
from core.training.kalman import Mixture, kalman

ESTIMATORS = ("model", "kalman", "bandpass")
BLOCK_SAMPLES = 320_000  # of all rows worked on at once; the filter's four components take 10 MB of them
BIN_S = 0.05
EXAMPLE_S = 3.0


@dataclass(frozen=True)
class SignalReport:
    """The findings of `evaluate_signal`: ``figures`` are plain data.

    ``error_over_time`` holds ``seconds`` (bins,), the middle of each, and the mean squared error of each of
    ESTIMATORS in it. ``examples`` has one sample per frequency: ``frequency_hz``, and ``seconds``, ``mixed``,
    ``target``, ``predicted`` (T,).
    """

    sampling_rate_hz: float
    figures: dict[str, Any]
    error_over_time: dict[str, Float64s]
    examples: list[dict[str, Any]]


def evaluate_signal(
    path: str | Path,
    checkpoint: str | Path,
    *,
    device: str = "cpu",
    max_samples: int | None = None,
    mixture: Mixture | None = None,
    on_progress: OnProgress = unheard,
    on_note: OnNote = unheard,
) -> SignalReport:
    """Measure a signal model beside a Kalman filter that knows the mixture, and a band-pass.

    Args:
        path: an HDF5 file of signals with targets.
        checkpoint: the model.
        device: where it runs.
        max_samples: only the first so many.
        mixture: what the signals are made of; None: what the file says.
        on_progress: told the samples done so far and their total.
        on_note: told in lines what of the file is assumed, or not applied.

    Raises:
        DataError: the file cannot be used.
        StartupError: the checkpoint cannot.
    """
    with open_signals(path) as file:
        file.tell(on_note)
        model = load_model(checkpoint, "signal", device)
        assert isinstance(model, SignalExtractionLSTM)
        prepare(model)
        mixture = mixture or mixture_of(file)
        available, steps = file["mixed_signals"].shape
        samples = min(max_samples or available, available)
        sums = _Sums(mixture, steps)
        rows = max(1, BLOCK_SAMPLES // steps)
        for first in range(0, samples, rows):
            block = _Block.read(file, range(first, min(first + rows, samples)))
            sums.add(block, _estimates(file, model, mixture, block))
            on_progress(block.rows.stop, samples)
        return sums.report(samples, fingerprint(model))


@dataclass(frozen=True)
class _Block:
    """Some rows of the file: ``mixed`` and ``target`` (N, T), ``selected`` (N,)."""

    rows: range
    mixed: Float32s
    target: Float32s
    selected: Int64s

    @classmethod
    def read(cls, file: Recording, rows: range) -> _Block:
        which = slice(rows.start, rows.stop)
        mixed, target = (file.values(name)[which].astype(np.float32) for name in ("mixed_signals", "target_signals"))
        return cls(rows, mixed, target, np.argmax(file["condition_vectors"][which], axis=1))


def _estimates(
    file: Recording, model: SignalExtractionLSTM, mixture: Mixture, block: _Block
) -> dict[str, NDArray[Any]]:
    """Return the estimate (N, T) of each estimator."""
    return {
        "model": signal_rows(file, model, block.rows),
        "kalman": kalman(mixture, block.mixed)[np.arange(len(block.rows)), :, block.selected],
        "bandpass": bandpass(mixture, block.mixed, block.selected),
    }


@dataclass
class _Moments:
    """Sums over pairs of target and prediction, for their correlation."""

    sums: Float64s = field(default_factory=lambda: np.zeros(6))

    def add(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        x, y = x.astype(np.float64).ravel(), y.astype(np.float64).ravel()
        self.sums += [len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y]

    @classmethod
    def of_all(cls, parts: Sequence[_Moments], which: NDArray[np.bool_]) -> _Moments:
        """Return the correlation of the pairs of some parts together."""
        return cls(np.sum([one.sums for one, chosen in zip(parts, which, strict=True) if chosen], axis=0))

    def correlation(self) -> float | None:
        n, x, y, xx, yy, xy = self.sums
        scale = (n * xx - x * x) * (n * yy - y * y)
        return float((n * xy - x * y) / np.sqrt(scale)) if scale > 0 else None


class _Sums:
    """Sums over all blocks: squared errors by frequency and step, and one example per frequency."""

    def __init__(self, mixture: Mixture, steps: int) -> None:
        self.mixture, self.steps = mixture, steps
        self.second = round(mixture.sampling_rate_hz)
        frequencies = len(mixture.frequencies_hz)
        self.counts = np.zeros(frequencies, np.int64)
        self.squared = {name: np.zeros((frequencies, steps)) for name in ESTIMATORS}
        self.moments, self.late_moments = ([_Moments() for _ in range(frequencies)] for _ in range(2))
        self.examples: dict[int, dict[str, Any]] = {}

    def add(self, block: _Block, estimates: dict[str, NDArray[Any]]) -> None:
        for index in np.unique(block.selected):
            rows = block.selected == index
            self.counts[index] += rows.sum()
            for name, values in estimates.items():
                self.squared[name][index] += ((values[rows] - block.target[rows]) ** 2).sum(axis=0, dtype=np.float64)
            target, predicted = block.target[rows], estimates["model"][rows]
            self.moments[index].add(target, predicted)
            self.late_moments[index].add(target[:, self.second :], predicted[:, self.second :])
            if int(index) not in self.examples:
                self.examples[int(index)] = self._example(block, estimates["model"], int(np.argmax(rows)))

    def _example(self, block: _Block, predicted: NDArray[Any], row: int) -> dict[str, Any]:
        shown = slice(0, int(EXAMPLE_S * self.mixture.sampling_rate_hz))
        return {
            "frequency_hz": self.mixture.frequencies_hz[int(block.selected[row])],
            "seconds": np.arange(self.steps)[shown] / self.mixture.sampling_rate_hz,
            "mixed": block.mixed[row, shown],
            "target": block.target[row, shown],
            "predicted": predicted[row, shown],
        }

    def report(self, samples: int, model: str) -> SignalReport:
        every = np.ones(len(self.counts), bool)
        per_frequency = []
        for index, frequency in enumerate(self.mixture.frequencies_hz):
            if self.counts[index]:
                found = self._of(np.arange(len(every)) == index)
                per_frequency.append({"frequency_hz": frequency, "samples": int(self.counts[index]), **found})
        figures: dict[str, Any] = {"samples": samples, "steps": self.steps, "model": model, **self._of(every)}
        figures["per_frequency"] = per_frequency
        return SignalReport(
            self.mixture.sampling_rate_hz,
            figures,
            self._over_time(),
            [self.examples[index] for index in sorted(self.examples)],
        )

    def _of(self, which: NDArray[np.bool_]) -> dict[str, float | None]:
        """Return all figures of the samples of some frequencies; None after the first second if there are no such
        samples.
        """
        return self._errors(which) | {
            "correlation": _Moments.of_all(self.moments, which).correlation(),
            "correlation_after_1s": _Moments.of_all(self.late_moments, which).correlation(),
        }

    def _errors(self, which: NDArray[np.bool_]) -> dict[str, float | None]:
        """Mean squared errors of all samples of some frequencies, whole and after the first second (None: no such)."""
        count = int(self.counts[which].sum())
        found: dict[str, float | None] = {}
        for name, squared in self.squared.items():
            by_step = squared[which].sum(axis=0) / count  # (T,)
            prefix = "" if name == "model" else f"{name}_"
            found[f"{prefix}mse"] = float(by_step.mean())
            found[f"{prefix}mse_after_1s"] = float(by_step[self.second :].mean()) if self.steps > self.second else None
        return found

    def _over_time(self) -> dict[str, Float64s]:
        width = max(1, round(BIN_S * self.mixture.sampling_rate_hz))
        edges = np.arange(0, self.steps, width)
        widths = np.diff(np.append(edges, self.steps))
        found: dict[str, Float64s] = {"seconds": (edges + widths / 2.0) / self.mixture.sampling_rate_hz}
        for name, squared in self.squared.items():
            by_step = squared.sum(axis=0) / self.counts.sum()
            found[name] = np.add.reduceat(by_step, edges) / widths
        return found
