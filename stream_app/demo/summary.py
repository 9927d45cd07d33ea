"""The demo's verdict: outputs compared with the samples sent, and both with the offline reference."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from core.arrays import Float32s
from core.data.layout import open_castings, open_signals
from core.data.naming import sequence_name
from core.offline.predict import predict
from core.training.metrics import auc_roc
from stream_app.demo.verdict import figure, for_json, median_and_p99, problems_of
from stream_app.demo.watch import NOT_SEEN, ScoreKey, SignalGrid, Watched
from stream_app.rules import window_rules
from stream_app.settings import Settings

SETTLED_STEPS = 1000  # the first second of a sequence: no causal model can know the phase yet


@dataclass(frozen=True)
class Reference:
    """The offline outputs of the same models on the same files, and the truth that the files hold."""

    predictions: Float32s
    scores: dict[ScoreKey, float | None]
    targets: Float32s
    labels: dict[str, int]
    """Sequence of a cast -> 1 defective, 0 sound."""


@dataclass(frozen=True)
class Summary:
    """One run of the demo. ``sent`` and ``predicted`` count signal samples, ``scores`` casting scores."""

    sent: int
    predicted: int
    lost: int
    repeated: int
    dead_letters: int
    scores: int
    max_abs_diff: float | None
    p50_latency_ms: float | None
    p99_latency_ms: float | None
    correlation: float | None
    auc: float | None

    @property
    def problems(self) -> list[str]:
        """The reasons why the run is no success; empty if it is one."""
        return problems_of(self.lost, "predictions or scores", self.max_abs_diff)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return for_json(self)

    def rows(self) -> list[tuple[str, str]]:
        """Names and values as a person reads them."""
        return [
            ("signal samples sent", f"{self.sent:,}"),
            ("predictions", f"{self.predicted:,}"),
            ("casting scores", f"{self.scores:,}"),
            ("lost", f"{self.lost:,}"),
            ("repeated", f"{self.repeated:,}"),
            ("dead letters", f"{self.dead_letters:,}"),
            ("latency p50, sample to prediction in Kafka", figure(self.p50_latency_ms, "{:.1f} ms")),
            ("latency p99", figure(self.p99_latency_ms, "{:.1f} ms")),
            ("correlation with the target (after 1 s)", figure(self.correlation, "{:.4f}")),
            ("AUC of final scores", "only one class seen" if self.auc is None else f"{self.auc:.3f}"),
            ("largest difference to the offline run", figure(self.max_abs_diff, "{:.1e}")),
        ]


def offline(signals: Path, castings: Path, run: str, settings: Settings) -> Reference:
    """Run the offline reference over both files; row i is sequence ``{run}-{i}``."""
    with open_signals(signals) as file:
        targets = np.asarray(file["target_signals"][:], np.float32)
    predictions = np.full(targets.shape, np.nan, np.float32)
    rows = {sequence_name(run, row): row for row in range(len(targets))}
    for line in _lines(signals, run, settings):
        predictions[rows[line["sequence"]], line["step"]] = line["prediction"]
    scores = {
        (line["sequence"], line["step"], line["final"]): line["probability"] for line in _lines(castings, run, settings)
    }
    with open_castings(castings) as file:
        labels = {sequence_name(run, row): int(label) for row, label in enumerate(file["label"][:])}
    return Reference(predictions, scores, targets, labels)


def _lines(path: Path, run: str, settings: Settings) -> list[dict[str, Any]]:
    buffer = io.BytesIO()
    predict(
        path,
        buffer,
        run=run,
        rules=window_rules(settings),
        signal_checkpoint=settings.signal_checkpoint,
        defect_checkpoint=settings.defect_checkpoint,
    )
    found: list[dict[str, Any]] = msgspec.json.Decoder().decode_lines(buffer.getvalue())
    return found


def missing(watched: Watched, reference: Reference) -> int:
    """Expected predictions and scores that were not seen."""
    return reference.predictions.size - watched.grid.seen + len(reference.scores.keys() - watched.scores.keys())


def summarise(watched: Watched, reference: Reference) -> Summary:
    """Compare everything that was seen with the reference."""
    p50, p99 = median_and_p99(watched.latencies_ms())
    grid = watched.grid
    return Summary(
        sent=watched.sent_signals,
        predicted=grid.seen,
        lost=missing(watched, reference),
        repeated=grid.repeated + watched.scores_repeated,
        dead_letters=watched.dead_letters,
        scores=len(watched.scores),
        max_abs_diff=_max_abs_diff(watched, reference),
        p50_latency_ms=p50,
        p99_latency_ms=p99,
        correlation=_correlation(grid, reference.targets),
        auc=_auc(watched.scores, reference.labels),
    )


def _max_abs_diff(watched: Watched, reference: Reference) -> float | None:
    """Over predictions and probabilities; infinite where one side has a value and the other has none."""
    if watched.grid.unexpected or watched.scores.keys() - reference.scores.keys():
        return math.inf
    seen = watched.grid.published_ms != NOT_SEEN
    differences = np.abs(watched.grid.predictions - reference.predictions)[seen]
    largest = float(differences.max()) if differences.size else 0.0
    for key, probability in watched.scores.items():
        expected = reference.scores[key]
        if (probability is None) != (expected is None):
            return math.inf
        if probability is not None and expected is not None:
            largest = max(largest, abs(probability - expected))
    return largest if seen.any() else None


def _correlation(grid: SignalGrid, targets: Float32s) -> float | None:
    """Return the correlation of prediction and target, after the first second of every sequence."""
    seen = grid.published_ms != NOT_SEEN
    seen[:, :SETTLED_STEPS] = False
    if seen.sum() < 2:
        return None
    return round(float(np.corrcoef(grid.predictions[seen], targets[seen])[0, 1]), 4)


def _auc(scores: Mapping[ScoreKey, float | None], labels: Mapping[str, int]) -> float | None:
    """Return the AUC of the final scores; None if only one class was seen."""
    finals = [
        (probability, labels[sequence])
        for (sequence, _, final), probability in scores.items()
        if final and probability is not None and labels[sequence] >= 0
    ]
    auc = auc_roc(np.array([probability for probability, _ in finals]), np.array([label for _, label in finals]))
    return None if auc is None else round(auc, 4)
