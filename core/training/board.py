"""Logs of a training for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import RunError, StartupError
from core.training.extras import require


class Board:
    """Writes to ``log_dir``; without one it does nothing.

    The horizontal axis counts updates. Curves: ``train/loss``, ``train/learning_rate``, ``train/gradient_norm`` of
    each update, ``validation/NAME`` of each epoch; images ``example/NAME``.

    Args:
        done: updates before this run: what an earlier run has logged after them is hidden.

    Raises:
        StartupError: TensorBoard is not installed, or the folder cannot be written.
    """

    def __init__(self, log_dir: Path | None, done: int = 0) -> None:
        self.log_dir = log_dir
        self._writer: Any = None
        if log_dir is None:
            return
        tensorboard = require("torch.utils.tensorboard")
        try:
            self._writer = tensorboard.SummaryWriter(log_dir, purge_step=done + 1)
        except OSError as error:
            raise StartupError(f"{log_dir}: logs cannot be written: {error.strerror or error}") from error

    @property
    def active(self) -> bool:
        """True if anything is written."""
        return self._writer is not None

    def update(self, updates: int, loss: float, learning_rate: float, gradient_norm: float) -> None:
        """The curves of one update, the ``updates``-th since the beginning."""
        curves = {"loss": loss, "learning_rate": learning_rate, "gradient_norm": gradient_norm}
        self._write(updates, {f"train/{name}": value for name, value in curves.items()}, {})

    def epoch(self, updates: int, figures: Mapping[str, float], images: Mapping[str, Any]) -> None:
        """Figures on held-out data and matplotlib Figures after an epoch; all logs are on disk afterwards."""
        curves = {f"validation/{name}": value for name, value in figures.items()}
        self._write(updates, curves, {f"example/{name}": image for name, image in images.items()})
        self._guarded("flush")

    def close(self) -> None:
        """Write what is left."""
        self._guarded("close")

    def _write(self, updates: int, curves: Mapping[str, float], images: Mapping[str, Any]) -> None:
        for tag, value in curves.items():
            self._guarded("add_scalar", tag, value, updates)
        for tag, image in images.items():
            self._guarded("add_figure", tag, image, updates)

    def _guarded(self, method: str, *values: Any) -> None:
        if self._writer is None:
            return
        try:
            getattr(self._writer, method)(*values)
        except OSError as error:  # raised by the writer's thread, at a later call
            self._writer = None
            raise RunError(f"{self.log_dir}: logs cannot be written: {error.strerror or error}") from error
