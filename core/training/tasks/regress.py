"""Training of targets at each sample: a net that gives every target's value, from all samples so far.

The net reads standardised samples and gives standardised targets. Shapes: B rows, L samples of a segment, K targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from core.models.evaluation import evaluating
from core.training.config import TaskSettings
from core.training.tasks.forecast import ROWS_JUDGED, Sizes
from core.training.tasks.net import NetState, RecurrentNet, small_head, without_graph
from core.training.tasks.segments import Stretches
from core.training.tasks.targets import TargetRows

KNEE = 2.0
"""Standard deviations of a target: an error beyond counts in proportion, so that a few wrong values decide little."""


@dataclass(frozen=True)
class TargetBatch:
    """One segment of every row: ``samples`` (B, L, F), ``targets`` (B, L, K), ``known`` (B, L, K), 0 where nothing is
    learnt, and ``kept`` (B,), 0 where a state begins.
    """

    samples: Tensor
    targets: Tensor
    known: Tensor
    kept: Tensor


class RegressTask:
    """The task for `fit`: a net that gives targets.

    Args:
        learnt: what it learns from.
        judged: what each epoch is judged on.
        sizes: of the net.
        settings: of the training.
        facts: of the data; a training is resumed only where they are as they were.
    """

    def __init__(
        self, learnt: TargetRows, judged: TargetRows, sizes: Sizes, settings: TaskSettings, facts: dict[str, Any]
    ) -> None:
        self.settings, self._learnt, self._judged, self._facts = settings, learnt, judged, facts
        self._stretches = Stretches(learnt.bounds, settings.segment, settings.batch_size, settings.seed)
        self.updates_per_epoch = self._stretches.updates
        self._state: NetState | None = None
        torch.manual_seed(settings.seed)
        width, targets = learnt.values.shape[-1], learnt.targets.shape[-1]
        self.model = RecurrentNet(sizes.cell, width, sizes.hidden_size, sizes.num_layers, targets)
        small_head(self.model)
        self.model.to(settings.device)

    def batches(self, epoch: int) -> Iterator[TargetBatch]:
        """The segments of one epoch; states start from zero."""
        self._state = None
        device = self.settings.device
        for segment in self._stretches.epoch(epoch):
            places = torch.from_numpy(segment.places)
            there = torch.from_numpy(segment.there.astype(np.float32))[..., None]
            yield TargetBatch(
                self._learnt.values[places].to(device),
                self._learnt.targets[places].to(device),
                (self._learnt.known[places] * there).to(device),
                torch.from_numpy(segment.kept).to(device),
            )

    def loss(self, batch: TargetBatch) -> Tensor:
        """The mean Huber loss of the targets that are known; the state is carried on, without its graph."""
        state = None if self._state is None else without_graph(self._state, batch.kept)
        found, self._state = self.model(batch.samples, state)
        return _mean_loss(found, batch.targets, batch.known)

    def validate(self) -> dict[str, float]:
        """On the held-out part: ``loss``, and ``rmse`` in standard deviations of the targets."""
        total, squared, count = 0.0, 0.0, 0.0
        for first in range(0, len(self._judged.values), ROWS_JUDGED):
            rows = slice(first, first + ROWS_JUDGED)
            targets, known = self._judged.targets[rows], self._judged.known[rows]
            with evaluating(self.model):
                found = self.model(self._judged.values[rows].to(self.settings.device))[0].cpu()
            number = float(known.sum())
            total += float(_mean_loss(found, targets, known)) * number
            squared += float((((found - targets) ** 2) * known).sum())
            count += number
        return {"loss": total / max(1.0, count), "rmse": (squared / max(1.0, count)) ** 0.5}

    def extras(self) -> dict[str, Any]:
        """Facts that a checkpoint holds."""
        return {"training": msgspec.to_builtins(self.settings), "data": self._facts}

    def figures(self) -> dict[str, Any]:
        """Nothing is drawn while it learns."""
        return {}


def _mean_loss(found: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    losses = huber_loss(found, targets, reduction="none", delta=KNEE)
    mean: Tensor = (losses * known).sum() / known.sum().clamp(min=1.0)
    return mean
