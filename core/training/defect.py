"""Training of the defect model on the casts of a file, through the windows that a stream scores.

A batch holds casts of nearly the same length. Where the lengths differ by a few steps the windows are cut at their
start to the shortest one's: the backward pass through packed windows of unequal length costs 36 times as much as
through full ones (torch 2.15, 128 windows of about 300 steps, 64 units: 31.7 s against 0.9 s of CPU time). Where they
differ by more, they are padded and packed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from core.arrays import Float32s, Float64s, Int64s
from core.callbacks import OnNote, unheard
from core.data.layout import open_castings
from core.data.outputs import keep_inputs
from core.data.recording import Recording
from core.engines.results import WindowRules
from core.errors import DataError
from core.models.defect_lstm import SteelDefectLSTM
from core.models.evaluation import evaluating
from core.models.factory import ModelFactory
from core.models.ranges import CASTING_FIELDS, RangeCounter
from core.training.calibration import bayes_threshold, platt
from core.training.config import DefectSettings
from core.training.loop import Fitted, TrainingProgress, fit
from core.training.metrics import auc_roc
from core.training.snapshot import files_of, save, save_for_workers
from core.wire.records import SENSORS

# The last rows of a file are held out: half to choose the best model, half to calibrate it.
HELD_OUT = 0.2
# Windows that end before their cast does, as those of running scores do; the others are of final scores.
RUNNING_SHARE = 0.25
# A batch's windows are cut to the shortest if none loses more than this share of its steps.
CUT_SHARE = 0.1
SCORED_AT_ONCE = 64


@dataclass(frozen=True)
class Casts:
    """Casts of an open file that are long enough for a score.

    ``rows`` are their rows in the file, ``lengths`` their steps, ``labels`` 0 or 1, ``probabilities`` what the file
    knows of the chance of a defect (NaN: nothing); all (N,).
    """

    file: Recording
    rows: Int64s
    lengths: Int64s
    labels: Int64s
    probabilities: Float32s

    @classmethod
    def of(cls, file: Recording, shortest: int) -> Casts:
        """The casts of at least ``shortest`` steps whose label is known."""
        lengths, labels = file["cast_length"][:].astype(np.int64), file["label"][:].astype(np.int64)
        rows = np.flatnonzero((lengths >= shortest) & (labels >= 0))
        return cls(file, rows, lengths[rows], labels[rows], file["defect_probability"][:][rows].astype(np.float32))

    def part(self, which: slice) -> Casts:
        """Return some of the casts, in their order."""
        probabilities = self.probabilities[which]
        return Casts(self.file, self.rows[which], self.lengths[which], self.labels[which], probabilities)

    def __len__(self) -> int:
        return len(self.rows)

    def reader(self) -> Callable[[int, int, int], Float32s]:
        """A function that reads the samples [first, end) of the i-th cast, (T, 5)."""
        starts = self.file["cast_start"][:][self.rows].tolist()
        return lambda index, first, end: self.file.sensors(starts[index] + first, starts[index] + end)


@dataclass(frozen=True)
class DefectBatch:
    """Standardised windows ``inputs`` (B, T, 5) of ``lengths`` steps, and ``targets`` (B,)."""

    inputs: Tensor
    lengths: list[int]
    targets: Tensor


class DefectTask:
    """The task for `fit`: a defect model on the casts of one file.

    Args:
        file: an open castings file.
        settings: shape and course of the training.
        validation: another open file whose casts are held out instead of the last fifth of ``file``.

    Raises:
        DataError: too few casts, casts of one class only, or unknown probabilities that are to be learnt.
        StartupError: a setting outside the model's limits.
    """

    def __init__(
        self,
        file: Recording,
        settings: DefectSettings,
        validation: Recording | None = None,
    ) -> None:
        self.settings, self.rules = settings, WindowRules()
        self.training, self.validation, self.calibration = self._split(file, validation)
        self._read = self.training.reader()
        self.statistics = self._statistics()
        self.pos_weight = settings.pos_weight or float((self.training.labels == 0).sum() / self.training.labels.sum())
        self._mean, self._std = (np.array(self.statistics[name], np.float32) for name in ("mean", "std"))
        self._held_out = self._final_windows(self.validation)
        self.model = self._make_model()

    def _split(self, file: Recording, validation: Recording | None) -> tuple[Casts, Casts, Casts]:
        casts = Casts.of(file, self.rules.window_min)
        held_out = math.ceil(HELD_OUT * len(casts)) if validation is None else 0
        other = casts.part(slice(len(casts) - held_out, None))
        if validation is not None:
            other = Casts.of(validation, self.rules.window_min)
        half = len(other) // 2
        parts = casts.part(slice(len(casts) - held_out)), other.part(slice(half)), other.part(slice(half, None))
        for part, purpose in zip(parts, ("training", "validation", "calibration"), strict=True):
            if len(set(part.labels.tolist())) < 2:
                raise DataError(
                    part.file.filename,
                    f"{len(part)} casts of {self.rules.window_min} steps or more are left for {purpose}: "
                    "defective and good ones are needed",
                    "label",
                )
            if self.settings.target == "probability" and not np.isfinite(part.probabilities).all():
                raise DataError(
                    part.file.filename, "unknown for some casts: target probability needs all", "defect_probability"
                )
        return parts

    def _statistics(self) -> dict[str, list[float]]:
        """Mean and standard deviation of each sensor over the training casts; a sensor that stands still has 1.

        Finds their ranges on the way.
        """
        seen = RangeCounter()
        count, total, squares = 0, np.zeros(len(SENSORS)), np.zeros(len(SENSORS))
        for index in range(len(self.training)):
            readings = self._read(index, 0, int(self.training.lengths[index])).astype(np.float64)
            if not index:
                origin = readings.mean(axis=0)  # sums of squares lose their digits far from zero
            seen.add(readings)
            count += len(readings)
            total += (readings - origin).sum(axis=0)
            squares += ((readings - origin) ** 2).sum(axis=0)
        self.ranges = seen.ranges(CASTING_FIELDS)
        std = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0))
        return {"mean": (origin + total / count).tolist(), "std": np.where(std > 1e-6, std, 1.0).tolist()}

    def _make_model(self) -> SteelDefectLSTM:
        settings = self.settings
        torch.manual_seed(settings.seed)
        model = SteelDefectLSTM(
            {
                "architecture": {
                    "hidden_size": settings.hidden_size,
                    "num_layers": settings.num_layers,
                    "bidirectional": settings.bidirectional,
                    "dropout": settings.dropout,
                    "readout": settings.readout,
                },
                "classifier": {"hidden_dims": list(settings.hidden_dims), "dropout": settings.classifier_dropout},
                # The statistics in the checkpoint standardise the input: a norm there has nothing left to do.
                "normalization": {"batch_norm": False, "layer_norm": True, "input_norm": False},
                "regularization": {"weight_decay": settings.weight_decay, "gradient_clip": settings.gradient_clip},
            }
        )
        model.input_statistics = self.statistics
        model.training_ranges = self.ranges.plain()
        return model.to(settings.device)

    @property
    def updates_per_epoch(self) -> int:
        """Batches of one epoch."""
        return math.ceil(len(self.training) / self.settings.batch_size)

    def batches(self, epoch: int) -> Iterator[DefectBatch]:
        """Yield every training cast once, as one of its windows; seed and epoch alone decide order and windows."""
        source = np.random.default_rng([self.settings.seed, 9, epoch])
        lengths = self.training.lengths
        running = source.random(len(lengths)) < RUNNING_SHARE
        ends = np.where(running, source.integers(self.rules.window_min, lengths + 1), lengths)
        steps = np.minimum(ends, self.rules.window_length)
        # Neighbours in length, equal ones in a new order each time.
        order = np.lexsort((source.random(len(steps)), steps))
        size = self.settings.batch_size
        for number in source.permutation(self.updates_per_epoch):
            yield self._batch(order[number * size : (number + 1) * size], ends, steps)

    def _batch(self, chosen: Int64s, ends: Int64s, steps: Int64s) -> DefectBatch:
        taken = steps[chosen]
        if taken.min() >= (1.0 - CUT_SHARE) * taken.max():
            taken = np.full_like(taken, taken.min())
        windows = [
            self._standardised(self._read(int(index), int(ends[index] - length), int(ends[index])))
            for index, length in zip(chosen, taken, strict=True)
        ]
        inputs = nn.utils.rnn.pad_sequence(windows, batch_first=True)  # (B, T, 5)
        casts = self.training
        values = casts.probabilities if self.settings.target == "probability" else casts.labels.astype(np.float32)
        device = self.settings.device
        return DefectBatch(inputs.to(device), taken.tolist(), torch.from_numpy(values[chosen]).to(device))

    def _standardised(self, window: Float32s) -> Tensor:
        return torch.from_numpy((window - self._mean) / self._std)

    def loss(self, batch: DefectBatch) -> Tensor:
        """Binary cross entropy, defects weighted by ``pos_weight``."""
        logits = self.model(batch.inputs, batch.lengths)[:, 0]
        return binary_cross_entropy_with_logits(logits, batch.targets, pos_weight=torch.tensor(self.pos_weight))

    def validate(self) -> dict[str, float]:
        """On the final windows of the held-out casts: ``loss``, the cross entropy after calibration, and ``auc``.

        Calibrated on the same casts, so that the loss does not tell of the odds, which calibration sets right later.
        """
        logits, targets = self._logits(self._held_out), self._targets(self.validation)
        fitted = platt(logits, targets)
        scaled = torch.from_numpy(fitted["a"] * logits + fitted["b"])
        auc = auc_roc(logits, self.validation.labels)
        loss = binary_cross_entropy_with_logits(scaled, torch.from_numpy(targets))
        return {"loss": float(loss), "auc": math.nan if auc is None else auc}

    def _targets(self, casts: Casts) -> Float64s:
        """Return the targets of calibration, (N,)."""
        return np.asarray(casts.probabilities if self.settings.target == "probability" else casts.labels, np.float64)

    def _final_windows(self, casts: Casts) -> list[Tensor]:
        read, ends = casts.reader(), casts.lengths.tolist()
        firsts = [max(0, end - self.rules.window_length) for end in ends]
        return [
            self._standardised(read(i, first, end)) for i, (first, end) in enumerate(zip(firsts, ends, strict=True))
        ]

    def _logits(self, windows: Sequence[Tensor]) -> Float64s:
        """Logits (N,) of windows of any lengths."""
        order = sorted(range(len(windows)), key=lambda index: len(windows[index]))
        found = np.empty(len(windows))
        with evaluating(self.model):
            for first in range(0, len(order), SCORED_AT_ONCE):
                chosen = order[first : first + SCORED_AT_ONCE]
                inputs = nn.utils.rnn.pad_sequence([windows[index] for index in chosen], batch_first=True)
                lengths = [len(windows[index]) for index in chosen]
                found[chosen] = self.model(inputs.to(self.settings.device), lengths)[:, 0].double().cpu().numpy()
        return found

    def extras(self) -> dict[str, Any]:
        """Return the facts about its training that a checkpoint holds."""
        settings, casts = self.settings, self.training
        return {
            "training": msgspec.to_builtins(settings),
            "data": {"casts": len(casts), "defective": int(casts.labels.sum()), "pos_weight": self.pos_weight},
        }

    def figures(self) -> dict[str, Any]:
        """Scores of good and defective held-out casts, for TensorBoard."""
        from core.training.plots import scores_figure

        return {"scores": scores_figure(self._logits(self._held_out), self.validation.labels)}

    def calibrate(self, model: SteelDefectLSTM) -> tuple[dict[str, float], dict[str, float]]:
        """Platt scaling on casts that neither trained nor chose the model, and the threshold that costs least."""
        self.model = model
        settings = self.settings
        fitted = platt(self._logits(self._final_windows(self.calibration)), self._targets(self.calibration))
        costs = {"cost_missed": settings.cost_missed, "cost_false_alarm": settings.cost_false_alarm}
        return fitted, {"threshold": bayes_threshold(settings.cost_missed, settings.cost_false_alarm), **costs}


def train_defect(
    file: Path,
    out: Path,
    settings: DefectSettings,
    *,
    validation: Path | None = None,
    resume: bool = False,
    log_dir: Path | None = None,
    on_progress: Callable[[TrainingProgress], None] = unheard,
    on_note: OnNote = unheard,
) -> Fitted:
    """Train on an HDF5 file of casts, calibrate, and write the best model to ``out``.

    Casts shorter than a score needs and casts without a label are left out. ``validation`` is a file of other casts to
    hold out; without it, they are the last fifth of ``file``.

    Raises:
        DataError: a file cannot be used, or is to be both trained on and held out.
        StartupError: a wrong setting, or nothing to resume.
        RunError: as `fit`; then the model in ``out`` is not calibrated, and `resume` goes on.
    """
    if validation is not None and validation.exists() and validation.samefile(file):
        raise DataError(validation, "is the file to train on: other casts must be held out")
    keep_inputs(files_of(out), [file, validation])
    with open_castings(file) as opened:
        other = None if validation is None else open_castings(validation)
        try:
            read = [opened] if other is None else [opened, other]
            keep_inputs(files_of(out), [path for one in read for path in one.files])
            task = DefectTask(opened, settings, other)
            for one in read:
                one.tell(on_note)
            done = fit(task, settings, out, resume=resume, log_dir=log_dir, on_progress=on_progress)
            if done.best_epoch:  # else it was interrupted before the first update, and `out` is nobody's or another's
                _finish(task, out, done)
        finally:
            if other is not None:
                other.close()
    return done


def _finish(task: DefectTask, out: Path, done: Fitted) -> None:
    """Add calibration and threshold to the best model's file."""
    model = ModelFactory.create_from_checkpoint(out, task.settings.device)
    assert isinstance(model, SteelDefectLSTM)
    model.calibration, decision = task.calibrate(model)
    content = {"decision": decision, "history": done.history, **task.extras()}
    save(model, out, epoch=done.best_epoch, loss=done.best_loss, **content)
    save_for_workers(out)
