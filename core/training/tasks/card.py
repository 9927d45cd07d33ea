"""The card of a forecaster: what it is, what it learnt from, how well it forecasts, and where it is weak."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from core.training.card import ENDINGS, duration_of, machine, setting, without_folders
from core.training.markdown import table, write_parts
from core.training.tasks.finish import Finished
from core.training.tasks.places import Places
from core.training.tasks.trained import Trained
from core.training.tasks.words import count_of, duration

MOST_SHOWN = 200
_GAUSSIAN = {1: 0.6827, 2: 0.9545, 3: 0.9973}
_USE = (
    "It says how unlike the learnt normal each sample is, from a live stream, one step per sample. `score` is about 0 "
    "where all is normal, in nats per step and field; `expected` is what was forecast for the sample, `surprise` how "
    "many standard deviations it is away, `leading` the field that weighs most. It is for people who look at a plant: "
    "no controller, and no safety device."
)
_WEAKNESSES = (
    "It knows what the history held. A season, a product or a load that was not in it counts as an anomaly until the "
    "model is trained again with it.",
    "What was wrong all through the history is normal to it.",
    "It sees steps. A drift so slow that every step is as expected moves no score: normal ranges of fields see that.",
    "It counts samples, not seconds: at another rate, or over gaps, its forecasts are wrong without a sign of it.",
    "At the first samples of a sequence it has seen nothing yet, and is unsure.",
    "An alarm says that something is unusual, not what is broken.",
)


def write_card(path: Path, trained: Trained, finished: Finished, places: Places, command: str) -> None:
    """Write the card as Markdown.

    Args:
        path: the card.
        trained: the training.
        finished: the threshold and the scores.
        places: of the other files.
        command: what was typed; absolute paths in it are shown by their last part.

    Raises:
        RunError: it cannot be written.
    """
    write_parts(path, _parts(trained, finished, places, command))


def _parts(trained: Trained, finished: Finished, places: Places, command: str) -> Iterator[str]:
    ours, persistence = trained.losses
    yield f"# Forecaster of {finished.declaration.name}"
    if ours >= persistence:
        yield "**The guess that nothing changes from one sample to the next is as good as this model.**"
    yield _USE
    yield "## Training"
    yield f"```sh\n{without_folders(command)}\n```"
    yield _course(trained)
    yield table(("setting", "value"), [(f"`{name}`", setting(value)) for name, value in _settings(trained)])
    yield "## Forecasts"
    yield "Measured on the held-out part, which also chose the best epoch and the level of the deviations."
    yield _quality(trained)
    yield f"![A stretch of the held-out part with its forecast]({places.plots.name}/forecast.png)"
    yield "## Alarm"
    yield "\n".join(f"- {line}" for line in finished.chosen.lines())
    yield f"![Scores of the held-out part, and the threshold]({places.plots.name}/scores.png)"
    yield "## Fields"
    yield _fields(trained)
    yield "## Known weaknesses"
    yield "\n".join(f"- {told}" for told in _WEAKNESSES)


def _course(trained: Trained) -> str:
    learnt, held_out = trained.parts.counts
    history, fitted, sizes = trained.history, trained.fitted, trained.sizes
    period = duration(history.period_ms / 1000)
    rows = [
        ("history", f"`{history.source}`: {count_of(history.samples, 'sample')}, one every {period}"),
        ("sequences", f"{len(history.sequences):,}, of {count_of(len(history.streams), 'stream')}"),
        ("learnt from", count_of(learnt, "sample")),
        ("held out", f"{count_of(held_out, 'sample')}: {trained.parts.by}"),
        ("model", f"{sizes.cell}, {count_of(sizes.num_layers, 'layer')} of {sizes.hidden_size} units"),
        ("epochs", f"{fitted.epochs} done, {ENDINGS[fitted.reason]}; the model is that of epoch {fitted.best_epoch}"),
        ("duration", duration_of(fitted.seconds)),
        ("machine", machine(trained.settings.device)),
        ("versions", f"Python {platform.python_version()}, torch {torch.__version__}"),
    ]
    return table(("training", ""), rows)


def _settings(trained: Trained) -> Iterator[tuple[str, object]]:
    for name in trained.settings.__struct_fields__:
        yield name, getattr(trained.settings, name)


def _quality(trained: Trained) -> str:
    ours, persistence = trained.losses
    rows = [("negative log-likelihood, nats per step and number", f"{ours:.3g}", f"{persistence:.3g}, persistence")]
    for k, share in trained.within.items():
        rows.append((f"within {k} standard deviations", f"{share:.1%}", f"{_GAUSSIAN[k]:.1%}, a Gaussian"))
    told = (
        "Persistence forecasts that nothing changes, with the deviation that fits best. Numbers are in units of usual "
        "steps."
    )
    return f"{table(('', 'model', 'beside it'), rows)}\n\n{told}"


def _fields(trained: Trained) -> str:
    of = trained.statistics
    columns = (of.mean, of.std, of.change, of.least, of.low, of.high)
    rows = [
        (f"`{name}`", *(f"{array[place]:.4g}" for array in columns)) for place, name in enumerate(of.names[:MOST_SHOWN])
    ]
    return table(("number", "mean", "deviation", "of its steps", "least of a forecast", "lowest", "highest"), rows)
