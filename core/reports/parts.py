"""The parts of an evaluation: what simple detectors are fitted on, what thresholds are chosen on, what is judged.

What a model has learnt from has no part in its threshold, nor in what is judged: its scores there are too low.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.arrays import Float64s
from core.judging.normal import disturbed
from core.reports.scored import ScoredFile, ScoredSequence
from core.training.tasks.origin import Provenance

HISTORY_SHARE = 0.3
"""The share of each sequence that is history, where no other file is."""
ScoresOf = Callable[[ScoredSequence], Float64s]


@dataclass(frozen=True)
class SampleRanges:
    """Samples ``[begin, end)`` of each sequence."""

    sequences: Sequence[ScoredSequence]
    begins: Sequence[int]
    ends: Sequence[int]

    @property
    def rows(self) -> Iterable[tuple[ScoredSequence, int, int]]:
        """Each sequence with its bounds."""
        return zip(self.sequences, self.begins, self.ends, strict=True)

    @property
    def samples(self) -> int:
        """Samples of all sequences."""
        return sum(max(0, end - begin) for _, begin, end in self.rows)

    def cut(self) -> list[ScoredSequence]:
        """The sequences with these samples alone."""
        return [_cut(one, slice(begin, end)) for one, begin, end in self.rows if end > begin]

    def of(self, scores: ScoresOf) -> list[Float64s]:
        """The part of scores that were computed from the begin of each sequence."""
        return [scores(one)[begin:end] for one, begin, end in self.rows]

    def normal(self, scores: ScoresOf, horizon: int) -> list[Float64s]:
        """The same without known anomalies, and without the samples behind that still show them."""
        return [
            normal_scores(found, one.truth, horizon)[begin:end]
            for found, (one, begin, end) in zip(map(scores, self.sequences), self.rows, strict=True)
        ]


@dataclass(frozen=True)
class Parts:
    """The parts of an evaluation.

    Attributes:
        fitted: simple detectors are fitted on these samples.
        quiet: thresholds are chosen on these.
        judged: the truth is compared with these.
        unlearnt: samples of the judged file that the model has not learnt from: alarms are listed of these.
        has_truth: it is known which samples of the judged file are anomalies.
        is_apart: the history is another file.
    """

    fitted: SampleRanges
    quiet: SampleRanges
    judged: SampleRanges
    unlearnt: SampleRanges
    has_truth: bool
    is_apart: bool


def divide(scored: ScoredFile, before: ScoredFile | None, origin: Provenance | None) -> Parts:
    """Divide a file, or a file and the history before it.

    Args:
        scored: the file to be judged.
        before: the history; None: the first part of each sequence, where there is a truth.
        origin: of the model, where it is known.
    """
    has_truth = all(one.truth is not None for one in scored.sequences)
    learnt, ends = learnt_from(scored, origin), [len(one) for one in scored.sequences]
    unlearnt = SampleRanges(scored.sequences, learnt, ends)
    if before is not None:
        all_ends = [len(one) for one in before.sequences]
        fitted = SampleRanges(before.sequences, [0] * len(all_ends), all_ends)
        quiet = SampleRanges(before.sequences, learnt_from(before, origin), all_ends)
        return Parts(fitted, quiet, unlearnt, unlearnt, has_truth, True)
    if not has_truth:
        return Parts(unlearnt, unlearnt, unlearnt, unlearnt, False, False)
    cuts = [first + int((end - first) * HISTORY_SHARE) for first, end in zip(learnt, ends, strict=True)]
    fitted = SampleRanges(scored.sequences, [0] * len(ends), learnt if any(learnt) else cuts)
    quiet, judged = SampleRanges(scored.sequences, learnt, cuts), SampleRanges(scored.sequences, cuts, ends)
    return Parts(fitted, quiet, judged, unlearnt, True, False)


def learnt_from(scored: ScoredFile, origin: Provenance | None) -> list[int]:
    """The samples at the begin of each sequence that the model is known to have learnt from."""
    lengths = [len(one) for one in scored.sequences]
    return origin.cuts(lengths) if origin is not None and origin.digest == scored.digest else [0] * len(lengths)


def normal_scores(scores: Float64s, truth: object, horizon: int) -> Float64s:
    """Scores without those of known anomalies, and of the samples behind that still show them."""
    return scores if truth is None else np.where(disturbed(np.asarray(truth) == 1, horizon), np.nan, scores)


def _cut(one: ScoredSequence, part: slice) -> ScoredSequence:
    arrays: dict[str, Any] = {
        name: None if (array := getattr(one, name)) is None else array[part]
        for name in ("values", "times_ms", "scores", "expected", "leading", "truth", "oracle")
    }
    return replace(one, **arrays)
