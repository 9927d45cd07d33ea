"""Samples that may stand for normal: not those that are marked, nor those in whose score a marked one still is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def disturbed(marked: NDArray[np.bool_], horizon: int) -> NDArray[np.bool_]:
    """True for marked samples of one sequence and the ``horizon`` samples behind each, (T,).

    The state of the model and the average of the score still hold the anomaly there: learnt from, it would be forecast,
    and counted, it would raise the threshold.
    """
    places = np.arange(len(marked))
    last = np.maximum.accumulate(np.where(marked, places, -horizon - 1))
    found: NDArray[np.bool_] = places - last <= horizon
    return found
