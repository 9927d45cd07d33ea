"""The cards of models of targets and of classes."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from core.training.card import ENDINGS, UNKNOWN, without_folders
from core.training.config import TaskSettings
from core.training.loop import Fitted
from core.training.markdown import table
from core.training.tasks.train_classifier import TrainedClassifier
from core.training.tasks.train_regressor import TrainedRegressor
from core.training.tasks.words import count_of

_REGRESSOR_WEAKNESSES = (
    "It knows the ranges of its history. Outside them it gives numbers all the same; the worker counts such values.",
    "A sensor that drifts or is recalibrated moves what it says. Compare it with measured targets from time to time, "
    "and train again.",
    "It counts samples and does not see the time between them: at another rate it is wrong without saying so.",
)
_CLASSIFIER_WEAKNESSES = (
    "It knows its classes only. Anything else gets the name of one of them all the same.",
    "It is only as good as its labels, and its probabilities follow the shares of the classes in its file.",
    "It counts samples and does not see the time between them: at another rate it is wrong without saying so.",
)


def regressor_card(trained: TrainedRegressor, command: str) -> list[str]:
    """The parts of the card of a model of targets."""
    learnt, held_out = trained.parts.counts
    return [
        f"# Model of {', '.join(trained.targets.names)}",
        *regressor_doubts(trained.figures),
        "## Training",
        f"```sh\n{without_folders(command)}\n```",
        _course(f"{learnt:,} samples; {held_out:,} more held out", trained.settings, trained.fitted),
        f"Of {trained.history.source}, {trained.parts.by}.",
        "## Quality",
        "Measured on the held-out part, which chose the best epoch, as a worker publishes it. The errors stand beside "
        "those of two guesses that need no model: always the mean, and the value that was known last. The latter needs "
        "measured values, which a live model does not have.",
        regressor_table(trained.figures),
        "## Known weaknesses",
        "\n".join(f"- {each}" for each in _REGRESSOR_WEAKNESSES),
    ]


def regressor_table(figures: Sequence[Mapping[str, Any]]) -> str:
    """The errors of each target."""
    head = ("target", "values", "RMSE", "mean error", "R²", "RMSE of the mean", "RMSE of the last value")
    keys = ("rmse", "mae", "r2", "mean_rmse", "last_rmse")
    rows = [(each["target"], f"{each['count']:,}", *(_number(each[key]) for key in keys)) for each in figures]
    return table(head, rows)


def regressor_doubts(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each guess that is better than the model."""
    return [
        f"**{name} is better for {each['target']}**: its RMSE is {_number(each[key])}, the model's is "
        f"{_number(each['rmse'])}."
        for each in figures
        for key, name in (("mean_rmse", "Always the mean"), ("last_rmse", "The last known value"))
        if each[key] is not None and each[key] <= each["rmse"]
    ]


def classifier_card(trained: TrainedClassifier, command: str) -> list[str]:
    """The parts of the card of a classifier."""
    figures, parts, classes = trained.figures, trained.parts, trained.classes
    counts = np.bincount(trained.labels.numbers[parts.learnt], minlength=len(classes)).tolist()
    told = ", ".join(f"{name} {count}" for name, count in zip(classes, counts, strict=True))
    on = f"{count_of(len(parts.learnt), 'sequence')} ({told}); {len(parts.held_out):,} more held out"
    last = figures["last"]
    return [
        f"# Classifier of {', '.join(classes)}",
        *classifier_doubts(figures),
        "## Training",
        f"```sh\n{without_folders(command)}\n```",
        _course(on, trained.settings, trained.fitted),
        "## Quality",
        f"Measured on sequences of {trained.history.source} that were held out whole, drawn at random from each class; "
        "half of them chose the best epoch, the others calibrated the probabilities.",
        classifier_table(figures),
        table(
            ("class", "sequences", "AUC, last window", "AUC, all windows"),
            [
                (name, f"{sum(row):,}", _number(auc), _number(of_all))
                for name, row, auc, of_all in zip(
                    classes, last["confusion"], last["auc"], figures["all"]["auc"], strict=True
                )
            ],
        ),
        "Last windows of the held-out sequences: a row for each true class, a column for each that the model found.",
        table(
            ("", *classes),
            [(name, *map(str, row)) for name, row in zip(classes, last["confusion"], strict=True)],
        ),
        "## Known weaknesses",
        "\n".join(f"- {each}" for each in _CLASSIFIER_WEAKNESSES),
    ]


def classifier_table(figures: Mapping[str, Any]) -> str:
    """The balanced accuracy of the model and of the baselines."""
    rows = [
        (f"model, {name}", f"{figures[key]['count']:,}", _number(figures[key]["balanced_accuracy"]))
        for key, name in (("last", "last windows"), ("all", "all windows that a worker scores"))
    ]
    rows += [
        (f"{name}, last windows", f"{figures['last']['count']:,}", _number(each))
        for name, each in figures["baselines"].items()
    ]
    return table(("", "windows", "balanced accuracy"), rows)


def classifier_doubts(figures: Mapping[str, Any]) -> list[str]:
    """A line for each baseline that is as good as the model or better."""
    own = figures["last"]["balanced_accuracy"]
    return [
        f"**A baseline is as good or better**: {name} has a balanced accuracy of {_number(each)}, the model of "
        f"{_number(own)}."
        for name, each in figures["baselines"].items()
        if each >= own
    ]


def _course(on: str, settings: TaskSettings, fitted: Fitted) -> str:
    rows = [
        ("trained on", on),
        ("net", f"{settings.cell}, {settings.num_layers} × {settings.hidden_size} units"),
        ("seed", str(settings.seed)),
        ("epochs", f"{fitted.epochs} done, {ENDINGS[fitted.reason]}; the model is that of epoch {fitted.best_epoch}"),
        ("loss on held-out data", _number(fitted.best_loss)),
        ("duration", f"{fitted.seconds:.0f} s"),
        ("versions", f"Python {platform.python_version()}, torch {torch.__version__}"),
    ]
    return table(("training", ""), rows)


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3g}"
