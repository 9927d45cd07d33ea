"""Training of a classifier on the windows of labelled sequences.

Shapes: S sequences, N windows, B of a batch, T steps of one, F numbers of a sample, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as torch_cross_entropy

from core.arrays import Float32s, Float64s, Int64s
from core.engines.results import WindowRules
from core.models.defect_lstm import SteelDefectLSTM
from core.models.evaluation import evaluating
from core.training.config import TaskSettings
from core.training.defect import CUT_SHARE, SCORED_AT_ONCE
from core.training.tasks.class_parts import ClassParts
from core.training.tasks.class_scores import calibrate, cross_entropy, figures_of, softmax
from core.training.tasks.class_windows import WindowCut, all_due, by_chance, looks, padded, spread
from core.training.tasks.labels import SequenceLabels
from core.training.tasks.statistics import FieldStatistics

MANY_SEQUENCES = 200
"""From which on a net is twice as wide by default."""


@dataclass(frozen=True)
class ClassBatch:
    """Standardised windows ``inputs`` (B, T, F) of ``lengths`` steps, and their classes ``labels`` (B,)."""

    inputs: Tensor
    lengths: list[int]
    labels: Tensor


class ClassifyTask:
    """The task for `fit`: a classifier of windows.

    Args:
        values: of each sequence, (T, F), as the model reads them.
        labels: of the sequences.
        parts: which are for what.
        rules: of the windows.
        statistics: of the part that is learnt from.
        settings: of the training, with the sizes of the net.
        facts: of the data; a training is resumed only where they are as they were.
    """

    def __init__(
        self,
        values: Sequence[Float32s],
        labels: SequenceLabels,
        parts: ClassParts,
        rules: WindowRules,
        statistics: FieldStatistics,
        settings: TaskSettings,
        facts: dict[str, Any],
    ) -> None:
        self.settings, self.parts, self.rules, self.classes = settings, parts, rules, labels.classes
        self._labels, self._facts, self.statistics = labels.numbers, facts, statistics
        self._lengths = np.array([len(each) for each in values], np.int64)
        used = {*parts.learnt.tolist(), *parts.held_out.tolist()}
        self._values = [
            statistics.standardised(each if place in used else each[:0]) for place, each in enumerate(values)
        ]
        self._weights = self._class_weights()
        self._judged = spread(self.due(parts.chosen))
        self.model = self._make_model()

    def due(self, sequences: Int64s) -> WindowCut:
        """Every window of some sequences that a worker scores."""
        return all_due(sequences, self._lengths[sequences], self._labels[sequences], self.rules)

    def _class_weights(self) -> Tensor:
        """The weight of each class in the loss, so that all classes weigh the same in an epoch."""
        learnt = self.parts.learnt
        counts = np.bincount(self._labels[learnt], looks(self._lengths[learnt], self.rules), len(self.classes))
        return torch.from_numpy((counts.sum() / (len(counts) * counts)).astype(np.float32)).to(self.settings.device)

    def _make_model(self) -> SteelDefectLSTM:
        settings, statistics = self.settings, self.statistics
        torch.manual_seed(settings.seed)
        model = SteelDefectLSTM(
            {
                "architecture": {
                    "input_size": statistics.mean.size,
                    "hidden_size": settings.hidden_size,
                    "num_layers": settings.num_layers,
                    "dropout": 0.0,
                    "readout": "attention",
                },
                "classifier": {"hidden_dims": [32], "dropout": 0.0, "outputs": len(self.classes)},
                # The statistics in the checkpoint standardise the input: a norm there has nothing left to do.
                "normalization": {"batch_norm": False, "layer_norm": True, "input_norm": False},
            }
        )
        model.input_statistics = {"mean": statistics.mean.tolist(), "std": statistics.std.tolist()}
        return model.to(settings.device)

    @property
    def updates_per_epoch(self) -> int:
        """Batches of one epoch."""
        learnt = self.parts.learnt
        return math.ceil(int(looks(self._lengths[learnt], self.rules).sum()) / self.settings.batch_size)

    def batches(self, epoch: int) -> Iterator[ClassBatch]:
        """Yield some windows of every sequence; seed and epoch alone decide which, and their order."""
        source, learnt = np.random.default_rng([self.settings.seed, 13, epoch]), self.parts.learnt
        cut = by_chance(learnt, self._lengths[learnt], self._labels[learnt], self.rules, source)
        # Neighbours in length, equal ones in a new order each time.
        order = np.lexsort((source.random(len(cut)), cut.ends - cut.starts))
        size = self.settings.batch_size
        for number in source.permutation(self.updates_per_epoch):
            yield self._batch(cut.some(order[number * size : (number + 1) * size]))

    def _batch(self, cut: WindowCut) -> ClassBatch:
        """Windows of nearly one length are cut at their start to the shortest: padding costs more (`defect`)."""
        shortest, longest = (int(limit(cut.ends - cut.starts)) for limit in (np.min, np.max))
        windows = cut.of(self._values)
        if shortest >= (1.0 - CUT_SHARE) * longest:
            windows = [window[len(window) - shortest :] for window in windows]
        inputs, lengths = padded(windows)
        device = self.settings.device
        return ClassBatch(inputs.to(device), lengths, torch.from_numpy(cut.labels).to(device))

    def loss(self, batch: ClassBatch) -> Tensor:
        """Cross entropy; all classes weigh the same."""
        return torch_cross_entropy(self.model(batch.inputs, batch.lengths), batch.labels, self._weights)

    def validate(self) -> dict[str, float]:
        """On the windows that a worker scores of sequences held out: ``loss``, the cross entropy after calibration, and
        ``balanced_accuracy``.

        Calibrated on the same ones, so that the loss does not tell of the odds, which calibration sets right later.
        """
        cut = self._judged
        logits = self.logits(cut)
        calibrated = calibrate(logits, cut.labels, cut.weights).applied(logits)
        return {
            "loss": cross_entropy(calibrated, cut.labels, cut.weights),
            "balanced_accuracy": figures_of(softmax(calibrated), cut.labels)["balanced_accuracy"],
        }

    def logits(self, cut: WindowCut) -> Float64s:
        """The logits (N, K) of windows, by torch."""
        order = np.argsort(cut.ends - cut.starts, kind="stable")
        found = np.empty((len(cut), len(self.classes)))
        with evaluating(self.model):
            for first in range(0, len(order), SCORED_AT_ONCE):
                chosen = order[first : first + SCORED_AT_ONCE]
                inputs, lengths = padded(cut.some(chosen).of(self._values))
                found[chosen] = self.model(inputs.to(self.settings.device), lengths).double().cpu().numpy()
        return found

    def extras(self) -> dict[str, Any]:
        """Return the facts about its training that a checkpoint holds."""
        return {
            "training": msgspec.to_builtins(self.settings),
            "data": self._facts,
            "classes": list(self.classes),
        }

    def figures(self) -> dict[str, Any]:
        """Nothing is drawn while it learns."""
        return {}


def with_sizes(settings: TaskSettings, sequences: int, hidden: int | None, layers: int | None) -> TaskSettings:
    """Settings with the sizes of the net: those that are given, else by how many sequences there are."""
    usual = 64 if sequences >= MANY_SEQUENCES else 32
    return msgspec.structs.replace(
        settings,
        cell="LSTM",
        hidden_size=settings.hidden_size or hidden or usual,
        num_layers=settings.num_layers or layers or 1,
    )
