"""The training loop of all models: epochs, the best and the last model on disk, and every way in which it can end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import torch
from torch import Tensor

from core.callbacks import unheard
from core.errors import RunError
from core.training.board import Board
from core.training.config import TrainingSettings
from core.training.descent import Descent, NotFiniteError
from core.training.snapshot import TrainedModel, check_writable, for_workers, last_path, load_last, save
from core.training.surroundings import Stop, own_randomness, random_state, reproducible, set_random_state

StopReason = Literal["epochs", "patience", "max_minutes", "interrupted"]


class TrainingTask(Protocol):
    """A model, its data and how one is fitted to the other. Epochs count from 1."""

    @property
    def model(self) -> TrainedModel:
        """The model, on the device of the settings, with its start weights."""

    @property
    def updates_per_epoch(self) -> int:
        """The number of batches of an epoch that are used, >= 1; `batches` yields at least so many."""

    def batches(self, epoch: int) -> Iterator[Any]:
        """The batches of one epoch, which the seed and the epoch's number alone decide."""

    def loss(self, batch: Any) -> Tensor:
        """The loss of one batch, a scalar. A hidden state may be kept, detached, until the epoch's last batch."""

    def validate(self) -> dict[str, float]:
        """Figures on held-out data; ``loss`` is among them, and lower is better."""

    def extras(self) -> dict[str, Any]:
        """Plain data that goes into each checkpoint under its own keys.

        A training is resumed only where ``data`` in it is as it was.
        """

    def figures(self) -> dict[str, Any]:
        """matplotlib Figures by name, for the logs."""


@dataclass(frozen=True)
class TrainingProgress:
    """The progress of training: ``loss`` is the epoch's mean so far, ``best`` the lowest on held-out data or None,
    ``passed`` the share of the time limit that has passed.
    """

    epoch: int
    epochs: int
    update: int  # of this epoch
    updates: int  # of each epoch
    loss: float
    best: float | None
    passed: float = 0.0

    @property
    def done(self) -> float:
        """The share that is done, by updates or by time, whichever ends it sooner."""
        return max(((self.epoch - 1) + self.update / max(1, self.updates)) / self.epochs, min(1.0, self.passed))


@dataclass(frozen=True)
class Fitted:
    """The course of a training, with the runs before it was resumed.

    ``best_epoch`` and ``best_loss`` are those of the model in ``out``; without one they are 0 and None. ``history``
    has a dict per epoch: ``epoch``, ``updates``, ``seconds``, ``train_loss`` and ``gradient_norm`` (means),
    ``learning_rate`` (of the last update) and all figures on held-out data, of which ``loss`` is one. A training
    that ends within its first epoch keeps what it has: then ``epochs`` is 0, ``best_epoch`` 1 and the one entry has
    fewer updates.
    """

    epochs: int  # complete ones
    best_loss: float | None
    best_epoch: int
    seconds: float
    reason: StopReason
    history: list[dict[str, Any]]


def fit(
    task: TrainingTask,
    settings: TrainingSettings,
    out: Path,
    *,
    resume: bool = False,
    log_dir: Path | None = None,
    on_progress: Callable[[TrainingProgress], None] = unheard,
) -> Fitted:
    """Train a task's model; the best one on held-out data is in ``out`` afterwards.

    At the end of each epoch the best model goes to ``out`` (if it is this one) and the last one, with optimizer,
    schedule, history and random states, to `last_path`. The same seed gives the same weights, also when training was
    interrupted and resumed. Time limit and Ctrl-C end it between two updates.

    Args:
        resume: go on from the last model, with the same settings (but for `snapshot.FREE`) and data.
        log_dir: for TensorBoard; None: no logs.
        on_progress: called after each update, and after each epoch's check on held-out data.

    Raises:
        StartupError: nothing to resume, or ``out`` or the logs cannot be written.
        RunError: the loss is not finite, memory or disk is full. The best model of the epochs before is in ``out``.
        KeyboardInterrupt: Ctrl-C for the second time.
    """
    check_writable(out)
    with reproducible(settings), Stop(settings.max_minutes) as stop:
        run = _Run(task, settings, out, stop, on_progress)
        if resume:
            run.load()
        board = Board(log_dir, run.updates)
        try:
            return run.until_end(board)
        finally:
            board.close()


