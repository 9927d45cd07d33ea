"""Training of the signal model: stateful, by truncated backpropagation through time, on the samples of a file.

Each row of a batch plays one sample of the file segment by segment; the hidden state is carried from one segment to
the next and cut from the graph. Rows are staggered, so that each batch holds samples of every age: the loss does not
swing between the start of a sample, where nothing is known yet, and its end.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from core.arrays import Float32s, Int64s
from core.callbacks import OnNote, unheard
from core.data.layout import open_signals
from core.data.outputs import keep_inputs
from core.data.recording import Recording
from core.errors import DataError
from core.models.evaluation import evaluating
from core.models.ranges import SIGNAL_FIELDS, RangeCounter, Ranges
from core.models.signal_lstm import HiddenState, SignalExtractionLSTM
from core.training.config import SignalSettings
from core.training.facts import mixture_of
from core.training.initialise import chrono_init, kalman_init
from core.training.kalman import Mixture
from core.training.loop import Fitted, TrainingProgress, fit
from core.training.snapshot import files_of, save, save_for_workers
from core.training.surroundings import reproducible

HELD_OUT = 0.1  # of the rows, the last ones: for validation
MOST_HELD_OUT = 64
# The error of the first second cannot be avoided (little has been seen), and its size would drown the rest: the
# loss of a segment that the state has run for t seconds before is weighted by t squared, from this up to 1.
EARLY_WEIGHT = 0.01


@dataclass(frozen=True)
class TrainingBatch:
    """One segment of every row: ``inputs`` (B, T, F), ``targets`` (B, T, 1), ``kept`` (B,), 0 where a sample starts,
    ``weights`` (B, 1, 1) of the loss."""

    inputs: Tensor
    targets: Tensor
    kept: Tensor
    weights: Tensor


class SignalRows:
    """The samples of an open signals file. T' steps are read of each, at a random place if the file has more."""

    def __init__(self, file: Recording, rows: range, steps: int) -> None:
        self.rows, self.steps = rows, steps
        self._mixed, self._target = file.values("mixed_signals"), file.values("target_signals")
        self._conditions: Float32s = file.values("condition_vectors")[:].astype(np.float32)

    def draw(self, row: int, source: np.random.Generator) -> tuple[Float32s, Float32s]:
        """Sample ``row`` as inputs (T', 5) and targets (T',): cut anywhere, and half of them turned upside down.

        Both are again a mixture of the same kind, as the phases are uniform; only a start at the same phases is rare.
        """
        first = int(source.integers(self._mixed.shape[1] - self.steps + 1))
        sign = np.float32(source.choice((-1.0, 1.0)))
        inputs = np.empty((self.steps, 1 + self._conditions.shape[1]), np.float32)
        inputs[:, 0] = sign * self._mixed[row, first : first + self.steps]
        inputs[:, 1:] = self._conditions[row]
        return inputs, sign * self._target[row, first : first + self.steps].astype(np.float32)

    def ranges(self) -> Ranges:
        """The ranges of all rows, as they are and turned upside down, as `draw` does."""
        found = RangeCounter()
        conditions = self._conditions[self.rows.start : self.rows.stop]
        found.add_conditions(conditions)
        for row in self.rows:
            mixed = self._mixed[row]
            highest = max(abs(float(mixed.min())), abs(float(mixed.max())))
            found.add(np.array([[sign * highest, *self._conditions[row]] for sign in (-1.0, 1.0)]))
        return found.ranges(SIGNAL_FIELDS)

    def whole(self) -> tuple[Tensor, Tensor]:
        """All rows as they are, (N, T', 5) and (N, T')."""
        rows = slice(self.rows.start, self.rows.stop)
        mixed = self._mixed[rows, : self.steps].astype(np.float32)
        conditions = np.repeat(self._conditions[rows, None], self.steps, axis=1)
        inputs = np.concatenate([mixed[:, :, None], conditions], axis=2)
        return torch.from_numpy(inputs), torch.from_numpy(self._target[rows, : self.steps].astype(np.float32))


