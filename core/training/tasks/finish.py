"""After the training of a forecaster: scores of the held-out part, the threshold, and the task file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from core.callbacks import OnProgress, unheard
from core.drafts.rewriting import rewritten, write_text
from core.judging.threshold import Chosen, choose
from core.tasks.declaration import Declaration
from core.tasks.reading import declare
from core.tasks.toml_file import parse_tables
from core.training.tasks.declare import (
    FieldLimits,
    model_lines,
    names_for,
    normal_ranges,
    output_lines,
)
from core.training.tasks.places import Places
from core.training.tasks.scores import HeldOutScores, held_out_scores
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
    path, statistics = declaration.path, trained.statistics
    text = path.read_text(encoding="utf-8-sig")
    names, horizon = names_for(declaration), declaration.training.horizon
    model = model_lines(path, places.weights, places.example)
    tables = {"model": model, "outputs": output_lines(names, statistics.least, horizon, None)}
    ranges = normal_ranges(declaration, statistics)
    scoring = _declared(path, rewritten(path, text, tables, {}))
    scores = held_out_scores(scoring, names.score, trained.history, trained.parts, on_progress)
    chosen = choose(scores.score, scores.period_s, per_week)
    limits = FieldLimits(chosen.threshold, min(chosen.clear, chosen.threshold))
    tables = {"model": model, "outputs": output_lines(names, statistics.least, horizon, limits)}
    made = rewritten(path, text, tables, ranges)
    final = _declared(path, made)
    write_text(path, made)
    gained = {field.name for field in final.fields if field.normal is not None}
    had = {field.name for field in declaration.fields if field.normal is not None}
    return Finished(chosen, scores, tables, {name: ranges[name] for name in ranges if name in gained - had}, final)


def _declared(path: Path, text: str) -> Declaration:
    return replace(declare(path, parse_tables(path, text.encode())), path=path)
