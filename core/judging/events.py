"""True anomalies of a series: runs of samples whose truth is 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Float64s, Int64s
from core.judging.alarms import runs_of

Truth = NDArray[Any]
"""(N,) of 0 and 1, for each sample of a sequence."""


@dataclass(frozen=True)
class Labelled:
    """The scores of sequences one after the other, with their events; no event reaches into another sequence.

    Attributes:
        scores: (N,); a sample without a score raises no alarm, so it has the lowest there is.
        truth: (N,).
        bounds: (sequences + 1,): where each sequence begins, and the end.
        begins, ends: of the events, half-open.
        owners: the sequence of each event.
    """

    scores: Float64s
    truth: NDArray[np.bool_]
    bounds: Int64s
    begins: Int64s
    ends: Int64s
    owners: Int64s

    @classmethod
    def of(cls, scores: Sequence[Float64s], truth: Sequence[Truth]) -> Labelled:
        """Put sequences together.

        Raises:
            ValueError: scores and truth are not of the same lengths.
        """
        lengths = [len(one) for one in scores]
        if lengths != [len(one) for one in truth]:
            raise ValueError(f"scores are of the lengths {lengths}, the truth of {[len(one) for one in truth]}")
        bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        runs = [runs_of(np.asarray(one) == 1) for one in truth]
        begins = [begin + start for (begin, _), start in zip(runs, bounds, strict=False)]
        ends = [end + start for (_, end), start in zip(runs, bounds, strict=False)]
        owners = np.repeat(np.arange(len(runs)), [len(begin) for begin in begins])
        flat = np.concatenate([np.empty(0), *scores])
        marked = np.concatenate([np.empty(0, bool), *(np.asarray(one) == 1 for one in truth)])
        nothing = np.empty(0, np.int64)
        return cls(
            np.where(np.isnan(flat), -np.inf, flat),
            marked.astype(np.bool_),
            bounds,
            np.concatenate([nothing, *begins]),
            np.concatenate([nothing, *ends]),
            owners,
        )

    @property
    def has_both(self) -> bool:
        """True if there are normal samples and anomalies: without both no figure of ranking has a meaning."""
        return bool(self.truth.any() and not self.truth.all())

    def lengths(self) -> Int64s:
        """The samples of each event."""
        return self.ends - self.begins
