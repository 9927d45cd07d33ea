"""The words on what a model has learnt from of a file that it is judged on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from core.judging.threshold import ENOUGH, WEEK_S, needed_hours
from core.reports.parts import learnt_from
from core.reports.scored import ScoredFile
from core.training.tasks.origin import Provenance


def notes_on(origin: Provenance | None, scored: ScoredFile, before: ScoredFile | None = None) -> Iterator[str]:
    """Say whether the model has learnt from a file, where that can be known and makes its figures too good.

    Args:
        scored: the file that is judged.
        before: the file that thresholds are chosen on, where it is another one.
    """
    if origin is None:
        yield "the model does not say what it has learnt from: on those samples its figures would be too good"
        return
    if share := _learnt_share(origin, scored):
        yield f"the model has learnt from {share:.0%} of this file: only the rest is judged"
    elif inside := _share_between(origin, scored):
        yield (
            f"{inside:.0%} of the samples lie in the time that the model has learnt from: if they are of the same "
            "machine, its figures are too good"
        )
    if before is not None and (share := _learnt_share(origin, before)):
        yield f"the model has learnt from {share:.0%} of {before.source}: thresholds are chosen on the rest"


def note_on_thresholds(quiet_s: float, wish: float) -> str:
    """Say what the thresholds in the table of detectors rest on."""
    alarms = f"{wish:g} false alarm{'' if wish == 1 else 's'}"
    told = f"each detector's threshold is for {alarms} per stream and week, by {quiet_s / 3600:,.0f} hours"
    if wish * quiet_s / WEEK_S >= ENOUGH:
        return told
    return (
        f"{told}: that wish takes {needed_hours(wish):,.0f}. Until then events found and false alarms are rough; "
        "VUS-PR and AUC-PR need no threshold"
    )


def _learnt_share(origin: Provenance, scored: ScoredFile) -> float:
    return sum(learnt_from(scored, origin)) / max(1, sum(map(len, scored.sequences)))


def _share_between(origin: Provenance, scored: ScoredFile) -> float:
    """The share of the samples with times of the model's history."""
    if origin.first_ms is None or origin.last_ms is None:
        return 0.0
    held = [one.times_ms for one in scored.sequences if one.times_ms is not None]
    times = np.concatenate([np.empty(0, np.int64), *held])
    return float(((times >= origin.first_ms) & (times <= origin.last_ms)).mean()) if len(times) else 0.0
