"""The words on what a model has learnt from of a file that it is judged on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from core.reports.scored import ScoredFile
from core.training.tasks.origin import Provenance


def notes_on(origin: Provenance | None, scored: ScoredFile) -> Iterator[str]:
    """Say whether the model has learnt from this file, where that can be known and makes its figures too good."""
    has_truth = all(one.truth is not None for one in scored.sequences)
    if origin is None:
        yield "the model does not say what it has learnt from: on those samples its figures would be too good"
    elif origin.digest == scored.digest:
        lengths = [len(one) for one in scored.sequences]
        share = sum(origin.cuts(lengths)) / max(1, sum(lengths))
        judged = "only the rest is judged" if has_truth else "its alarms there are too few to rely on"
        yield f"the model has learnt from {share:.0%} of this file: {judged}"
    elif inside := _share_between(origin, scored):
        yield (
            f"{inside:.0%} of the samples lie in the time that the model has learnt from: if they are of the same "
            "machine, its figures are too good"
        )


def _share_between(origin: Provenance, scored: ScoredFile) -> float:
    """The share of the samples with times of the model's history."""
    if origin.first_ms is None or origin.last_ms is None:
        return 0.0
    held = [one.times_ms for one in scored.sequences if one.times_ms is not None]
    times = np.concatenate([np.empty(0, np.int64), *held])
    return float(((times >= origin.first_ms) & (times <= origin.last_ms)).mean()) if len(times) else 0.0
