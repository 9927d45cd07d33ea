"""Things that a person should know of a history before a model is made of it, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from core.arrays import Floats, Int64s
from core.training.tasks.history import History, Marks
from core.training.tasks.statistics import FieldStatistics
from core.training.tasks.words import duration

GAP = 1.5
"""Periods between two samples from which on something is missing between them."""
IRREGULAR = 0.2
"""The share of the steps: where more differ from the usual period by more than half of it, there is no period."""


def told(history: History, statistics: FieldStatistics) -> Iterator[str]:
    """Say what is odd in a history, a line each."""
    yield from _streams(history)
    yield from _times(history)
    if marked := sum(int(each.marked.sum()) for each in history.sequences):
        yield (
            f"{marked:,} samples are marked as not normal (anomaly): nothing is learnt from them, nor from what "
            "follows them within the horizon"
        )
    for name in statistics.constant:
        yield (
            f"{name} never changes in the part that is learnt from: any change of it will count as an anomaly; take "
            "the field out if it says nothing"
        )
    for name in statistics.two_valued:
        yield f"{name} has two values only: when it switches can rarely be foreseen, and each switch may move the score"


def gaps_after(times_ms: Int64s | None, period_ms: float, count: int) -> Marks:
    """True where something is missing between a sample and the next one, (T,); never where times are irregular."""
    found = np.zeros(count, bool)
    if times_ms is not None and count > 1 and not _is_irregular(np.diff(times_ms), period_ms):
        found[:-1] = np.diff(times_ms) > GAP * period_ms
    return found


def _is_irregular(steps: Floats, period_ms: float) -> bool:
    return bool((np.abs(steps - period_ms) > 0.5 * period_ms).mean() > IRREGULAR) if len(steps) else False


def _streams(history: History) -> Iterator[str]:
    streams = history.streams
    if len(streams) > 1:
        yield (
            f"the file has {len(streams):,} streams ({', '.join(streams[:5])}{', ...' if len(streams) > 5 else ''}): "
            "one model learns what is normal of all of them"
        )


def _times(history: History) -> Iterator[str]:
    if not history.timed:
        yield (
            f"the file has no times and no sampling rate: one sample every {duration(history.period_ms / 1000)} is "
            "assumed; false alarms per week count by it (--sampling-rate says another)"
        )
    held = [each.times_ms for each in history.sequences if each.times_ms is not None and len(each) > 1]
    if not held:
        return
    steps = np.concatenate([np.diff(times) for times in held])
    if _is_irregular(steps, history.period_ms):
        yield (
            f"the samples come irregularly (from {duration(steps.min() / 1000)} to {duration(steps.max() / 1000)} "
            f"apart, mostly {duration(history.period_ms / 1000)}): the model counts samples, not seconds; a stream at "
            "one rate is judged better"
        )
    elif gaps := int((steps > GAP * history.period_ms).sum()):
        yield (
            f"{gaps:,} gaps in time, the longest of {duration(steps.max() / 1000)}: nothing is learnt from the step "
            "over a gap"
        )
