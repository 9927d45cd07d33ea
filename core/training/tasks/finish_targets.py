"""After the training of targets or classes: the card, and the task file's tables of model and outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.drafts.rewriting import rewritten, write_text
from core.tasks.declaration import Declaration
from core.tasks.names import why_not_an_output
from core.tasks.reading import declare
from core.tasks.toml_file import parse_tables
from core.training.markdown import write_parts
from core.training.tasks.declare import model_lines, normal_ranges
from core.training.tasks.places import Places
from core.training.tasks.target_cards import classifier_card, regressor_card
from core.training.tasks.train_classifier import TrainedClassifier
from core.training.tasks.train_regressor import TENSOR, TrainedRegressor


@dataclass(frozen=True)
class FinishedTargets:
    """The tables that the task file has now, and the ranges that fields without one got."""

    tables: Mapping[str, list[str]]
    ranges: Mapping[str, tuple[float, float]]


def finish_targets(
    declaration: Declaration, trained: TrainedRegressor | TrainedClassifier, places: Places, command: str
) -> FinishedTargets:
    """Write the card, and model and outputs into the task file.

    Args:
        declaration: of the task, as the user wrote it.
        trained: its weights are written.
        places: of the files.
        command: what made it, for the card.

    Raises:
        StartupError: the task file cannot be rewritten; its text is as it was.
        RunError: the card cannot be written.
    """
    if isinstance(trained, TrainedRegressor):
        outputs, card = regressor_lines(declaration, trained.targets.names), regressor_card(trained, command)
    else:
        outputs, card = classifier_lines(declaration, trained.classes), classifier_card(trained, command)
    write_parts(places.card, card)
    path = declaration.path
    tables = {"model": model_lines(path, places.weights, places.example), "outputs": outputs}
    ranges = normal_ranges(declaration, trained.statistics)
    text = path.read_text(encoding="utf-8-sig")
    made = rewritten(path, text, tables, ranges)
    final = _declared(path, made)
    write_text(path, made)
    had = {field.name for field in declaration.fields if field.normal is not None}
    gained = {field.name for field in final.fields if field.normal is not None} - had
    return FinishedTargets(tables, {name: each for name, each in ranges.items() if name in gained})


def regressor_lines(declaration: Declaration, targets: tuple[str, ...]) -> list[str]:
    """The table of the outputs of targets."""
    names = f", names = [{', '.join(map(_text, targets))}]" if len(targets) > 1 else ""
    return [f'{_free(declaration, TENSOR)} = {{ tensor = "{TENSOR}"{names} }}']


def classifier_lines(declaration: Declaration, classes: tuple[str, ...]) -> list[str]:
    """The table of the outputs of classes."""
    odds, label, peak = (_free(declaration, name) for name in ("probabilities", "class", "attention_peak"))
    labels = ", ".join(map(_text, classes))
    return [
        f'{odds} = {{ tensor = "logits", apply = "softmax", labels = [{labels}] }}',
        f'{label} = {{ of = "{odds}", apply = "label" }}',
        f'{peak} = {{ tensor = "attention", apply = "argmax_step" }}',
    ]


def _free(declaration: Declaration, name: str) -> str:
    """A name of an output that no field has."""
    taken = {each for field in declaration.fields for each in (field.name, *field.aliases)}
    return f"model_{name}" if name in taken or why_not_an_output(name) else name


def _declared(path: Path, text: str) -> Declaration:
    return declare(path, parse_tables(path, text.encode()))


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
