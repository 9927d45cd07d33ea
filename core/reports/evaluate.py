"""Judge a task's anomaly scores on a file: with the truth beside simple detectors, without it by its alarms.

With the truth the first part of each sequence is history: the simple detectors are fitted on its normal samples, and
every detector's threshold is chosen on them for the same wish. The rest is judged. Of the file that the model was made
of, all this is done with the part that was held out, but for the simple detectors: they learn from what the model did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from core.arrays import Float64s
from core.callbacks import OnNote, OnProgress, unheard
from core.errors import StartupError
from core.judging.alarms import find_alarms, runs_of
from core.judging.baselines import Baseline, fit_baselines
from core.judging.metrics import DetectionFigures, figures
from core.judging.normal import disturbed
from core.judging.threshold import WEEK_S, choose, rate_curve
from core.offline.steps import StepModelRun
from core.reports.origin import note_on_thresholds, notes_on
from core.reports.parts import HISTORY_SHARE, Parts, SampleRanges, ScoresOf, divide
from core.reports.scored import ScoredFile, ScoredSequence, alarm_of, score_file, score_output
from core.tasks.declaration import Declaration
from core.training.tasks.history import AS_IT_IS, TRUTH, HistoryOptions, open_history
from core.training.tasks.origin import read_origin

OWN = "this task"
BEST = "true model"
WISH = 1.0


@dataclass(frozen=True)
class Choices:
    """The choices that a person may make for an evaluation.

    Attributes:
        truth: the column or dataset of 0 and 1; None: `TRUTH` where the file has it.
        wish: false alarms per stream and week; None: the task's own threshold, else one per week.
        score: the name of the output that is the score.
        history: a file whose samples are the history, in place of the first part of each sequence.
        options: how tables are read.
        seed: of the isolation forest.
    """

    truth: str | None = None
    wish: float | None = None
    score: str | None = None
    history: Path | None = None
    options: HistoryOptions = AS_IT_IS
    seed: int = 0


@dataclass(frozen=True)
class Alarm:
    """One alarm: samples ``[begin, end)`` of the sequence ``row``; ``leading`` is that of its peak, "" if not told."""

    row: int
    begin: int
    end: int
    peak: float
    leading: str
    true: bool | None


@dataclass(frozen=True)
class JudgedScores:
    """One detector on the judged part."""

    name: str
    threshold: float
    figures: DetectionFigures


@dataclass(frozen=True)
class Evaluation:
    """An evaluation; ``detectors`` is empty without the truth, else the task is the first.

    ``weeks`` are those of the scores that alarms are listed of, of all sequences together.
    """

    task: str
    score: str
    wish: float
    scored: ScoredFile
    threshold: float
    clear: float
    notes: list[str]
    alarms: list[Alarm]
    curve: tuple[Float64s, Float64s]
    detectors: list[JudgedScores]
    weeks: float


def evaluate_task(
    path: Path,
    declaration: Declaration,
    model: Callable[[], StepModelRun],
    choices: Choices,
    on_note: OnNote = unheard,
    on_progress: OnProgress = unheard,
) -> Evaluation:
    """Run a task over a file and judge its scores.

    Args:
        path: a CSV, Parquet, Feather or HDF5 file of the task's samples.
        model: opens the task's model for one run.

    Raises:
        DataError: a file cannot be used.
        StartupError: the task has no score, or there is nothing to choose a threshold from.
    """
    score = score_output(declaration, choices.score)
    truth = choices.truth or TRUTH
    asked = () if choices.truth is None else (choices.truth,)

    def scored_of(file: Path, extra: Sequence[str]) -> ScoredFile:
        with open_history(file, declaration, extra, choices.options, on_note) as history:
            return score_file(history, model(), score, truth, on_progress)

    scored = scored_of(path, asked)
    before = None if choices.history is None else scored_of(choices.history, ())
    own = alarm_of(declaration, score)
    origin = read_origin(declaration.model.file)
    parts, horizon, wish = divide(scored, before, origin), score.horizon or 0, choices.wish or WISH
    threshold, clear, notes = _threshold(parts, scored.period_s, horizon, own, choices.wish)
    detectors: list[JudgedScores] = []
    if parts.has_truth:
        judge = _Judge(parts, scored.period_s, horizon, wish)
        detectors = list(_detectors(judge, parts, horizon, own, choices.seed))
        notes.append(note_on_thresholds(parts.quiet.samples * scored.period_s, wish))
    notes = [*notes_on(origin, scored, before), *notes]
    alarms = _alarms(scored, parts.unlearnt, threshold, clear)
    curve = rate_curve(parts.unlearnt.normal(_own_scores, horizon), scored.period_s)
    weeks = sum(int((~np.isnan(one)).sum()) for one in parts.unlearnt.of(_own_scores)) * scored.period_s / WEEK_S
    return Evaluation(
        declaration.name, score.name, wish, scored, threshold, clear, notes, alarms, curve, detectors, weeks
    )


def _threshold(
    parts: Parts, period_s: float, horizon: int, own: tuple[float, float] | None, wish: float | None
) -> tuple[float, float, list[str]]:
    """The threshold of alarms, where it clears, and what it rests on."""
    if own is not None and wish is None:
        return *own, ["alarms are listed for the task's own threshold; --false-alarms chooses another"]
    chosen = choose(parts.quiet.normal(_own_scores, horizon), period_s, wish or WISH)
    notes = chosen.lines()
    if not parts.has_truth and not parts.is_apart:
        notes.append("it was chosen on this file as if all of it were normal: an anomaly in it raises the threshold")
    return chosen.threshold, chosen.clear, notes


def _own_scores(one: ScoredSequence) -> Float64s:
    return one.scores


class _Judge:
    """The same parts, wish and figures for every detector."""

    def __init__(self, parts: Parts, period_s: float, horizon: int, wish: float) -> None:
        self._parts, self._period_s, self._horizon, self._wish = parts, period_s, horizon, wish
        self._truth = [np.asarray(one.truth)[begin:end] for one, begin, end in parts.judged.rows]

    def judged(self, name: str, scores: ScoresOf) -> JudgedScores:
        """Judge scores with the threshold for the wish."""
        chosen = choose(self._parts.quiet.normal(scores, self._horizon), self._period_s, self._wish)
        return self.judged_by(name, scores, chosen.threshold, chosen.clear)

    def judged_by(self, name: str, scores: ScoresOf, threshold: float, clear: float) -> JudgedScores:
        """Judge scores with a given threshold."""
        found = figures(self._parts.judged.of(scores), self._truth, self._period_s, threshold, clear)
        return JudgedScores(name, threshold, found)


def _detectors(
    judge: _Judge, parts: Parts, horizon: int, own: tuple[float, float] | None, seed: int
) -> Iterator[JudgedScores]:
    """Judge the task and the simple detectors, each with a threshold for the same wish from the same history."""
    yield judge.judged(OWN, _own_scores)
    if own is not None:
        yield judge.judged_by(f"{OWN}, its own threshold", _own_scores, *own)
    for baseline in _baselines(parts.fitted, horizon, seed):
        yield judge.judged(baseline.name, partial(_scored_by, baseline))
    if all(one.oracle is not None for one in (*parts.judged.sequences, *parts.quiet.sequences)):
        yield judge.judged(BEST, _best_scores)


def _scored_by(baseline: Baseline, one: ScoredSequence) -> Float64s:
    return baseline.score(one.values)


def _best_scores(one: ScoredSequence) -> Float64s:
    return np.asarray(one.oracle, np.float64)


def _baselines(fitted: SampleRanges, horizon: int, seed: int) -> list[Baseline]:
    """The simple detectors, fitted on the normal stretches of the history."""
    stretches = []
    for one in fitted.cut():
        normal = np.ones(len(one), bool) if one.truth is None else ~disturbed(np.asarray(one.truth) == 1, horizon)
        stretches += [one.values[begin:end] for begin, end in zip(*runs_of(normal), strict=True)]
    if not any(len(each) for each in stretches):
        raise StartupError(
            f"the first {HISTORY_SHARE:.0%} of the sequences has no normal sample for simple detectors to be fitted "
            "on: name a file of normal data by --history"
        )
    return fit_baselines(stretches, seed=seed)


def _alarms(scored: ScoredFile, unlearnt: SampleRanges, threshold: float, clear: float) -> list[Alarm]:
    found = []
    for row, (one, first, last) in enumerate(unlearnt.rows):
        alarms = find_alarms(one.scores[first:last], threshold, clear)
        bounds = ((alarms.begins + first).tolist(), (alarms.ends + first).tolist(), alarms.peaks.tolist())
        for begin, end, peak in zip(*bounds, strict=True):
            place = begin + int(np.nanargmax(one.scores[begin:end]))
            leading = "" if one.leading is None or one.leading[place] < 0 else scored.labels[one.leading[place]]
            true = None if one.truth is None else bool((np.asarray(one.truth[begin:end]) == 1).any())
            found.append(Alarm(row, begin, end, peak, leading, true))
    return found
