"""Judge a task's anomaly scores on a file: with the truth beside simple detectors, without it by its alarms.

With the truth the first part of each sequence is history: the simple detectors are fitted on its normal samples, and
every detector's threshold is chosen on them for the same wish. The rest is judged. Of the file that the model was made
of, the history is what was learnt from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.arrays import Float64s
from core.callbacks import OnNote, OnProgress, unheard
from core.errors import StartupError
from core.judging.alarms import find_alarms, runs_of
from core.judging.baselines import Baseline, fit_baselines
from core.judging.metrics import DetectionFigures, figures
from core.judging.normal import disturbed
from core.judging.threshold import choose, rate_curve
from core.offline.steps import StepModelRun
from core.reports.origin import notes_on
from core.reports.scored import ScoredFile, ScoredSequence, alarm_of, score_file, score_output
from core.tasks.declaration import Declaration
from core.training.tasks.history import AS_IT_IS, TRUTH, HistoryOptions, open_history
from core.training.tasks.origin import Provenance, read_origin

HISTORY_SHARE = 0.3
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
    """An evaluation; ``detectors`` is empty without the truth, else the task is the first."""

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

    @property
    def weeks(self) -> float:
        """Weeks of scores, of all sequences together."""
        known = sum(int((~np.isnan(one.scores)).sum()) for one in self.scored.sequences)
        return known * self.scored.period_s / (7 * 24 * 3600)


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
    found = _Parts(scored, before, origin, score.horizon or 0)
    threshold, clear, notes = _threshold(found, own, choices.wish)
    detectors = _detectors(found, own, choices) if found.has_truth else []
    notes = [*notes_on(origin, scored), *notes]
    normal = [_normal_scores(one.scores, one.truth, found.horizon) for one in scored.sequences]
    alarms = list(_alarms(scored, threshold, clear))
    curve = rate_curve(normal, scored.period_s)
    wish = choices.wish or WISH
    return Evaluation(declaration.name, score.name, wish, scored, threshold, clear, notes, alarms, curve, detectors)


class _Parts:
    """The history, and what is judged: whole sequences, of which the first samples may be history."""

    def __init__(self, scored: ScoredFile, before: ScoredFile | None, origin: Provenance | None, horizon: int) -> None:
        self.judged = scored.sequences
        self.has_truth = all(one.truth is not None for one in self.judged)
        self.period_s = scored.period_s
        self.is_apart = before is not None
        self.horizon = horizon
        self.cuts = self._cuts(scored, origin)
        self.history = self._history(None if before is None else before.sequences)

    def _cuts(self, scored: ScoredFile, origin: Provenance | None) -> list[int]:
        """The samples at the begin of each sequence that are not judged."""
        lengths = [len(one) for one in self.judged]
        if not self.has_truth:
            return [0] * len(lengths)
        if origin is not None and origin.digest == scored.digest:
            return origin.cuts(lengths)
        return [0 if self.is_apart else int(length * HISTORY_SHARE) for length in lengths]

    def _history(self, before: list[ScoredSequence] | None) -> list[ScoredSequence]:
        if before is not None:
            return before
        if not self.has_truth:
            return self.judged
        return [_first(one, cut) for one, cut in zip(self.judged, self.cuts, strict=True) if cut]

    def rest(self, arrays: Sequence[Float64s]) -> list[Float64s]:
        """The judged part of arrays of all samples."""
        return [array[cut:] for array, cut in zip(arrays, self.cuts, strict=True)]

    @property
    def truth(self) -> list[Float64s]:
        """The truth of the judged part."""
        return self.rest([np.asarray(one.truth) for one in self.judged])


def _first(one: ScoredSequence, count: int) -> ScoredSequence:
    return replace(
        one,
        values=one.values[:count],
        scores=one.scores[:count],
        truth=None if one.truth is None else one.truth[:count],
        oracle=None if one.oracle is None else one.oracle[:count],
    )


def _normal_scores(scores: Float64s, truth: object, horizon: int) -> Float64s:
    """Scores without those of known anomalies, and of the samples behind that still show them."""
    return scores if truth is None else np.where(disturbed(np.asarray(truth) == 1, horizon), np.nan, scores)


def _threshold(parts: _Parts, own: tuple[float, float] | None, wish: float | None) -> tuple[float, float, list[str]]:
    """The threshold of alarms, where it clears, and what it rests on."""
    if own is not None and wish is None:
        return *own, ["the threshold is the task's own; --false-alarms chooses another"]
    past = [_normal_scores(one.scores, one.truth, parts.horizon) for one in parts.history]
    chosen = choose(past, parts.period_s, wish or WISH)
    notes = chosen.lines()
    if not parts.has_truth and not parts.is_apart:
        notes.append("it was chosen on this file as if all of it were normal: an anomaly in it raises the threshold")
    return chosen.threshold, chosen.clear, notes


def _detectors(parts: _Parts, own: tuple[float, float] | None, choices: Choices) -> list[JudgedScores]:
    """Judge the task and the simple detectors, each with a threshold for the same wish from the same history."""
    wish = choices.wish or WISH
    past = [one.scores for one in parts.history]
    all_scores = [one.scores for one in parts.judged]
    found = [_judged(parts, OWN, past, all_scores, wish)]
    if own is not None:
        judged = figures(parts.rest(all_scores), parts.truth, parts.period_s, *own)
        found.append(JudgedScores(f"{OWN}, its own threshold", own[0], judged))
    for baseline in _baselines(parts, choices.seed):
        found.append(
            _judged(
                parts,
                baseline.name,
                [baseline.score(one.values) for one in parts.history],
                [baseline.score(one.values) for one in parts.judged],
                wish,
            )
        )
    best = [one.oracle for one in parts.judged if one.oracle is not None]
    past_best = [one.oracle for one in parts.history if one.oracle is not None]
    if len(best) == len(parts.judged) and len(past_best) == len(parts.history):
        found.append(_judged(parts, BEST, past_best, best, wish))
    return found


def _judged(parts: _Parts, name: str, past: list[Float64s], scores: list[Float64s], wish: float) -> JudgedScores:
    rows = zip(past, parts.history, strict=True)
    normal = [_normal_scores(one, sequence.truth, parts.horizon) for one, sequence in rows]
    chosen = choose(normal, parts.period_s, wish)
    return JudgedScores(
        name,
        chosen.threshold,
        figures(parts.rest(scores), parts.truth, parts.period_s, chosen.threshold, chosen.clear),
    )


def _baselines(parts: _Parts, seed: int) -> list[Baseline]:
    """The simple detectors, fitted on the normal stretches of the history."""
    stretches = []
    for one in parts.history:
        normal = np.ones(len(one), bool) if one.truth is None else ~disturbed(np.asarray(one.truth) == 1, parts.horizon)
        stretches += [one.values[begin:end] for begin, end in zip(*runs_of(normal), strict=True)]
    if not any(len(each) for each in stretches):
        raise StartupError(
            f"the first {HISTORY_SHARE:.0%} of the sequences has no normal sample for simple detectors to be fitted "
            "on: name a file of normal data by --history"
        )
    return fit_baselines(stretches, seed=seed)


def _alarms(scored: ScoredFile, threshold: float, clear: float) -> list[Alarm]:
    found = []
    for row, one in enumerate(scored.sequences):
        alarms = find_alarms(one.scores, threshold, clear)
        for begin, end, peak in zip(alarms.begins.tolist(), alarms.ends.tolist(), alarms.peaks.tolist(), strict=True):
            place = begin + int(np.nanargmax(one.scores[begin:end]))
            leading = "" if one.leading is None or one.leading[place] < 0 else scored.labels[one.leading[place]]
            true = None if one.truth is None else bool((np.asarray(one.truth[begin:end]) == 1).any())
            found.append(Alarm(row, begin, end, peak, leading, true))
    return found
