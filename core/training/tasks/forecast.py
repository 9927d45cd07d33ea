"""Training of a forecaster: what the next sample will be, and how sure that is.

The net reads standardised samples and gives for each number its change to the next sample and the logarithm of the
change's variance, both in standard deviations of that number's steps. So a net that gives zeros forecasts no change
with the usual deviation, which is where training begins. Shapes: N samples, B rows, L samples of a segment, n numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from core.arrays import Float64s
from core.models.evaluation import evaluating
from core.tasks.declaration import CellName, Training
from core.training.config import TaskSettings
from core.training.tasks.data import Judged, Learnt
from core.training.tasks.likelihood import JudgedForecasts, robust_loss
from core.training.tasks.net import NetState, RecurrentNet, small_head, without_graph
from core.training.tasks.segments import Stretches
from core.training.tasks.statistics import FieldStatistics

ROWS_JUDGED = 128


@dataclass(frozen=True)
class Sizes:
    """The sizes of a net."""

    cell: CellName
    hidden_size: int
    num_layers: int


@dataclass(frozen=True)
class ForecastBatch:
    """One segment of every row: ``samples`` (B, L, n), ``changes`` (B, L, n), ``weights`` (B, L), 0 where nothing is
    learnt, and ``kept`` (B,), 0 where a state begins.
    """

    samples: Tensor
    changes: Tensor
    weights: Tensor
    kept: Tensor


class ForecastTask:
    """The task for `fit`: a net that forecasts, on the samples that are learnt from.

    Args:
        learnt: what it learns from.
        judged: what each epoch is judged on.
        statistics: of the part that is learnt from.
        sizes: of the net.
        settings: of the training.
        facts: of the data; a training is resumed only where they are as they were.
    """

    def __init__(
        self,
        learnt: Learnt,
        judged: Judged,
        statistics: FieldStatistics,
        sizes: Sizes,
        settings: TaskSettings,
        facts: dict[str, Any],
    ) -> None:
        self.settings, self.statistics, self._facts = settings, statistics, facts
        device = settings.device
        scale = torch.from_numpy((statistics.std / statistics.change).astype(np.float32))
        self._values, self._changes = learnt.values, _steps(learnt.values) * scale
        self._usable = torch.from_numpy(learnt.usable.astype(np.float32))
        self._least = torch.from_numpy(self.least.astype(np.float32)).to(device)
        self.judged, self._scale = judged, scale
        self._stretches = Stretches(learnt.bounds, settings.segment, settings.batch_size, settings.seed)
        self.updates_per_epoch = self._stretches.updates
        self._state: NetState | None = None
        torch.manual_seed(settings.seed)
        width = statistics.mean.size
        self.model = RecurrentNet(sizes.cell, width, sizes.hidden_size, sizes.num_layers, 2 * width)
        small_head(self.model)
        self.model.to(device)

    def batches(self, epoch: int) -> Iterator[ForecastBatch]:
        """The segments of one epoch; states start from zero."""
        self._state = None
        device = self.settings.device
        for segment in self._stretches.epoch(epoch):
            places = torch.from_numpy(segment.places)
            weights = self._usable[places] * torch.from_numpy(segment.there.astype(np.float32))
            yield ForecastBatch(
                self._values[places].to(device),
                self._changes[places].to(device),
                weights.to(device),
                torch.from_numpy(segment.kept).to(device),
            )

    def loss(self, batch: ForecastBatch) -> Tensor:
        """The mean robust loss of a segment; the state is carried on, without its graph."""
        state = None if self._state is None else without_graph(self._state, batch.kept)
        forecast, self._state = self.model(batch.samples, state)
        losses = robust_loss(forecast, batch.changes, self._least).mean(dim=-1)
        loss: Tensor = (losses * batch.weights).sum() / batch.weights.sum().clamp(min=1.0)
        return loss

    @property
    def least(self) -> Float64s:
        """The least deviations (n,), in standard deviations of a number's steps."""
        return self.statistics.least / self.statistics.change

    def validate(self) -> dict[str, float]:
        """On the held-out part: ``loss``, the mean negative log-likelihood in nats per step and number."""
        return {"loss": float(self.judge().loss(self.least).mean())}

    def judge(self) -> JudgedForecasts:
        """The forecasts of the steps of the held-out part that count."""
        parts = [self._judge(rows) for rows in range(0, len(self.judged.values), ROWS_JUDGED)]
        errors, deviations = (np.concatenate(each) for each in zip(*parts, strict=True))
        return JudgedForecasts(errors, deviations)

    def persistence(self) -> JudgedForecasts:
        """The same steps, forecast to be no change, with the usual deviation of each number."""
        values, counts = self.judged.values, self.judged.counts[:, :-1]
        changes = ((values[:, 1:] - values[:, :-1]) * self._scale).numpy().astype(np.float64)[counts]
        return JudgedForecasts(changes, np.ones_like(changes))

    def _judge(self, first: int) -> tuple[Float64s, Float64s]:
        rows = slice(first, first + ROWS_JUDGED)
        values, counts = self.judged.values[rows], self.judged.counts[rows, :-1]
        with evaluating(self.model):
            forecast = self.model(values.to(self.settings.device))[0][:, :-1].cpu().numpy().astype(np.float64)
        mean, log_variance = np.split(forecast[counts], 2, axis=-1)
        changes = ((values[:, 1:] - values[:, :-1]) * self._scale).numpy().astype(np.float64)
        return changes[counts] - mean, np.exp(0.5 * np.clip(log_variance, -40, 40))

    def extras(self) -> dict[str, Any]:
        """Facts that a checkpoint holds."""
        return {"training": msgspec.to_builtins(self.settings), "data": self._facts}

    def figures(self) -> dict[str, Any]:
        """Nothing is drawn while it learns."""
        return {}


def _steps(values: Tensor) -> Tensor:
    """From each of N samples to the next; zeros at the end."""
    found = torch.zeros_like(values)
    found[:-1] = values[1:] - values[:-1]
    return found


def sizes_for(samples: int, numbers: int, settings: TaskSettings, wish: Training) -> Sizes:
    """Choose the sizes: those of the settings, else those of the task's table [train], else what the data can fill.

    That is 64 x 2 for many fields, and less where there is little to learn from.
    """
    if samples * numbers < 8_000:
        hidden, layers = 16, 1
    elif samples < 20_000 or numbers < 4:
        hidden, layers = 32, 1 if samples < 20_000 else 2
    else:
        hidden, layers = 64, 2
    return Sizes(
        settings.cell or wish.cell,
        settings.hidden_size or wish.hidden_size or hidden,
        settings.num_layers or wish.num_layers or layers,
    )
