"""A defect model on a file of casts, by the scores exactly as the stream publishes them, beside limit and baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float32s, Float64s, Int64s
from core.callbacks import OnNote, OnProgress, unheard
from core.data.castings import draw_cast, draw_lengths
from core.data.layout import open_castings
from core.data.recording import Recording
from core.engines.infer import attention_of, prepare
from core.engines.results import WindowRules
from core.errors import DataError, StartupError
from core.judging.metrics import auc_pr
from core.models.checkpoint import read_checkpoint
from core.models.defect_lstm import SteelDefectLSTM
from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.offline.predict import cast_scores
from core.offline.prediction_file import CastScore
from core.training.baseline import Baselines
from core.training.metrics import auc_roc, brier, f1, recall_at_false_alarms

# What the baselines learn from where no file is given: generated casts of another seed.
BASELINE_SEED, BASELINE_CASTS = 700_001, 2_000
DEFAULT_THRESHOLD = 0.5
SAMPLING_RATE_HZ = 1.0


@dataclass(frozen=True)
class DefectReport:
    """The findings of `evaluate_defect`, on the final scores of labelled casts that were long enough for one.

    ``labels``, ``probabilities`` and ``limits`` (what the file knows of the chance of a defect, NaN: nothing) are (N,),
    as are the scores of each baseline. ``lead_times_s`` (M,): of the defective casts that raised an alarm, the time
    from the first score at or above the threshold to the cast's end. ``example`` is a defective cast: ``readings``
    (T, 5), ``attention`` (T,), ``start``, ``probability``, ``trigger``.
    """

    figures: dict[str, Any]
    labels: Int64s
    probabilities: Float64s
    limits: Float64s
    baseline_scores: dict[str, Float64s]
    lead_times_s: Float64s
    example: dict[str, Any] | None


def evaluate_defect(
    path: str | Path,
    checkpoint: str | Path,
    *,
    device: str = "cpu",
    rules: WindowRules | None = None,
    baseline: Path | None = None,
    threshold: float | None = None,
    on_progress: OnProgress = unheard,
    on_note: OnNote = unheard,
) -> DefectReport:
    """Measure a defect model.

    Args:
        path: an HDF5 file of casts with labels.
        checkpoint: the model.
        device: where it runs.
        rules: the windows that are scored.
        baseline: casts that the baselines learn from; None: generated ones.
        threshold: of an alarm; None: the checkpoint's, else 0.5.
        on_progress: told the casts done so far and their total.
        on_note: told in lines what of the file is assumed, or not applied.

    Raises:
        DataError: a file cannot be used, or holds no cast to judge by.
        StartupError: the checkpoint or the threshold cannot be used.
    """
    rules = rules or WindowRules()
    with open_castings(path) as file:
        file.tell(on_note)
        model = load_model(checkpoint, "defect", device)
        assert isinstance(model, SteelDefectLSTM)
        prepare(model)
        cut = _threshold(checkpoint, threshold)
        learnt = _baselines(baseline, rules)  # before the scores, which take longer: its file may be of no use
        scored = _Scored.of(file, model, rules, cut, on_progress)
        others = learnt.scores(final_windows(file, scored.rows, rules))
        example = _example(file, model, scored, rules)
    figures = {"model": fingerprint(model), **scored.figures(cut), **_best_baseline(others, scored.labels)}
    return DefectReport(
        figures,
        scored.labels,
        scored.probabilities,
        scored.limits,
        others,
        scored.lead_times_s,
        example,
    )


def _threshold(checkpoint: str | Path, given: float | None) -> float:
    """The one that is given, else the checkpoint's, else the default."""
    told: Any = given
    if told is None:
        decision = read_checkpoint(Path(checkpoint)).get("decision")
        told = decision.get("threshold") if isinstance(decision, Mapping) else None
    if told is None:
        return DEFAULT_THRESHOLD
    if not isinstance(told, int | float) or not 0.0 <= told <= 1.0:
        whose = "" if given is not None else f"{checkpoint}: its "
        raise StartupError(f"{whose}threshold is {told!r}: must be a number in 0..1")
    return float(told)


