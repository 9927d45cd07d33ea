"""The sentences at the end of a task's training: how good the model is, what was written, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from core.tasks.declaration import Declaration
    from core.training.tasks.finish import Finished
    from core.training.tasks.places import Places
    from core.training.tasks.task_file import WrittenTables
    from core.training.tasks.train_classifier import TrainedClassifier
    from core.training.tasks.train_regressor import TrainedRegressor
    from core.training.tasks.trained import Trained


def forecaster_lines(
    declaration: Declaration, data: Path, trained: Trained, finished: Finished, places: Places
) -> Iterator[str]:
    """Say what came of the training of a forecaster."""
    name = shlex.quote(str(declaration.path))
    yield from _forecasts(trained)
    yield from finished.chosen.lines()
    yield from _written(declaration.path, finished, places, f", plots in {places.plots.name}")
    yield from _next(
        f"topics create --tasks {name}",
        f"worker --tasks {name}",
        _sending(declaration, name, data, trained.history.streams),
        f"tail {name}",
    )


def targets_lines(
    declaration: Declaration,
    trained: TrainedRegressor | TrainedClassifier,
    finished: WrittenTables,
    places: Places,
) -> Iterator[str]:
    """Say what came of the training of targets or of classes."""
    name = shlex.quote(str(declaration.path))
    yield from _figures(trained)
    yield from _written(declaration.path, finished, places)
    yield from _next(f"task check {name}", f"topics create --tasks {name}", f"worker --tasks {name}")


def _forecasts(trained: Trained) -> Iterator[str]:
    ours, persistence = trained.losses
    yield (
        f"on held-out data: negative log-likelihood {ours:.3g} nats per step and number (persistence: "
        f"{persistence:.3g}); " + ", ".join(f"|z| < {k} in {share:.1%}" for k, share in trained.within.items())
    )
    if ours >= persistence:
        yield (
            "warning: the guess that nothing changes is as good as this model: more history, or other fields, may "
            "help; until then the score only finds steps that are larger than usual"
        )


def _figures(trained: TrainedRegressor | TrainedClassifier) -> Iterator[str]:
    from core.training.tasks.target_cards import classifier_doubts, regressor_doubts
    from core.training.tasks.train_classifier import TrainedClassifier

    if isinstance(trained, TrainedClassifier):
        last, doubts = trained.figures["last"], classifier_doubts(trained.figures)
        others = ", ".join(f"{name} {each:.3g}" for name, each in trained.figures["baselines"].items())
        yield (
            f"on {last['count']:,} held-out sequences: balanced accuracy {last['balanced_accuracy']:.3g} of their last "
            f"windows ({others}), {trained.figures['all']['balanced_accuracy']:.3g} of all windows"
        )
    else:
        doubts = regressor_doubts(trained.figures)
        for each in trained.figures:
            known = "" if each["last_rmse"] is None else f", of the last known value {each['last_rmse']:.3g}"
            yield (
                f"{each['target']}, {each['count']:,} held-out values: RMSE {each['rmse']:.3g} (of the mean "
                f"{each['mean_rmse']:.3g}{known})"
            )
    yield from (f"warning: {line.replace('**', '')}" for line in doubts)


def _written(task_file: Path, finished: Finished | WrittenTables, places: Places, plots: str = "") -> Iterator[str]:
    yield f"{task_file} has these tables now:"
    for name, lines in finished.tables.items():
        yield from (f"  [{name}]", *(f"  {line}" for line in lines))
    if finished.ranges:
        yield f"and the normal ranges of {', '.join(finished.ranges)}, from the samples that were learnt from"
    yield f"written: {places.weights}, {places.example.name}, the card {places.card.name}{plots}"


def _next(*commands: str) -> Iterator[str]:
    yield "next:"
    yield from (f"  caststream {each}" for each in commands)


def _sending(declaration: Declaration, name: str, data: Path, streams: Sequence[str]) -> str:
    """The command that sends samples: those of an HDF5 file, or lines of a CSV, whose stream must be named."""
    from core.training.tasks.history import is_hdf5

    if is_hdf5(data):
        return f"replay {shlex.quote(str(data))} --task {name}"
    stream = "" if any(streams) else f" --stream {declaration.name}-1"
    return f"send {name}{_columns(declaration)}{stream} < {shlex.quote(f'{data.stem}.csv')}"


def _columns(declaration: Declaration) -> str:
    named = declaration.training.columns
    return "".join(f" --column {shlex.quote(f'{field}={name}')}" for field, name in named.items())
