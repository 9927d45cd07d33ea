"""After the training of a forecaster: scores of the held-out part, the threshold, and the task file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.callbacks import OnProgress, unheard
from core.judging.threshold import Chosen, choose
from core.tasks.declaration import Declaration
from core.training.tasks.declare import (
    FieldLimits,
    model_lines,
    names_for,
    output_lines,
)
from core.training.tasks.places import Places
from core.training.tasks.scores import HeldOutScores, held_out_scores
from core.training.tasks.task_file import text_of, with_tables, write_tables
from core.training.tasks.trained import Trained


@dataclass(frozen=True)
class Finished:
    """The threshold, the scores that it was chosen on, and the tables that the task file has now.

    ``ranges`` are what is called normal of fields that had no such range. ``declaration`` is the new one.
    """

    chosen: Chosen
    scores: HeldOutScores
    tables: Mapping[str, list[str]]
    ranges: Mapping[str, tuple[float, float]]
    declaration: Declaration


def finish(
    declaration: Declaration,
    trained: Trained,
    places: Places,
    *,
    per_week: float,
    on_progress: OnProgress = unheard,
) -> Finished:
    """Choose the threshold, and write model and outputs into the task file.

    Args:
        declaration: of the task, as the user wrote it.
        trained: its weights are written.
        places: of the files.
        per_week: false alarms of a stream that are accepted.
        on_progress: told the samples whose scores are known so far, and their total.

    Raises:
        StartupError: no threshold can be chosen, or the file cannot be rewritten; its text is as it was.
    """
    path, statistics, text = declaration.path, trained.statistics, text_of(declaration)
    names, horizon = names_for(declaration), declaration.training.horizon
    model = model_lines(path, places.weights, places.example)
    tables = {"model": model, "outputs": output_lines(names, statistics.least, horizon, None)}
    scoring = with_tables(path, text, tables)
    scores = held_out_scores(scoring, names.score, trained.history, trained.parts, on_progress)
    chosen = choose(scores.score, scores.period_s, per_week)
    limits = FieldLimits(chosen.threshold, min(chosen.clear, chosen.threshold))
    tables = {"model": model, "outputs": output_lines(names, statistics.least, horizon, limits)}
    written = write_tables(declaration, text, tables, statistics)
    return Finished(chosen, scores, written.tables, written.ranges, written.declaration)