@dataclass
class _Sums:
    """Sums over the updates of one epoch."""

    updates: int = 0
    loss: float = 0.0
    gradient_norm: float = 0.0
    learning_rate: float = 0.0  # of the last one
    started: float = field(default_factory=time.monotonic)

    def add(self, loss: float, learning_rate: float, norm: float) -> None:
        self.updates += 1
        self.learning_rate = learning_rate
        self.loss += loss
        self.gradient_norm += norm if math.isfinite(norm) else 0.0  # not finite: skipped by mixed precision

    @property
    def mean_loss(self) -> float:
        return self.loss / max(1, self.updates)

    @property
    def mean_norm(self) -> float:
        return self.gradient_norm / max(1, self.updates)


class _Run:
    def __init__(
        self,
        task: TrainingTask,
        settings: TrainingSettings,
        out: Path,
        stop: Stop,
        tell: Callable[[TrainingProgress], None],
    ) -> None:
        self.task, self.settings, self.out, self.stop, self.tell = task, settings, out, stop, tell
        self.descent = Descent(task.model, settings, settings.epochs * task.updates_per_epoch)
        self.history: list[dict[str, Any]] = []
        self.epochs, self.updates = 0, 0  # complete epochs, and the updates in them
        self.best_loss: float | None = None
        self.best_epoch = 0
        self.earlier_s = 0.0
        self.started = time.monotonic()
        self.sums = _Sums()

    @property
    def seconds(self) -> float:
        return self.earlier_s + time.monotonic() - self.started

    def load(self) -> None:
        """Be where the last completed epoch ended."""
        content = load_last(self.out, self.settings, self.task.extras())
        stored = content["resume"]
        self.task.model.load_state_dict(content["model_state_dict"])
        self.descent.load(content["optimizer_state_dict"], stored["descent"])
        self.history, self.epochs, self.updates = stored["history"], content["epoch"], stored["updates"]
        self.best_loss, self.best_epoch, self.earlier_s = stored["best_loss"], stored["best_epoch"], stored["seconds"]
        set_random_state(self.settings.device, stored["random_state"])

    def until_end(self, board: Board) -> Fitted:
        while not (ended := self._ended()):
            with self._explained():
                if stopped := self._epoch(board):
                    self._keep_first(board)
                    return self._fitted(stopped)
        return self._fitted(ended)

    def _ended(self) -> StopReason | None:
        if self.epochs >= self.settings.epochs:
            return "epochs"
        if self.settings.patience and self.epochs - self.best_epoch >= self.settings.patience:
            return "patience"
        return None

    def _fitted(self, reason: StopReason) -> Fitted:
        return Fitted(self.epochs, self.best_loss, self.best_epoch, self.seconds, reason, self.history)

    def _epoch(self, board: Board) -> StopReason | None:
        """Train for one epoch and save it, or say why that was not finished."""
        self.sums = _Sums()
        self.task.model.train()
        try:
            for batch in islice(self.task.batches(self.epochs + 1), self.task.updates_per_epoch):
                stopped = self.stop.reason()
                if stopped and (self.epochs or self.sums.updates):  # one update at least, so that there is a model
                    return stopped
                self._update(batch, board)
        except KeyboardInterrupt:
            self.stop.interrupt()
            return "interrupted"
        figures = self._check()
        self.epochs += 1
        self.updates += self.sums.updates
        self._save(figures)
        self._log(board, figures)
        self._tell(self.epochs)
        return None

    def _update(self, batch: Any, board: Board) -> None:
        self.descent.time_passed(self.stop.passed)
        learning_rate = self.descent.learning_rate
        loss, norm = self.descent.update(lambda: self.task.loss(batch))
        self.sums.add(loss, learning_rate, norm)
        board.update(self.updates + self.sums.updates, loss, learning_rate, norm)
        self._tell(self.epochs + 1)

    def _tell(self, epoch: int) -> None:
        sums = self.sums
        progress = TrainingProgress(
            epoch,
            self.settings.epochs,
            sums.updates,
            self.task.updates_per_epoch,
            sums.mean_loss,
            self.best_loss,
            self.stop.passed,
        )
        try:
            self.tell(progress)
        except KeyboardInterrupt:
            self.stop.interrupt()

    def _check(self) -> dict[str, float]:
        """Figures on held-out data; how they are found leaves the training as it is."""
        with own_randomness(self.settings.device):  # in full precision, as the stream will run it
            figures = {name: float(value) for name, value in self.task.validate().items()}
        self.task.model.train()
        if not math.isfinite(figures["loss"]):
            raise NotFiniteError("the loss on held-out data", figures["loss"])
        self.descent.end_epoch(figures["loss"])
        return figures

    def _keep_first(self, board: Board) -> None:
        """Keep what there is of a first epoch, which is better than nothing; what there is of any other is dropped."""
        if not self.epochs and self.sums.updates:
            figures = self._check()
            self._save_best(1, figures)
            self.updates = self.sums.updates
            self._log(board, figures)

    def _save(self, figures: dict[str, float]) -> None:
        """The best model first: where the last one is found, the best one before it is there too."""
        if self.best_loss is None or figures["loss"] < self.best_loss:
            self._save_best(self.epochs, figures)
        else:
            self.history.append(self._entry(self.epochs, figures))
        resume = {
            "settings": msgspec.to_builtins(self.settings),
            "data": self.task.extras().get("data"),
            "descent": self.descent.state(),
            "history": self.history,
            "updates": self.updates,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
            "random_state": random_state(self.settings.device),
        }
        content = self.task.extras() | {"resume": resume, "optimizer": self.descent.optimizer}
        self._write(last_path(self.out), epoch=self.epochs, loss=figures["loss"], **content)

    def _save_best(self, epoch: int, figures: dict[str, float]) -> None:
        history = [*self.history, self._entry(epoch, figures)]
        extras = self.task.extras() | {"history": history}
        self._write(self.out, epoch=epoch, loss=figures["loss"], **extras)
        if self.best_epoch == 0:
            for other in {last_path(self.out), for_workers(self.out)} - {self.out}:
                other.unlink(missing_ok=True)  # of an earlier training, whose best model is gone now
        self.history, self.best_loss, self.best_epoch = history, figures["loss"], epoch

    def _write(self, path: Path, **content: Any) -> None:
        try:
            save(self.task.model, path, **content)
        except RunError as error:
            raise RunError(f"{error}; {self._kept()}") from error

    def _entry(self, epoch: int, figures: dict[str, float]) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "updates": self.sums.updates,
            "seconds": time.monotonic() - self.sums.started,
            "train_loss": self.sums.mean_loss,
            "learning_rate": self.sums.learning_rate,
            "gradient_norm": self.sums.mean_norm,
            **figures,
        }

    def _log(self, board: Board, figures: dict[str, float]) -> None:
        if not board.active:
            return
        with own_randomness(self.settings.device):
            board.epoch(self.updates, figures, self.task.figures())

    def _kept(self) -> str:
        if self.best_loss is None:
            return "no epoch was completed, so no model was saved"
        return f"{self.out} keeps the model of epoch {self.best_epoch} (loss {self.best_loss:.6g})"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors that have a remedy as one line with it."""
        try:
            yield
        except NotFiniteError as error:
            remedy = f"lower --learning-rate ({self.settings.learning_rate:g} now)"
            raise RunError(f"{self._place()}: {error}; {remedy}; {self._kept()}") from error
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            remedy = f"lower --batch-size ({self.settings.batch_size} now)"
            raise RunError(f"{self._place()}: out of memory; {remedy}; {self._kept()}") from error

    def _place(self) -> str:
        epoch, update = self.epochs + 1, self.sums.updates + 1
        return f"epoch {epoch}" + (f", update {update}" if update <= self.task.updates_per_epoch else "")


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()  # torch on the CPU raises a bare RuntimeError, worded by the system
    return any(words in text for words in ("not enough memory", "can't allocate memory", "out of memory"))
