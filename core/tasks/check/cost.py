"""The price of a model: the bytes of a stream's state, and the time of a step."""

from __future__ import annotations

import time

import numpy as np

from core.engines.bank import StateBank
from core.errors import StartupError
from core.tasks.check.carried import run
from core.tasks.check.noise import SampleSource

TIMED_ROWS = (1, 64, 1_000)
TRIES, LONGEST_TIMING_SECONDS = 8, 0.1


def check_size(file: str, numbers: int, most: int) -> None:
    """Raise StartupError: a stream's state, of so many ``numbers``, has more than ``most`` bytes."""
    size = 4 * numbers
    if size > most:
        raise StartupError(
            f"{file}: a stream's state has {size:,} bytes, more than the {most:,} that are accepted: every commit "
            "writes it; train a smaller model, or raise the setting max_state_bytes, up to 524,288"
        )


def row_seconds(bank: StateBank, source: SampleSource, count: int) -> float:
    """Return the seconds for a step of each of so many rows, states read and written: the best of some tries.

    ``bank`` is an empty one.
    """
    samples, targets = source.draw(1, count, 3), np.arange(1, count + 1)
    tries = []
    for _ in range(TRIES):
        started = time.perf_counter()
        run(bank, samples, targets, targets)
        tries.append(time.perf_counter() - started)
        if sum(tries) > LONGEST_TIMING_SECONDS:
            break
    return min(tries) / count
