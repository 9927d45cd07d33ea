"""Train a classifier of a declared window task: from a task file and labelled sequences to a checkpoint.

Shapes: W windows, T samples of one, F numbers of a sample, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.arrays import Float32s, Int64s
from core.callbacks import OnNote, OnProgress, unheard
from core.data.outputs import keep_inputs
from core.engines.defect_net import DefectNet
from core.engines.results import WindowRules
from core.errors import StartupError
from core.models.defect_lstm import SteelDefectLSTM
from core.models.evaluation import evaluating
from core.models.factory import ModelFactory
from core.models.weights_file import weights_of
from core.tasks.declaration import Declaration
from core.training.baseline import window_features
from core.training.config import TaskSettings
from core.training.extras import require
from core.training.loop import Fitted, TrainingProgress, fit
from core.training.snapshot import save
from core.training.tasks import export
from core.training.tasks.class_parts import ClassParts, class_parts
from core.training.tasks.class_scores import Calibration, balanced_accuracy, calibrate, confusion, figures_of, softmax
from core.training.tasks.class_windows import WindowCut
from core.training.tasks.classify import ClassifyTask, with_sizes
from core.training.tasks.history import AS_IT_IS, History, HistoryOptions
from core.training.tasks.labels import SequenceLabels, open_labelled
from core.training.tasks.places import Places
from core.training.tasks.statistics import FieldStatistics, names_of, statistics_of
from core.training.tasks.words import count_of

EXAMPLE_WINDOWS = 8


@dataclass(frozen=True)
class TrainedClassifier:
    """A training and what came of it. ``figures`` are those of the windows of held-out sequences that a worker scores:
    of the ``last`` of each, of ``all`` of them, and of baselines on the last ones.
    """

    history: History
    labels: SequenceLabels
    parts: ClassParts
    settings: TaskSettings
    statistics: FieldStatistics
    fitted: Fitted
    figures: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.labels.classes


def train_classifier(
    declaration: Declaration,
    data: Path,
    places: Places,
    settings: TaskSettings,
    *,
    options: HistoryOptions = AS_IT_IS,
    resume: bool = False,
    log_dir: Path | None = None,
    on_read: OnProgress = unheard,
    on_progress: Callable[[TrainingProgress], None] = unheard,
    on_note: OnNote = unheard,
    then: Callable[[TrainedClassifier], None] = unheard,
) -> Fitted:
    """Train a classifier, calibrate it, and write its checkpoint and its example.

    Args:
        declaration: of a window task; its model and outputs do not matter.
        data: CSV, Parquet, Feather or HDF5.
        places: what is written.
        options: how ``data`` is read.
        resume, log_dir, on_progress: as `fit` has them.
        on_read: told how much of ``data`` is read, and of how much.
        on_note: told what a person should know of the data, in lines.
        then: called with what came of it; not where nothing came of it.

    Raises:
        DataError: the data cannot be used, or are too few.
        StartupError, RunError: as `fit`.
    """
    keep_inputs(places.all, [data, declaration.path])
    rules = _rules(declaration, settings)
    with open_labelled(data, declaration, options, on_note, on_read) as (history, labels):
        parts, task = _task(declaration, history, labels, rules, settings)
        for line in _told(history, labels, parts, rules):
            on_note(line)
        done = fit(task, task.settings, places.best, resume=resume, log_dir=log_dir, on_progress=on_progress)
        if done.best_loss is None:
            return done
        model = ModelFactory.create_from_checkpoint(places.best)
        assert isinstance(model, SteelDefectLSTM)
        _calibrate(task, model)
        figures = _figures(task, model, history)
        facts = {"history": done.history, "quality": figures, **task.extras()}
        save(model, places.weights, epoch=done.best_epoch, loss=done.best_loss, **facts)
        _write_example(places.example, model, history, rules)
        then(TrainedClassifier(history, labels, parts, task.settings, task.statistics, done, figures))
        return done


def _rules(declaration: Declaration, settings: TaskSettings) -> WindowRules:
    window = declaration.window
    if window is None:
        raise StartupError(f"{declaration.path}: a classifier is for a task of the kind window, not {declaration.kind}")
    if (settings.cell or declaration.training.cell) != "LSTM":
        raise StartupError(f"{declaration.path}: a classifier of windows is an LSTM: leave cell out")
    return WindowRules(window.length, window.first, window.hop)


def _task(
    declaration: Declaration, history: History, labels: SequenceLabels, rules: WindowRules, settings: TaskSettings
) -> tuple[ClassParts, ClassifyTask]:
    values = [each.values for each in history.sequences]
    lengths = np.array([len(each) for each in values], np.int64)
    parts = class_parts(labels, lengths, rules.window_min, settings.seed, history.source)
    statistics = statistics_of(names_of(declaration), [values[place] for place in parts.learnt.tolist()])
    wish = declaration.training
    chosen = with_sizes(settings, len(parts.learnt), wish.hidden_size, wish.num_layers)
    facts = {
        "sequences": len(values),
        "samples": history.samples,
        "classes": list(labels.classes),
        "counts": np.bincount(labels.numbers[labels.numbers >= 0]).tolist(),
        "mean": statistics.mean.tolist(),
        "std": statistics.std.tolist(),
    }
    return parts, ClassifyTask(values, labels, parts, rules, statistics, chosen, facts)


def _told(history: History, labels: SequenceLabels, parts: ClassParts, rules: WindowRules) -> list[str]:
    """Say what a person should know of the data."""
    found = []
    if parts.unknown:
        found.append(f"{count_of(parts.unknown, 'sequence')} without a label: left out")
    if parts.short:
        found.append(
            f"{count_of(parts.short, 'sequence')} of fewer than {rules.window_min:,} samples (window.first): left "
            "out, as they have no score"
        )
    counts = np.bincount(labels.numbers[labels.numbers >= 0])
    if counts.max() > 10 * counts.min():
        rare, common = labels.classes[int(counts.argmin())], labels.classes[int(counts.argmax())]
        found.append(
            f"the class {common!r} is {counts.max() / counts.min():.0f} times as frequent as {rare!r}: probabilities "
            "follow the shares of the classes in this file, so the rare one is seldom the most probable"
        )
    streams = history.streams
    if 1 < len(streams) < len(history.sequences):
        found.append(
            f"sequences of the same {count_of(len(streams), 'stream')} are learnt from and held out: the figures do "
            "not show how good the classifier is on a stream that it has never seen"
        )
    return found


def _calibrate(task: ClassifyTask, model: SteelDefectLSTM) -> None:
    """Fold the calibration, by sequences that neither trained nor chose the model, into its last linear layer."""
    task.model = model
    cut = task.due(task.parts.calibrated)
    folded_into(model, calibrate(task.logits(cut), cut.labels, cut.weights))


def folded_into(model: SteelDefectLSTM, calibration: Calibration) -> None:
    """Change a model so that its logits are calibrated."""
    last = model.classifier[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.mul_(calibration.scale)
        last.bias.mul_(calibration.scale).add_(torch.from_numpy(calibration.shifts).to(last.bias))


def _figures(task: ClassifyTask, model: SteelDefectLSTM, history: History) -> dict[str, Any]:
    """The figures of the held-out sequences, by the kernel that a worker runs, and those of baselines."""
    values = [each.values for each in history.sequences]
    cut = task.due(task.parts.held_out)
    found = kernel_probabilities(model, cut.of(values))
    last = np.flatnonzero(cut.final == 1)
    return {
        "last": figures_of(found[last].astype(np.float64), cut.labels[last]),
        "all": figures_of(found.astype(np.float64), cut.labels),
        "baselines": _baselines(task, values, cut.some(last)),
    }


def kernel_probabilities(model: SteelDefectLSTM, windows: list[Float32s]) -> Float32s:
    """The probabilities (W, K) as a worker publishes them."""
    weights = weights_of(model)
    net = DefectNet.of(weights.config, weights.weights, None, weights.input_statistics)
    found: Float32s = softmax(net.classified(windows)[0].astype(np.float64)).astype(np.float32)
    return found


def _baselines(task: ClassifyTask, values: list[Float32s], judged: WindowCut) -> dict[str, float]:
    """The balanced accuracy of what needs no memory: the commonest class, and a logistic regression on each window's
    means and extremes.
    """
    due = task.due(task.parts.learnt)
    learnt = due.some(np.flatnonzero(due.final == 1))
    common: Int64s = np.full(len(judged), np.bincount(learnt.labels).argmax())
    linear = require("sklearn.linear_model").LogisticRegression(max_iter=2000, class_weight="balanced")
    model = require("sklearn.pipeline").make_pipeline(require("sklearn.preprocessing").StandardScaler(), linear)
    model.fit(window_features(learnt.of(values)), learnt.labels)
    guesses = {
        "the commonest class": common,
        "logistic regression": model.predict(window_features(judged.of(values))),
    }
    return {
        name: balanced_accuracy(confusion(judged.labels, found, len(task.classes))) for name, found in guesses.items()
    }


def _write_example(path: Path, model: SteelDefectLSTM, history: History, rules: WindowRules) -> None:
    """Write what torch makes of some windows of the full length, for `caststream task check`."""
    windows = np.stack(
        [
            np.resize(each.values, (rules.window_length, each.values.shape[1]))  # a short sequence is repeated
            for each in history.sequences[:EXAMPLE_WINDOWS]
        ]
    )
    assert model.input_statistics is not None
    mean, std = (np.asarray(model.input_statistics[name], np.float32) for name in ("mean", "std"))
    with evaluating(model):
        logits = model(torch.from_numpy((windows - mean) / std)).numpy()
    export.write_arrays(path, {"x": windows, "logits": logits})