class SignalTask:
    """The task for `fit`: a signal model on the rows of one file.

    Raises:
        DataError: too few rows to hold some out, or samples shorter than a segment.
        StartupError: the initialisation does not fit the model.
    """

    def __init__(self, file: Recording, settings: SignalSettings) -> None:
        samples, length = file["mixed_signals"].shape
        steps = min(settings.steps or length, length)
        if samples < 2 or steps < settings.segment:
            raise DataError(
                file.filename,
                f"{samples} samples of {steps} steps: training needs 2 samples of {settings.segment} steps (segment)",
                "mixed_signals",
            )
        held_out = min(max(1, round(HELD_OUT * samples)), MOST_HELD_OUT)
        self.settings = settings
        self.mixture: Mixture = mixture_of(file)
        self.segments = steps // settings.segment
        self.training = SignalRows(file, range(samples - held_out), self.segments * settings.segment)
        self.validation = SignalRows(file, range(samples - held_out, samples), length)
        self.updates_per_epoch = max(1, len(self.training.rows) * self.segments // settings.batch_size)
        self._whole = self.validation.whole()
        self._state: HiddenState | None = None
        self.model = self._make_model()

    def _make_model(self) -> SignalExtractionLSTM:
        settings = self.settings
        torch.manual_seed(settings.seed)
        inputs = self._whole[0].shape[2]
        model = SignalExtractionLSTM(inputs, settings.hidden_size, settings.num_layers, settings.dropout)
        model.training_ranges = self.training.ranges().plain()
        if settings.initialisation == "chrono":
            chrono_init(model.lstm)
        elif settings.initialisation == "kalman":
            masks = kalman_init(model, self.mixture)
            model.to(settings.device)
            _keep(model, masks)
        return model.to(settings.device)

    def batches(self, epoch: int) -> Iterator[TrainingBatch]:
        """The segments of one epoch, which the seed and the epoch's number alone decide; states start from zero."""
        self._state = None
        source = np.random.default_rng([self.settings.seed, 7, epoch])
        rows = len(self.training.rows)
        order = iter(
            np.concatenate([source.permutation(rows) for _ in range(2 + 2 * self.settings.batch_size // rows)])
        )
        # A row's first sample is played from its middle, so that ages differ.
        ages = [slot * self.segments // self.settings.batch_size for slot in range(self.settings.batch_size)]
        since = np.zeros(len(ages), np.int64)  # segments since the row's state was zero
        playing = [self.training.draw(int(next(order)), source) for _ in ages]
        for _ in range(self.updates_per_epoch):
            yield self._batch(playing, ages, since)
            ages = [(age + 1) % self.segments for age in ages]
            since = np.where(np.array(ages) == 0, 0, since + 1)
            for slot in np.flatnonzero(since == 0):
                playing[slot] = self.training.draw(int(next(order)), source)

    def _batch(self, playing: list[tuple[Float32s, Float32s]], ages: list[int], since: Int64s) -> TrainingBatch:
        length = self.settings.segment
        cuts = [slice(age * length, (age + 1) * length) for age in ages]
        pairs = list(zip(playing, cuts, strict=True))
        seconds = since * length / self.mixture.sampling_rate_hz
        weights = np.clip(seconds**2, EARLY_WEIGHT, 1.0).astype(np.float32)
        device = self.settings.device
        return TrainingBatch(
            torch.from_numpy(np.stack([inputs[cut] for (inputs, _), cut in pairs])).to(device),
            torch.from_numpy(np.stack([targets[cut] for (_, targets), cut in pairs])[:, :, None]).to(device),
            torch.from_numpy((since > 0).astype(np.float32)).to(device),
            torch.from_numpy(weights[:, None, None]).to(device),
        )

    def loss(self, batch: TrainingBatch) -> Tensor:
        """The weighted mean squared error of a segment; the state is carried on, without its graph."""
        state = self._state
        if state is not None:
            state = (state[0] * batch.kept[:, None], state[1] * batch.kept[:, None])  # (L, B, H) * (B, 1)
        predicted, (h, c) = self.model(batch.inputs, state)
        self._state = (h.detach(), c.detach())
        loss: Tensor = (batch.weights * (predicted - batch.targets) ** 2).mean()
        return loss

    def validate(self) -> dict[str, float]:
        """On whole held-out samples: ``mse``, and ``loss``, the mean squared error after the first second.

        Of samples that end within a second the loss is that of their second half.
        """
        inputs, targets = self._whole
        with evaluating(self.model):
            predicted = self.model(inputs.to(self.settings.device))[0][:, :, 0].cpu()  # (N, T)
        squared = (predicted - targets) ** 2
        second = min(round(self.mixture.sampling_rate_hz), inputs.shape[1] // 2)
        return {"loss": float(squared[:, second:].mean()), "mse": float(squared.mean())}

    def extras(self) -> dict[str, Any]:
        """Return the facts about its training that a checkpoint holds."""
        return {
            "training": msgspec.to_builtins(self.settings),
            "data": {"samples": len(self.training.rows), "steps": self.training.steps, "held_out": len(self._whole[0])},
        }

    def figures(self) -> dict[str, Any]:
        """Prediction over target of one held-out sample, for TensorBoard."""
        from core.training.plots import example_figure

        inputs, targets = (part[:1] for part in self._whole)
        with evaluating(self.model):
            predicted = self.model(inputs.to(self.settings.device))[0][0, :, 0].cpu().numpy()
        return {"example": example_figure(predicted, targets[0].numpy(), self.mixture.sampling_rate_hz)}


def _keep(model: SignalExtractionLSTM, masks: dict[str, Tensor]) -> None:
    """Let no gradient through where a parameter's mask is 0."""
    for name, mask in masks.items():
        parameter = model.get_parameter(name)
        parameter.register_hook(mask.to(parameter).mul)  # type: ignore[no-untyped-call]


def train_signal(
    file: Path,
    out: Path,
    settings: SignalSettings,
    *,
    resume: bool = False,
    log_dir: Path | None = None,
    on_progress: Callable[[TrainingProgress], None] = unheard,
    on_note: OnNote = unheard,
) -> Fitted:
    """Train on an HDF5 file of signals and write the best model to ``out``; the last rows are held out.

    The model that training starts from counts as epoch 0: where little data spoils the filter in it, it is the best.

    Raises:
        DataError: the file cannot be used.
        StartupError: settings that do not fit the file, or nothing to resume.
        RunError: as `fit`.
    """
    keep_inputs(files_of(out), [file])
    with open_signals(file) as opened:
        keep_inputs(files_of(out), opened.files)
        task = SignalTask(opened, settings)
        opened.tell(on_note)
        with reproducible(settings):
            start, start_loss = copy.deepcopy(task.model.state_dict()), task.validate()["loss"]
        done = fit(task, settings, out, resume=resume, log_dir=log_dir, on_progress=on_progress)
        if done.best_loss is None:
            return done
        if done.best_loss > start_loss:
            task.model.load_state_dict(start)
            save(task.model, out, epoch=0, loss=start_loss, history=done.history, **task.extras())
            done = dataclasses.replace(done, best_epoch=0, best_loss=start_loss)
        save_for_workers(out)
        return done