@dataclass(frozen=True)
class _Scored:
    """All casts of a file, and of those that can be judged: ``rows`` in the file, labels, final probabilities, limits,
    all (N,); and the time by which each one's first alarm came before its end (NaN: no alarm)."""

    casts: int
    too_short: int
    unlabelled: int
    rows: Int64s
    labels: Int64s
    probabilities: Float64s
    limits: Float64s
    alarms_s: Float64s

    @classmethod
    def of(
        cls,
        file: Recording,
        model: SteelDefectLSTM,
        rules: WindowRules,
        threshold: float,
        on_progress: OnProgress,
    ) -> _Scored:
        labels = file["label"][:].astype(np.int64)
        final, first = np.full(len(labels), np.nan), np.full(len(labels), np.nan)
        ends = file["cast_length"][:].astype(np.int64)
        for score in cast_scores(file, model, rules):
            if score.probability is not None and score.probability >= threshold and np.isnan(first[score.row]):
                first[score.row] = (ends[score.row] - score.end) / SAMPLING_RATE_HZ
            if score.final:
                final[score.row] = _value(score)
                on_progress(score.row + 1, len(labels))
        scored = np.isfinite(final)
        rows = np.flatnonzero(scored & (labels >= 0))
        if not len(rows):
            raise DataError(file.filename, f"no cast of {rules.window_min} steps or more has a label", "label")
        limits = file["defect_probability"][:].astype(np.float64)
        unlabelled = int((scored & (labels < 0)).sum())
        return cls(
            len(labels), int((~scored).sum()), unlabelled, rows, labels[rows], final[rows], limits[rows], first[rows]
        )

    @property
    def lead_times_s(self) -> Float64s:
        """The lead times of the defective casts with an alarm."""
        times: Float64s = self.alarms_s[(self.labels == 1) & np.isfinite(self.alarms_s)]
        return times

    def figures(self, threshold: float) -> dict[str, Any]:
        alarms, p, y = self.probabilities >= threshold, self.probabilities, self.labels
        ever, known = np.isfinite(self.alarms_s), bool(np.isfinite(self.limits).all())
        lead = self.lead_times_s
        return {
            "casts": self.casts,
            "too_short": self.too_short,
            "unlabelled": self.unlabelled,
            "defective": int(y.sum()),
            "auc": auc_roc(p, y),
            "auc_limit": auc_roc(self.limits, y) if known else None,
            "auc_pr": auc_pr([p], [y]),
            "f1": f1(alarms, y),
            "brier": brier(p, y),
            "brier_limit": brier(self.limits, y) if known else None,
            "recall_at_1pct_false_alarms": recall_at_false_alarms(p, y, 0.01),
            "threshold": threshold,
            "detected": _share(alarms[y == 1]),
            "false_alarms": _share(alarms[y == 0]),
            # Whoever acts on a running score, and so has the lead time, meets these instead.
            "detected_while_running": _share(ever[y == 1]),
            "false_alarms_while_running": _share(ever[y == 0]),
            "lead_time_s_median": float(np.median(lead)) if len(lead) else None,
        }


def _value(score: CastScore) -> float:
    return np.nan if score.probability is None else score.probability


def _share(flags: NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None


def final_windows(file: Recording, rows: Int64s, rules: WindowRules) -> Iterator[Float32s]:
    """The windows (T, 5) of the final scores of some casts, one at a time: all of them may not fit in memory."""
    starts, lengths = file["cast_start"][:].astype(np.int64), file["cast_length"][:].astype(np.int64)
    for row in rows:
        end = int(starts[row] + lengths[row])
        yield file.sensors(max(int(starts[row]), end - rules.window_length), end)


def _baselines(path: Path | None, rules: WindowRules) -> Baselines:
    """Baselines that have learnt from a file, or from generated casts."""
    if path is None:
        lengths = enumerate(draw_lengths(BASELINE_SEED, BASELINE_CASTS).tolist())
        casts = [draw_cast(BASELINE_SEED, row, length) for row, length in lengths if length >= rules.window_min]
        return Baselines([cast.readings[-rules.window_length :] for cast in casts], np.array([c.label for c in casts]))
    with open_castings(path) as file:
        labels, lengths_ = file["label"][:].astype(np.int64), file["cast_length"][:]
        rows = np.flatnonzero((labels >= 0) & (lengths_ >= rules.window_min))
        if len(set(labels[rows].tolist())) < 2:
            raise DataError(path, "the baselines need defective and good casts to learn from", "label")
        return Baselines(final_windows(file, rows, rules), labels[rows])


def _best_baseline(scores: dict[str, Float64s], labels: Int64s) -> dict[str, Any]:
    found = {name: auc_roc(values, labels) for name, values in scores.items()}
    known = {name: value for name, value in found.items() if value is not None}
    if not known:
        return {"auc_baseline": None, "baseline": None}
    best = max(known, key=lambda name: known[name])
    return {"auc_baseline": known[best], "baseline": best}


def _example(file: Recording, model: SteelDefectLSTM, scored: _Scored, rules: WindowRules) -> dict[str, Any] | None:
    """The defective cast with the highest score among the longer ones, where attention has something to choose from."""
    lengths = file["cast_length"][:][scored.rows]
    candidates = np.flatnonzero((scored.labels == 1) & (lengths >= np.median(lengths)))
    if not len(candidates):
        return None
    chosen = int(candidates[np.argmax(scored.probabilities[candidates])])
    row = int(scored.rows[chosen])
    [window] = final_windows(file, scored.rows[[chosen]], rules)
    trigger = file["trigger"][row]
    return {
        "readings": window,
        "attention": attention_of(model, window),
        "start": int(file["cast_length"][row]) - len(window),
        "probability": float(scored.probabilities[chosen]),
        "trigger": trigger.decode() if isinstance(trigger, bytes) else str(trigger),
    }
