"""Updates of the weights: optimizer, gradient clipping, learning rate, mixed precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from core.training.config import TrainingSettings

LOWEST_RATE = 0.01  # of the learning rate, where cosine ends
PLATEAU_PATIENCE, PLATEAU_FACTOR = 2, 0.3  # after so many epochs without improvement the rate is lowered to this share
# Shares of the time limit at which it is lowered anyhow: a training that ends at the full rate stops beside its best.
LATE = (0.7, 0.85)
# float16 only: losses are scaled up, and halved whenever a gradient overflows. A scale below 1 means that the
# gradients overflow by themselves.
LOWEST_SCALE = 1.0


class NotFiniteError(Exception):
    """A loss or a gradient that is NaN or infinite: ``what`` it is, and its value."""

    def __init__(self, what: str, value: float) -> None:
        super().__init__(f"{what} is {value}")


class Descent:
    """The optimizer of a model and what belongs to it, as ``settings`` say; ``updates`` are all that may come."""

    def __init__(self, model: nn.Module, settings: TrainingSettings, updates: int) -> None:
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._clip = settings.gradient_clip or math.inf
        kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
        self.optimizer = kind(self._parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self._schedule = _schedule(self.optimizer, settings, updates)
        self._device = torch.device(settings.device).type
        self._type = torch.bfloat16
        if settings.mixed_precision and not torch.cuda.is_bf16_supported():
            self._type = torch.float16
        self._mixed = settings.mixed_precision
        self._late = 0  # how many of LATE have passed
        self._scaler = torch.amp.GradScaler("cuda", enabled=self._mixed and self._type == torch.float16)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def update(self, loss_of_batch: Callable[[], Tensor]) -> tuple[float, float]:
        """Take one step of the optimizer.

        Returns:
            The loss, and the gradient's norm before clipping.

        Raises:
            NotFiniteError: one of them is not finite; the weights are as before.
        """
        self.optimizer.zero_grad()
        with torch.autocast(self._device, self._type, enabled=self._mixed):
            loss = loss_of_batch()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NotFiniteError("the loss", value)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self._parameters, self._clip))
        overflow = self._scaler.is_enabled() and self._scaler.get_scale() >= LOWEST_SCALE  # step() then skips this one
        if not math.isfinite(norm) and not overflow:
            raise NotFiniteError("the gradient's norm", norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if isinstance(self._schedule, LRScheduler) and not isinstance(self._schedule, ReduceLROnPlateau):
            self._schedule.step()
        return value, norm

    def end_epoch(self, loss: float) -> None:
        """Tell the loss on held-out data, by which ``plateau`` lowers the learning rate."""
        if isinstance(self._schedule, ReduceLROnPlateau):
            self._schedule.step(loss)

    def time_passed(self, share: float) -> None:
        """Tell the share of the time limit that has passed, by which ``plateau`` lowers the learning rate, too."""
        if not isinstance(self._schedule, ReduceLROnPlateau):
            return
        while self._late < len(LATE) and share >= LATE[self._late]:
            self._late += 1
            for group in self.optimizer.param_groups:
                group["lr"] *= PLATEAU_FACTOR

    def state(self) -> dict[str, Any]:
        """All that decides the next updates beside the weights and the optimizer's own state, as plain data."""
        schedule = self._schedule.state_dict() if self._schedule else None
        return {"schedule": schedule, "scaler": self._scaler.state_dict(), "late": self._late}

    def load(self, optimizer: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Go on from the optimizer's state and `state`."""
        self.optimizer.load_state_dict(dict(optimizer))
        if self._schedule:
            self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        self._late = state.get("late", 0)


def _schedule(optimizer: torch.optim.Optimizer, settings: TrainingSettings, updates: int) -> LRScheduler | None:
    if settings.schedule == "cosine":
        return CosineAnnealingLR(optimizer, updates, eta_min=LOWEST_RATE * settings.learning_rate)
    if settings.schedule == "one-cycle":
        return OneCycleLR(optimizer, settings.learning_rate, total_steps=updates)
    if settings.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE)
    return None
