"""After the training of targets or classes: the card, and the task file's tables of model and outputs."""

from __future__ import annotations

import json

from core.tasks.declaration import Declaration
from core.training.markdown import write_parts
from core.training.tasks.declare import free_name, model_lines
from core.training.tasks.places import Places
from core.training.tasks.target_cards import classifier_card, regressor_card
from core.training.tasks.task_file import WrittenTables, text_of, write_tables
from core.training.tasks.train_classifier import TrainedClassifier
from core.training.tasks.train_regressor import TENSOR, TrainedRegressor


def finish_targets(
    declaration: Declaration, trained: TrainedRegressor | TrainedClassifier, places: Places, command: str
) -> WrittenTables:
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
    model = model_lines(declaration.path, places.weights, places.example)
    tables = {"model": model, "outputs": outputs}
    return write_tables(declaration, text_of(declaration), tables, trained.statistics)


def regressor_lines(declaration: Declaration, targets: tuple[str, ...]) -> list[str]:
    """The table of the outputs of targets."""
    names = f", names = [{', '.join(map(_text, targets))}]" if len(targets) > 1 else ""
    return [f'{free_name(declaration, TENSOR)} = {{ tensor = "{TENSOR}"{names} }}']


def classifier_lines(declaration: Declaration, classes: tuple[str, ...]) -> list[str]:
    """The table of the outputs of classes."""
    odds, label, peak = (free_name(declaration, name) for name in ("probabilities", "class", "attention_peak"))
    labels = ", ".join(map(_text, classes))
    return [
        f'{odds} = {{ tensor = "logits", apply = "softmax", labels = [{labels}] }}',
        f'{label} = {{ of = "{odds}", apply = "label" }}',
        f'{peak} = {{ tensor = "attention", apply = "argmax_step" }}',
    ]


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
